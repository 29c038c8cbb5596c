package gateway_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway"
	"github.com/wardline/wardline/edge/gateway/sfutest"
)

// apart brings a provider on one gateway and a patient on another into the visit.
func apart(a, b *gate) (provider, patient *caller, first signaling.Placed) {
	a.w.t.Helper()
	provider, patient = a.join("doctor", access.Provider), b.join("patient", access.Patient)
	provider.send(signaling.Admit{Participant: "patient"})
	first = next[signaling.Placed](provider)
	require.Equal(a.w.t, first.Route, next[signaling.Placed](patient).Route)
	return provider, patient, first
}

func TestTwoGatewaysServeOneVisit(t *testing.T) {
	w := newWorld(t)
	sfu := w.sfu("sfu-1")
	a, b := w.gateway("gw-1"), w.gateway("gw-2")
	provider, patient, _ := apart(a, b)
	colleague := b.join("colleague", access.Provider)
	next[signaling.Placed](colleague)

	provider.send(signaling.MuteRequest{Participant: "patient", Source: signaling.Microphone})
	require.Equal(t, signaling.MuteRequest{Participant: "patient", Source: signaling.Microphone, By: "doctor"},
		next[signaling.MuteRequest](patient))
	colleague.send(signaling.MuteRequest{Participant: "doctor", Source: signaling.Camera})
	require.Equal(t, signaling.MuteRequest{Participant: "doctor", Source: signaling.Camera, By: "colleague"},
		next[signaling.MuteRequest](provider))

	provider.send(signaling.Lock{Locked: true})
	for _, c := range []*caller{provider, patient, colleague} {
		seen := nextWhere(c, func(r signaling.Roster) bool { return r.Locked })
		require.Len(t, seen.Members, 3)
		require.Equal(t, "Name of patient", seen.Members[2].Name)
	}
	late := b.dial()
	late.send(signaling.Join{Token: w.token("family", access.Family)})
	require.Equal(t, "encounter-locked", next[signaling.Error](late).Code)

	provider.send(signaling.Remove{Participant: "patient"})
	require.Equal(t, signaling.Bye{Code: signaling.ByeRemoved}, next[signaling.Bye](patient))
	nextWhere(colleague, func(r signaling.Roster) bool { return len(r.Members) == 2 })
	require.Eventually(t, func() bool { d, _ := sfutest.All[signaling.Detach](sfu); return len(d) == 1 }, patience, tick)

	colleague.send(signaling.End{})
	for _, c := range []*caller{provider, colleague} {
		require.Equal(t, signaling.Bye{Code: signaling.ByeEnded}, next[signaling.Bye](c))
	}
}

func TestTwoGatewaysReplaceOneSFUOnce(t *testing.T) {
	w := newWorld(t)
	sfus := map[string]*sfutest.SFU{"sfu-1": w.sfu("sfu-1"), "sfu-2": w.sfu("sfu-2"), "sfu-3": w.sfu("sfu-3")}
	a, b := w.gateway("gw-1"), w.gateway("gw-2")
	provider, patient, first := apart(a, b)
	sfus[first.SFU].Stop()
	mine, theirs := next[signaling.Placed](provider), next[signaling.Placed](patient)
	require.Equal(t, mine.SFU, theirs.SFU)
	require.NotEqual(t, first.SFU, mine.SFU)
	require.Equal(t, signaling.Route{Leg: 2, Epoch: 2}, mine.Route)
	require.Equal(t, mine.Route, theirs.Route)
	e, err := w.store.Get(t.Context(), visit)
	require.NoError(t, err)
	require.EqualValues(t, 2, e.Placement.Epoch, "both gateways saw it die, one placement came of it")
}

func hasty(c *gateway.Config) { c.AttachTimeout = 200 * time.Millisecond }

func TestSFUThatDoesNotAnswerAttachesIsReplaced(t *testing.T) {
	w := newWorld(t)
	deaf := w.sfu("sfu-1")
	deaf.IgnoreAttaches(true)
	g := w.gateway("gw-1", hasty)
	provider, patient := g.join("doctor", access.Provider), g.join("patient", access.Patient)
	provider.send(signaling.Admit{Participant: "patient"})
	require.Eventually(t, func() bool { a, _ := sfutest.All[signaling.Attach](deaf); return len(a) >= 4 }, patience, tick,
		"each is asked once more")
	w.sfu("sfu-2")
	for _, c := range []*caller{provider, patient} {
		placed := next[signaling.Placed](c)
		require.Equal(t, "sfu-2", placed.SFU)
		require.Equal(t, "admitted", placed.Reason, "nobody was told of a leg that never opened")
		require.EqualValues(t, 2, placed.Epoch)
	}
}

func TestSFUThatMissedOneAttachIsAskedAgain(t *testing.T) {
	w := newWorld(t)
	sfu := w.sfu("sfu-1")
	sfu.IgnoreAttaches(true)
	g := w.gateway("gw-1", hasty)
	provider, _ := g.join("doctor", access.Provider), g.join("patient", access.Patient)
	provider.send(signaling.Admit{Participant: "patient"})
	require.Eventually(t, func() bool { a, _ := sfutest.All[signaling.Attach](sfu); return len(a) >= 2 }, patience, tick)
	sfu.IgnoreAttaches(false)
	placed := next[signaling.Placed](provider)
	require.Equal(t, signaling.Route{Leg: 1, Epoch: 1}, placed.Route)
}

func TestWHIPOfferGoesToAnotherSFUThanTheOneThatDoesNotAnswer(t *testing.T) {
	w := newWorld(t)
	deaf := w.sfu("sfu-1")
	deaf.IgnoreAttaches(true)
	w.sfu("sfu-2")
	g := w.gateway("gw-1", hasty)
	g.publish("encoder")
	w.record("placed elsewhere", func(e encounter.Encounter) bool { return e.Placement.SFU == "sfu-2" })
}

func TestMediaSessionsOutliveAKilledGateway(t *testing.T) {
	w := newWorld(t)
	sfu := w.sfu("sfu-1")
	doomed, heir := w.gateway("gw-1"), w.gateway("gw-2")
	trickled, etag := doomed.publish("first")
	ended, _ := doomed.publish("second")
	doomed.publish("third")
	attaches, sessions := sfutest.All[signaling.Attach](sfu)
	require.Len(t, attaches, 3)
	gateway.Kill(doomed.Server)
	require.NoError(t, w.memory.Deregister(t.Context(), discovery.GatewayService, "gw-1"))

	token := func(participant string) string { return w.token(participant, access.Patient) }
	patched := heir.ask(http.MethodPatch, trickled, token("first"), "a=end-of-candidates\r\n",
		"Content-Type", "application/trickle-ice-sdpfrag", "If-Match", etag)
	require.Equal(t, http.StatusNoContent, patched.StatusCode)
	require.Equal(t, http.StatusOK, heir.ask(http.MethodDelete, ended, token("second"), "").StatusCode)
	w.record("taken over, and one ended", func(e encounter.Encounter) bool {
		return e.Participants["first"].Sessions[sessions[0]].Gateway == "gw-2" && len(e.Participants["second"].Sessions) == 0 &&
			e.Participants["third"].Sessions[sessions[2]].Gateway == "gw-2"
	})
	require.Eventually(t, func() bool {
		_, detached := sfutest.All[signaling.Detach](sfu)
		return len(detached) == 1 && detached[0] == sessions[1]
	}, patience, tick)
	for i, participant := range map[int]string{0: "first", 2: "third"} {
		sfu.Broadcast(signaling.Frame{Session: sessions[i], Message: signaling.Gone{
			Route: attaches[i].Route, EncounterRef: attaches[i].EncounterRef, Participant: participant,
			Kind: signaling.WHIPSession, Reason: "ice-failed",
		}})
	}
	w.record("gone with their ICE", func(e encounter.Encounter) bool {
		return len(e.Participants["first"].Sessions) == 0 && len(e.Participants["third"].Sessions) == 0
	})
}
