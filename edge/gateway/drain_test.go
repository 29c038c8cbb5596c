package gateway_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway"
	"github.com/wardline/wardline/edge/gateway/sfutest"
)

func restless(c *gateway.Config) { c.MoveRetry = 50 * time.Millisecond }

// pair starts two SFUs and returns them by id.
func (w *world) pair() map[string]*sfutest.SFU {
	w.t.Helper()
	return map[string]*sfutest.SFU{"sfu-1": w.sfu("sfu-1"), "sfu-2": w.sfu("sfu-2")}
}

// other is the one of two SFUs that is not called id.
func other(sfus map[string]*sfutest.SFU, id string) *sfutest.SFU {
	for name, sfu := range sfus {
		if name != id {
			return sfu
		}
	}
	return nil
}

// requireNoPlaced holds a client to having heard of no leg so far.
func requireNoPlaced(t *testing.T, c *caller) {
	t.Helper()
	for {
		select {
		case m := <-c.got:
			require.NotContains(t, []string{"placed", "error"}, m.Type(), "nobody is told that a move did not work")
		default:
			return
		}
	}
}

func TestDrainMovesTheVisitAndBreaksNothingBefore(t *testing.T) {
	w := newWorld(t)
	sfus := w.pair()
	a, b := w.gateway("gw-1"), w.gateway("gw-2")
	provider, patient, first := apart(a, b)
	old := sfus[first.SFU]
	old.Drain(true)
	for _, c := range []*caller{provider, patient} {
		placed := next[signaling.Placed](c)
		require.Equal(t, other(sfus, first.SFU).ID, placed.SFU)
		require.Equal(t, signaling.Route{Leg: 2, Epoch: 2}, placed.Route)
		require.Equal(t, "move", placed.Reason)
		require.False(t, placed.Abrupt)
	}
	detached, _ := sfutest.All[signaling.Detach](old)
	require.Empty(t, detached, "the old legs go on until the clients let go of them")
	old.Tell(patient.welcome.Session, signaling.Speaker{Route: first.Route, Participant: "doctor"})
	require.Equal(t, first.Route, next[signaling.Speaker](patient).Route)
	patient.send(signaling.Offer{Route: first.Route, PC: signaling.Publish, Negotiation: 2, SDP: "v=0"})
	require.Equal(t, first.Route, next[signaling.Answer](patient).Route)

	provider.send(signaling.LegReady{Route: signaling.Route{Leg: 2, Epoch: 2}})
	require.Eventually(t, func() bool {
		detached, sessions := sfutest.All[signaling.Detach](old)
		return len(detached) == 1 && detached[0].Route == first.Route && sessions[0] == provider.welcome.Session
	}, patience, tick, "each client for itself")
	patient.send(signaling.LegReady{Route: signaling.Route{Leg: 2, Epoch: 2}})
	require.Eventually(t, func() bool { d, _ := sfutest.All[signaling.Detach](old); return len(d) == 2 }, patience, tick)
	e, err := w.store.Get(t.Context(), visit)
	require.NoError(t, err)
	require.EqualValues(t, 2, e.Placement.Epoch, "both gateways heard of it, one move came of it")
}

func TestDrainWithNobodyToTakeTheVisitLeavesIt(t *testing.T) {
	w := newWorld(t)
	sfus := w.pair()
	g := w.gateway("gw-1", restless)
	provider, patient, first := g.call()
	full := other(sfus, first.SFU)
	full.Refuse(signaling.RefusedBusy)
	sfus[first.SFU].Drain(true)
	require.Eventually(t, func() bool { r, _ := sfutest.All[signaling.Reserve](full); return len(r) >= 3 }, patience, tick,
		"it is tried again")
	provider.send(signaling.Ping{ID: 7}) // whatever was said before has arrived then
	for m := range provider.got {
		if m.Type() == "pong" {
			break
		}
		require.NotContains(t, []string{"placed", "error"}, m.Type(), "nobody is told that a move did not work")
	}
	requireNoPlaced(t, patient)
	provider.send(signaling.Offer{Route: first.Route, PC: signaling.Publish, Negotiation: 1, SDP: "v=0"})
	require.Equal(t, "answer:v=0", next[signaling.Answer](provider).SDP, "the visit goes on where it is")

	full.Refuse("")
	require.Equal(t, "move", next[signaling.Placed](provider).Reason)
	require.Equal(t, "move", next[signaling.Placed](patient).Reason)
}

func TestSFUKilledWhileItDrainsIsReplacedAtOnce(t *testing.T) {
	w := newWorld(t)
	sfus := w.pair()
	g := w.gateway("gw-1", func(c *gateway.Config) { c.MoveRetry = time.Hour })
	provider, _, first := g.call()
	next := next[signaling.Placed]
	heir := other(sfus, first.SFU)
	heir.Refuse(signaling.RefusedBusy)
	sfus[first.SFU].Drain(true)
	require.Eventually(t, func() bool { r, _ := sfutest.All[signaling.Reserve](heir); return len(r) >= 1 }, patience, tick)
	heir.Refuse("")
	sfus[first.SFU].Stop()
	placed := next(provider)
	require.Equal(t, heir.ID, placed.SFU)
	require.Equal(t, "failover", placed.Reason)
	require.True(t, placed.Abrupt)
}

func TestUndrainedSFUKeepsItsVisits(t *testing.T) {
	w := newWorld(t)
	sfus := w.pair()
	g := w.gateway("gw-1", restless)
	provider, patient, first := g.call()
	full := other(sfus, first.SFU)
	full.Refuse(signaling.RefusedBusy)
	sfus[first.SFU].Drain(true)
	require.Eventually(t, func() bool { r, _ := sfutest.All[signaling.Reserve](full); return len(r) >= 1 }, patience, tick)
	sfus[first.SFU].Drain(false)
	sfus[first.SFU].Tell(provider.welcome.Session, signaling.Speaker{Route: first.Route, Participant: "patient"})
	next[signaling.Speaker](provider) // the undrain, sent before it, has arrived
	full.Refuse("")
	require.Never(t, func() bool {
		e, err := w.store.Get(t.Context(), visit)
		return err != nil || e.Placement.Epoch != 1
	}, 300*time.Millisecond, 20*time.Millisecond)
	requireNoPlaced(t, patient)
}

func TestDrainIsHeardAgainAfterTheChannelFlapped(t *testing.T) {
	w := newWorld(t)
	sfus := w.pair()
	g := w.gateway("gw-1", restless)
	provider, _, first := g.call()
	full := other(sfus, first.SFU)
	full.Refuse(signaling.RefusedBusy)
	sfus[first.SFU].Drain(true)
	for range 3 {
		sfus[first.SFU].Drop()
		require.Eventually(t, func() bool { return sfus[first.SFU].Links() == 1 }, patience, tick)
	}
	full.Refuse("")
	require.Equal(t, "move", next[signaling.Placed](provider).Reason)
}

func TestDrainLeavesVisitsWithWHIPUntilTheSFUStops(t *testing.T) {
	w := newWorld(t)
	sfus := w.pair()
	g := w.gateway("gw-1", restless)
	provider, patient, first := g.call()
	_, err := gateway.MediaSessions(g.Server).Open(t.Context(), w.grant("encoder", access.Provider), signaling.WHIPSession, "", "offer")
	require.NoError(t, err)
	sfus[first.SFU].Drain(true)
	require.Never(t, func() bool {
		reserves, _ := sfutest.All[signaling.Reserve](other(sfus, first.SFU))
		return len(reserves) > 0
	}, 300*time.Millisecond, 20*time.Millisecond)
	sfus[first.SFU].Stop()
	require.Equal(t, "failover", next[signaling.Placed](provider).Reason)
	require.Equal(t, "failover", next[signaling.Placed](patient).Reason)
	w.record("cannot follow", func(e encounter.Encounter) bool { return e.Participants["encoder"].State == encounter.Left })
}

func TestNewVisitsPassADrainingSFUOver(t *testing.T) {
	w := newWorld(t)
	sfus := w.pair()
	g := w.gateway("gw-1")
	for _, sfu := range sfus {
		require.Eventually(t, func() bool { return sfu.Links() == 1 }, patience, tick, "links are there before anybody needs one")
	}
	sfus["sfu-1"].Drain(true)
	require.Eventually(t, func() bool { return gateway.Knows(g.Server, "sfu-1").Draining }, patience, tick)
	_, _, placed := g.call()
	require.Equal(t, "sfu-2", placed.SFU)
	asked, _ := sfutest.All[signaling.Reserve](sfus["sfu-1"])
	require.Empty(t, asked)
}

func TestLoadComesFromTheSFUItself(t *testing.T) {
	for busy, idle := range map[string]string{"sfu-1": "sfu-2", "sfu-2": "sfu-1"} {
		t.Run(busy, func(t *testing.T) {
			w := newWorld(t)
			sfus := w.pair()
			sfus[busy].SetLoad(0.8)
			sfus[idle].SetLoad(0.3)
			g := w.gateway("gw-1")
			require.Eventually(t, func() bool {
				return gateway.Knows(g.Server, busy).Load == 0.8 && gateway.Knows(g.Server, idle).Load == 0.3
			}, patience, tick)
			_, _, placed := g.call()
			require.Equal(t, idle, placed.SFU)
		})
	}
}

func TestRestartedSFUAtANewAddressIsFound(t *testing.T) {
	w := newWorld(t)
	first := w.sfu("sfu-1")
	g := w.gateway("gw-1")
	provider, _, _ := g.call()
	first.Stop()
	require.Eventually(t, func() bool { return gateway.Knows(g.Server, "sfu-1").Dead }, patience, tick)
	second := w.sfu("sfu-1")
	placed := next[signaling.Placed](provider)
	require.Equal(t, "sfu-1", placed.SFU)
	attaches, _ := sfutest.All[signaling.Attach](second)
	require.NotEmpty(t, attaches)
}

func TestLinksAreKeptToTheOwnRegionOnly(t *testing.T) {
	w := newWorld(t)
	near, far, sick, parked := w.sfu("near"), sfutest.Start(t, "far", w.sfuTLS.Server(secrets.GatewayRole)), w.sfu("sick"), w.sfu("parked")
	require.NoError(t, w.memory.Register(t.Context(), far.Service("elsewhere")))
	service := sick.Service("here")
	service.Health = discovery.Critical
	require.NoError(t, w.memory.Register(t.Context(), service))
	require.NoError(t, w.memory.SetMaintenance(t.Context(), "parked", true, "patch"))
	w.gateway("gw-1")
	require.Eventually(t, func() bool { return near.Links() == 1 }, patience, tick)
	require.Zero(t, far.Links()+sick.Links()+parked.Links())
	require.NoError(t, w.memory.Register(t.Context(), sick.Service("here")))
	require.Eventually(t, func() bool { return sick.Links() == 1 }, patience, tick, "one that recovers is dialed at once")
}
