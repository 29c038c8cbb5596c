package gateway_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/revocation"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway"
	"github.com/wardline/wardline/edge/gateway/sfutest"
	"github.com/wardline/wardline/edge/gateway/whip"
)

func (w *world) grant(participant string, role access.Role) access.Grant {
	return access.Grant{Tenant: visit.Tenant, Encounter: visit.ID, Participant: participant, Role: role}
}

func TestWHIPSessionIsAnsweredWhileItWaits(t *testing.T) {
	w := newWorld(t)
	sfu := w.sfu("sfu-1")
	g := w.gateway("gw-1")
	sessions := gateway.MediaSessions(g.Server)
	opened, err := sessions.Open(t.Context(), w.grant("encoder", access.Patient), signaling.WHIPSession, "", "offer")
	require.NoError(t, err)
	require.Equal(t, "answer:offer", opened.AnswerSDP)
	members, _ := sfutest.All[signaling.Membership](sfu)
	require.Equal(t, []string{"encoder"}, members[len(members)-1].Waiting)

	require.NoError(t, sessions.Trickle(t.Context(), visit, "encoder", opened.ID, []whip.Candidate{{MID: "0", Candidate: "candidate:1"}}))
	fragment, err := sessions.Restart(t.Context(), visit, "encoder", opened.ID, "fragment")
	require.NoError(t, err)
	require.Equal(t, "restarted:fragment", fragment)
	require.ErrorIs(t, sessions.Trickle(t.Context(), visit, "somebody", opened.ID, nil), whip.ErrNotFound)
	require.ErrorIs(t, sessions.Trickle(t.Context(), visit, "encoder", opened.ID, make([]whip.Candidate, 100)), whip.ErrTooManyCandidates)

	require.NoError(t, sessions.Close(t.Context(), visit, "encoder", opened.ID))
	require.ErrorIs(t, sessions.Close(t.Context(), visit, "encoder", opened.ID), whip.ErrNotFound)
	// Once at least: by who closes it, and by who sees that in the record.
	require.Eventually(t, func() bool { d, _ := sfutest.All[signaling.Detach](sfu); return len(d) > 0 }, patience, tick)
	candidates, _ := sfutest.All[signaling.Candidate](sfu)
	require.Equal(t, "candidate:1", candidates[0].Candidate)
}

func TestWHEPSessionOffersOnSubscribe(t *testing.T) {
	w := newWorld(t)
	sfu := w.sfu("sfu-1")
	g := w.gateway("gw-1")
	_, err := gateway.MediaSessions(g.Server).Open(t.Context(), w.grant("wall", access.Provider), signaling.WHEPSession, "patient", "offer")
	require.NoError(t, err)
	attaches, _ := sfutest.All[signaling.Attach](sfu)
	require.Equal(t, "patient", attaches[0].Target)
	require.Empty(t, attaches[0].CanPublish)
	offers, _ := sfutest.All[signaling.Offer](sfu)
	require.Equal(t, signaling.Subscribe, offers[0].PC)
}

func TestUnanswerableOfferLeavesNothingBehind(t *testing.T) {
	w := newWorld(t)
	w.sfu("sfu-1")
	g := w.gateway("gw-1")
	sessions := gateway.MediaSessions(g.Server)
	_, err := sessions.Open(t.Context(), w.grant("encoder", access.Provider), signaling.WHIPSession, "", sfutest.BadSDP)
	require.ErrorIs(t, err, whip.ErrInvalidSDP)
	w.record("no session", func(e encounter.Encounter) bool { return len(e.Participants["encoder"].Sessions) == 0 })
}

func TestWHIPOfferLostWithTheChannelIsMadeAgain(t *testing.T) {
	for _, kind := range []signaling.SessionKind{signaling.WHIPSession, signaling.WHEPSession} {
		t.Run(string(kind), func(t *testing.T) {
			w := newWorld(t)
			sfu := w.sfu("sfu-1")
			g := w.gateway("gw-1")
			sfu.IgnoreOffers(true)
			answered := make(chan error, 1)
			go func() {
				_, err := gateway.MediaSessions(g.Server).Open(t.Context(), w.grant("encoder", access.Provider), kind, "", "offer")
				answered <- err
			}()
			require.Eventually(t, func() bool { o, _ := sfutest.All[signaling.Offer](sfu); return len(o) == 1 }, patience, tick)
			sfu.IgnoreOffers(false)
			sfu.Drop()
			require.NoError(t, <-answered)
		})
	}
}

func TestWHIPRestartLostWithTheChannelIsMadeAgain(t *testing.T) {
	w := newWorld(t)
	sfu := w.sfu("sfu-1")
	sessions := gateway.MediaSessions(w.gateway("gw-1").Server)
	opened, err := sessions.Open(t.Context(), w.grant("encoder", access.Provider), signaling.WHIPSession, "", "offer")
	require.NoError(t, err)
	restarts := func() int { r, _ := sfutest.All[signaling.Restart](sfu); return len(r) }
	sfu.IgnoreOffers(true)
	answered := make(chan error, 1)
	go func() {
		fragment, err := sessions.Restart(t.Context(), visit, "encoder", opened.ID, "fragment")
		assert.Equal(t, "restarted:fragment", fragment)
		answered <- err
	}()
	require.Eventually(t, func() bool { return restarts() == 1 }, patience, tick)
	sfu.IgnoreOffers(false)
	sfu.Drop()
	require.NoError(t, <-answered)
	_, err = sessions.Restart(t.Context(), visit, "encoder", opened.ID, "another")
	require.NoError(t, err)
	attaches := func() int { a, _ := sfutest.All[signaling.Attach](sfu); return len(a) }
	seen := attaches()
	sfu.Drop()
	require.Eventually(t, func() bool { return attaches() > seen }, patience, tick)
	require.NoError(t, sessions.Trickle(t.Context(), visit, "encoder", opened.ID, []whip.Candidate{{Candidate: "candidate:1"}}))
	require.Eventually(t, func() bool { c, _ := sfutest.All[signaling.Candidate](sfu); return len(c) == 1 }, patience, tick)
	require.Equal(t, 3, restarts(), "what was answered is not asked again")
}

func TestMediaSessionRemovedByTheOtherHalfOfASplitVisitEnds(t *testing.T) {
	// A media server that both halves of a split visit reach goes by the membership of the higher term, which may lack somebody.
	for _, reason := range []string{"removed", "ended"} {
		t.Run(reason, func(t *testing.T) {
			w := newWorld(t)
			sfu := w.sfu("sfu-1")
			g := w.gateway("gw-1")
			provider := g.join("doctor", access.Provider)
			sessions := gateway.MediaSessions(g.Server)
			wall := w.grant("wall", access.Provider)
			opened, err := sessions.Open(t.Context(), wall, signaling.WHEPSession, "", "offer")
			require.NoError(t, err)
			next[signaling.Placed](provider)
			attaches, ids := sfutest.All[signaling.Attach](sfu)
			for i, id := range ids {
				sfu.Broadcast(signaling.Frame{Session: id, Message: signaling.Gone{
					Route: attaches[i].Route, EncounterRef: attaches[i].EncounterRef, Participant: attaches[i].Participant,
					Kind: attaches[i].Kind, Reason: reason,
				}})
			}
			w.record("taken out", func(e encounter.Encounter) bool { return len(e.Participants["wall"].Sessions) == 0 })
			require.ErrorIs(t, sessions.Trickle(t.Context(), visit, "wall", opened.ID, nil), whip.ErrNotFound)
			_, err = sessions.Open(t.Context(), wall, signaling.WHEPSession, "", "offer")
			require.NoError(t, err, "the player comes back")
			_, ids = sfutest.All[signaling.Attach](sfu)
			own := slices.DeleteFunc(ids, func(id string) bool { return id != opened.ID })
			require.Len(t, own, 1, "no leg is opened that nobody offers for")
			provider.send(signaling.Ping{ID: 1})
			next[signaling.Pong](provider)
			e, err := w.store.Get(t.Context(), visit)
			require.NoError(t, err)
			require.Len(t, e.Participants["doctor"].Sessions, 1, "a browser finds out by itself")
		})
	}
}

func TestWHIPWithoutMediaServer(t *testing.T) {
	w := newWorld(t)
	g := w.gateway("gw-1")
	_, err := gateway.MediaSessions(g.Server).Open(t.Context(), w.grant("encoder", access.Provider), signaling.WHIPSession, "", "offer")
	require.ErrorIs(t, err, whip.ErrNoServer)
}

func TestWHIPSessionIsTakenOverByAnotherGateway(t *testing.T) {
	w := newWorld(t)
	sfu := w.sfu("sfu-1")
	g := w.gateway("gw-1")
	encoder := w.grant("encoder", access.Provider)
	opened, err := gateway.MediaSessions(g.Server).Open(t.Context(), encoder, signaling.WHIPSession, "", "offer")
	require.NoError(t, err)
	g.stop()
	other := gateway.MediaSessions(w.gateway("gw-2").Server)
	require.Eventually(t, func() bool {
		return other.Trickle(t.Context(), visit, "encoder", opened.ID, []whip.Candidate{{Candidate: "candidate:2"}}) == nil
	}, patience, tick)
	detached, _ := sfutest.All[signaling.Detach](sfu)
	require.Empty(t, detached)
}

func TestNoBrowserIsTakenOverByAWHIPRequest(t *testing.T) {
	w := newWorld(t)
	w.sfu("sfu-1")
	first, second := w.gateway("gw-1"), w.gateway("gw-2")
	_, patient, _ := first.call()
	err := gateway.MediaSessions(second.Server).Trickle(t.Context(), visit, "patient", patient.welcome.Session, nil)
	require.ErrorIs(t, err, whip.ErrNotFound)
	e, err := w.store.Get(t.Context(), visit)
	require.NoError(t, err)
	require.Equal(t, "gw-1", e.Participants["patient"].Sessions[patient.welcome.Session].Gateway)
}

func TestWHIPSessionOfDeadSFUIsClosed(t *testing.T) {
	w := newWorld(t)
	sfus := map[string]*sfutest.SFU{"sfu-1": w.sfu("sfu-1"), "sfu-2": w.sfu("sfu-2")}
	g := w.gateway("gw-1")
	_, err := gateway.MediaSessions(g.Server).Open(t.Context(), w.grant("encoder", access.Provider), signaling.WHIPSession, "", "offer")
	require.NoError(t, err)
	e, err := w.store.Get(t.Context(), visit)
	require.NoError(t, err)
	sfus[e.Placement.SFU].Silence(true)
	w.record("closed", func(e encounter.Encounter) bool { return e.Participants["encoder"].State == encounter.Left })
}

func TestICEServersComeFromTheCatalog(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.memory.Register(t.Context(), discovery.Service{
		Name: discovery.TURNService, ID: "turn-1", Node: "n", Region: "here", Health: discovery.Passing,
		Meta: map[string]string{discovery.MetaTURN: "192.0.2.1:3478", discovery.MetaTURNTLS: "192.0.2.1:3479"},
	}))
	g := w.gateway("gw-1")
	var servers []signaling.ICEServer
	require.Eventually(t, func() bool {
		servers = gateway.MediaSessions(g.Server).ICEServers(visit, "wall", "s-1")
		return len(servers) == 1
	}, patience, tick)
	require.Equal(t, []string{
		"turn:192.0.2.1:3478?transport=udp", "turn:192.0.2.1:3478?transport=tcp", "turns:192.0.2.1:3479?transport=tcp",
	}, servers[0].URLs)
	require.True(t, strings.HasSuffix(servers[0].Username, ":"+revocation.Session("clinic", "visit", "wall", "s-1")))
	require.NotEmpty(t, servers[0].Credential)
	require.Equal(t, servers[0].URLs, g.join("patient", access.Patient).welcome.ICEServers[0].URLs)
}

func TestPublicDocuments(t *testing.T) {
	w := newWorld(t)
	g := w.gateway("gw-1")
	for path, part := range map[string]string{"/v1/regions": `"region":"here"`, "/.well-known/jwks.json": `"keys"`} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+g.Addr().String()+path, http.NoBody)
		require.NoError(t, err)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusOK, response.StatusCode)
		require.Contains(t, string(body), part)
	}
	http.DefaultClient.CloseIdleConnections()
	require.NoError(t, g.Ready(t.Context()))
}
