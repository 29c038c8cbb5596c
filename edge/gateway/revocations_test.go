package gateway_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/revocation"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway"
	"github.com/wardline/wardline/edge/gateway/turntest"
)

// relay starts a fake relay and announces it.
func (w *world) relay(id string) *turntest.Relay {
	w.t.Helper()
	certificates, err := w.keeper.Certificates(w.t.Context(), secrets.TURNRole, "127.0.0.1")
	require.NoError(w.t, err)
	r := turntest.Start(w.t, id, certificates.Server(secrets.GatewayRole))
	require.NoError(w.t, w.memory.Register(w.t.Context(), r.Service("here")))
	return r
}

func (w *world) told(r *turntest.Relay, credential string) {
	w.t.Helper()
	require.Eventually(w.t, func() bool { return r.Revoked(credential) > 0 }, patience, tick)
}

func idOf(participant, session string) string {
	return revocation.Session("clinic", "visit", participant, session)
}

func TestRemovingAParticipantRevokesTheirRelay(t *testing.T) {
	w := newWorld(t)
	w.sfu("sfu-1")
	relay := w.relay("turn-1")
	g := w.gateway("gw-1")
	provider, patient, placed := g.call()
	require.Len(t, placed.ICEServers, 1)
	require.True(t, strings.HasSuffix(placed.ICEServers[0].Username, ":"+idOf("doctor", provider.welcome.Session)))
	provider.send(signaling.Remove{Participant: "patient"})
	w.told(relay, revocation.Participant("clinic", "visit", "patient"))
	require.Equal(t, signaling.ByeRemoved, next[signaling.Bye](patient).Code)
	require.Zero(t, relay.Revoked(revocation.Participant("clinic", "visit", "doctor")))
	provider.send(signaling.End{})
	w.told(relay, revocation.Visit("clinic", "visit"))
}

func TestASessionThatIsReplacedLosesItsRelayWhoeverHeldIt(t *testing.T) {
	w := newWorld(t)
	relay := w.relay("turn-1")
	lost, g := w.gateway("gw-1"), w.gateway("gw-2")
	old := lost.join("doctor", access.Provider)
	gateway.Kill(lost.Server)
	again := g.join("doctor", access.Provider)
	w.told(relay, idOf("doctor", old.welcome.Session))
	require.Zero(t, relay.Revoked(idOf("doctor", again.welcome.Session)))
	require.Zero(t, relay.Revoked(revocation.Participant("clinic", "visit", "doctor")))
}

func TestAGatewayThatWatchesRevokesAsWell(t *testing.T) {
	w := newWorld(t)
	relay := w.relay("turn-1")
	writer, watcher := w.gateway("gw-1"), w.gateway("gw-2")
	require.Eventually(t, func() bool { return relay.Links() == 2 }, patience, tick)
	provider := writer.join("doctor", access.Provider)
	watcher.join("patient", access.Patient)
	provider.send(signaling.Remove{Participant: "patient"})
	require.Eventually(t, func() bool {
		return relay.Revoked(revocation.Participant("clinic", "visit", "patient")) == 2
	}, patience, tick, "the writer may be lost before it has")
}

func TestAnEncounterEndedByItsTenantRevokesRelays(t *testing.T) {
	w := newWorld(t)
	relay, signer, g := w.relay("turn-1"), w.tenant("clinic"), w.gateway("gw-1")
	token, err := access.MintAPI(signer.Key, signer.ID, "clinic", time.Now(), time.Minute)
	require.NoError(t, err)
	g.postJSON("/v1/encounters", token, `{"id":"visit","participants":[{"role":"provider"}]}`)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, g.url()+"/v1/encounters/visit", http.NoBody)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusNoContent, response.StatusCode)
	w.told(relay, revocation.Visit("clinic", "visit"))
}

func TestARelayThatDrainsIsHandedOutNoMore(t *testing.T) {
	w := newWorld(t)
	relay, g := w.relay("turn-1"), w.gateway("gw-1")
	handedOut := func() int { return len(gateway.MediaSessions(g.Server).ICEServers(visit, "wall", "s-1")) }
	require.Eventually(t, func() bool { return handedOut() == 1 && relay.Links() == 1 }, patience, tick)
	relay.Drain(true)
	require.Eventually(t, func() bool { return handedOut() == 0 }, patience, tick, "though the catalog still shows it in service")
	services, err := w.memory.Services(t.Context(), discovery.TURNService)
	require.NoError(t, err)
	require.False(t, services[0].Maintenance)
	relay.Drain(false)
	require.Eventually(t, func() bool { return handedOut() == 1 }, patience, tick)
}

// A new media server is announced to the relays, and those that have confirmed it come first.
func TestRelaysThatConfirmedTheMediaServerAreHandedOutFirst(t *testing.T) {
	w := newWorld(t)
	unsure := w.relay("turn-1")
	unsure.AllowNothing()
	w.relay("turn-2")
	g := w.gateway("gw-1")
	sfu := w.sfu("sfu-1")
	service := sfu.Service("here")
	service.Meta[discovery.MetaMedia] = "192.0.2.1:7200"
	require.NoError(t, w.memory.Register(t.Context(), service))
	require.Eventually(t, func() bool { return gateway.Forwards(g.Server, "turn-2", "sfu-1") }, patience, tick)
	require.False(t, gateway.Forwards(g.Server, "turn-1", "sfu-1"))
	_, _, placed := g.call()
	require.Len(t, placed.ICEServers, 2)
	require.Contains(t, placed.ICEServers[0].URLs[0], "turn-2")
	require.Contains(t, placed.ICEServers[1].URLs[0], "turn-1")
}

func TestVisitsDoNotWaitForRelays(t *testing.T) {
	w := newWorld(t)
	w.sfu("sfu-1")
	mute := w.relay("turn-1")
	mute.Mute()
	dead := w.relay("turn-2")
	dead.Stop()
	g := w.gateway("gw-1")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	provider, patient, _ := g.call()
	provider.send(signaling.Remove{Participant: "patient"})
	require.Equal(t, signaling.ByeRemoved, next[signaling.Bye](patient).Code)
	require.NoError(t, ctx.Err())
}
