package gateway_test

import (
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway"
	"github.com/wardline/wardline/edge/gateway/sfutest"
)

func TestPatientWaitsUntilAdmitted(t *testing.T) {
	w := newWorld(t)
	sfu := w.sfu("sfu-1")
	g := w.gateway("gw-1")

	patient := g.join("patient", access.Patient)
	require.Equal(t, "waiting", patient.welcome.State)
	require.Equal(t, "Name of patient", patient.welcome.You.Name)
	alone := next[signaling.Roster](patient)
	require.Len(t, alone.Members, 1)

	provider := g.join("doctor", access.Provider)
	require.Equal(t, "admitted", provider.welcome.State)
	both := nextWhere(provider, func(r signaling.Roster) bool { return len(r.Members) == 2 })
	require.Equal(t, signaling.Member{
		Participant: "patient", Role: "patient", Name: "Name of patient", State: "waiting", Connected: true,
	}, both.Members[1])

	provider.send(signaling.Admit{Participant: "patient"})
	seen := nextWhere(patient, func(r signaling.Roster) bool { return len(r.Members) == 2 })
	require.Equal(t, "admitted", seen.Members[1].State)
	placed := next[signaling.Placed](patient)
	require.Equal(t, signaling.Route{Leg: 1, Epoch: 1}, placed.Route)
	require.Equal(t, "sfu-1", placed.SFU)
	require.Equal(t, "admitted", placed.Reason)
	next[signaling.Placed](provider)

	attaches, _ := sfutest.All[signaling.Attach](sfu)
	require.Len(t, attaches, 2)
	members, _ := sfutest.All[signaling.Membership](sfu)
	require.Equal(t, []string{"doctor", "patient"}, members[len(members)-1].Admitted)
}

func TestAutoAdmitSwitchesTheWaitingRoomOff(t *testing.T) {
	w := newWorld(t)
	g := w.gateway("gw-1", func(c *gateway.Config) { c.AutoAdmit = true })
	require.Equal(t, "admitted", g.join("patient", access.Patient).welcome.State)
}

func TestMediaMessagesAreSplicedBothWays(t *testing.T) {
	w := newWorld(t)
	sfu := w.sfu("sfu-1")
	g := w.gateway("gw-1")
	provider, _, placed := g.call()

	provider.send(signaling.Offer{Route: placed.Route, PC: signaling.Publish, Negotiation: 1, SDP: "v=0"})
	require.Equal(t, "answer:v=0", next[signaling.Answer](provider).SDP)
	provider.send(signaling.Offer{
		Route: signaling.Route{Leg: 9, Epoch: 9}, PC: signaling.Publish, Negotiation: 2, SDP: "closed leg",
	})
	sfu.Tell(provider.welcome.Session, signaling.Offer{
		Route: placed.Route, PC: signaling.Subscribe, Negotiation: 1, SDP: "from the SFU",
	})
	require.Equal(t, "from the SFU", next[signaling.Offer](provider).SDP)
	provider.send(signaling.Answer{Route: placed.Route, PC: signaling.Subscribe, Negotiation: 1, SDP: "mine"})
	require.Eventually(t, func() bool { answers, _ := sfutest.All[signaling.Answer](sfu); return len(answers) == 1 },
		patience, tick)
	offers, sessions := sfutest.All[signaling.Offer](sfu)
	require.Len(t, offers, 1, "an offer for a leg that was never there is dropped")
	require.Equal(t, provider.welcome.Session, sessions[0])
}

func TestProviderActions(t *testing.T) {
	w := newWorld(t)
	sfu := w.sfu("sfu-1")
	g := w.gateway("gw-1")
	provider, patient, _ := g.call()

	provider.send(signaling.MuteRequest{Participant: "patient", Source: signaling.Microphone, By: "somebody else"})
	require.Equal(t, signaling.MuteRequest{Participant: "patient", Source: signaling.Microphone, By: "doctor"},
		next[signaling.MuteRequest](patient))

	provider.send(signaling.Lock{Locked: true})
	nextWhere(provider, func(r signaling.Roster) bool { return r.Locked })
	late := g.dial()
	late.send(signaling.Join{Token: w.token("family", access.Family)})
	require.Equal(t, "encounter-locked", next[signaling.Error](late).Code)
	require.EqualValues(t, 4403, late.end())

	provider.send(signaling.Remove{Participant: "patient"})
	require.Equal(t, signaling.Bye{Code: signaling.ByeRemoved}, next[signaling.Bye](patient))
	require.Equal(t, websocket.StatusNormalClosure, patient.end())
	require.Eventually(t, func() bool { d, _ := sfutest.All[signaling.Detach](sfu); return len(d) == 1 }, patience, tick)
	again := g.dial()
	again.send(signaling.Join{Token: w.token("patient", access.Patient)})
	require.Equal(t, "participant-removed", next[signaling.Error](again).Code)

	provider.send(signaling.End{})
	require.Equal(t, signaling.Bye{Code: signaling.ByeEnded}, next[signaling.Bye](provider))
	require.Eventually(t, func() bool {
		m, _ := sfutest.All[signaling.Membership](sfu)
		return m[len(m)-1].Ended
	}, patience, tick)
}

func TestMuteRequestReachesAnotherGateway(t *testing.T) {
	w := newWorld(t)
	sfu := w.sfu("sfu-1")
	g, other := w.gateway("gw-1"), w.gateway("gw-2")
	provider, patient := g.join("doctor", access.Provider), other.join("patient", access.Patient)
	provider.send(signaling.Admit{Participant: "patient"})
	next[signaling.Placed](provider)
	next[signaling.Placed](patient)
	provider.send(signaling.MuteRequest{Participant: "patient", Source: signaling.Camera})
	require.Eventually(t, func() bool { m, _ := sfutest.All[signaling.MuteRequest](sfu); return len(m) == 1 }, patience, tick)
	asked, _ := sfutest.All[signaling.MuteRequest](sfu)
	sfu.Tell(patient.welcome.Session, asked[0])
	require.Equal(t, "doctor", next[signaling.MuteRequest](patient).By)
}

func TestPatientMayNotActAsProvider(t *testing.T) {
	w := newWorld(t)
	w.sfu("sfu-1")
	g := w.gateway("gw-1")
	patient := g.join("patient", access.Patient)
	for _, m := range []signaling.Message{
		signaling.Admit{Participant: "patient"},
		signaling.Remove{Participant: "doctor"},
		signaling.Lock{Locked: true},
		signaling.End{},
		signaling.MuteRequest{Participant: "doctor", Source: signaling.Camera},
	} {
		patient.send(m)
		refused := next[signaling.Error](patient)
		require.Equal(t, "not-allowed", refused.Code)
		require.Equal(t, m.Type(), refused.About)
	}
	patient.send(signaling.Roster{})
	require.Equal(t, "invalid", next[signaling.Error](patient).Code)
	patient.send(signaling.Ping{ID: 7})
	require.Equal(t, signaling.Pong{ID: 7}, next[signaling.Pong](patient), "the session goes on")
}

func TestLeaveEndsTheSessionAtOnce(t *testing.T) {
	w := newWorld(t)
	sfu := w.sfu("sfu-1")
	g := w.gateway("gw-1")
	provider, patient, _ := g.call()
	patient.send(signaling.Leave{})
	require.Equal(t, signaling.Bye{Code: signaling.ByeLeft}, next[signaling.Bye](patient))
	require.Equal(t, websocket.StatusNormalClosure, patient.end())
	nextWhere(provider, func(r signaling.Roster) bool { return len(r.Members) == 1 })
	require.Eventually(t, func() bool { d, _ := sfutest.All[signaling.Detach](sfu); return len(d) == 1 }, patience, tick)
	_, sessions := sfutest.All[signaling.Detach](sfu)
	require.Equal(t, patient.welcome.Session, sessions[0])
}

func TestNewestJoinWins(t *testing.T) {
	w := newWorld(t)
	w.sfu("sfu-1")
	g, other := w.gateway("gw-1"), w.gateway("gw-2")
	first := g.join("patient", access.Patient)
	second := g.join("patient", access.Patient)
	require.Equal(t, signaling.Bye{Code: signaling.ByeReplaced}, next[signaling.Bye](first))
	third := other.join("patient", access.Patient)
	require.Equal(t, signaling.Bye{Code: signaling.ByeReplaced}, next[signaling.Bye](second))
	third.send(signaling.Ping{ID: 1})
	next[signaling.Pong](third)
	w.record("one session", func(e encounter.Encounter) bool { return len(e.Participants["patient"].Sessions) == 1 })
}
