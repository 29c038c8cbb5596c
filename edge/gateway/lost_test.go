package gateway_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway"
	"github.com/wardline/wardline/edge/gateway/sfutest"
)

// tick is how often a condition is looked at.
const tick = 5 * time.Millisecond

func short(c *gateway.Config) { c.ResumeGrace = 300 * time.Millisecond }

func TestLostSocketIsResumed(t *testing.T) {
	for name, elsewhere := range map[string]bool{"same gateway": false, "another gateway": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			sfu := w.sfu("sfu-1")
			g := w.gateway("gw-1")
			back := g
			if elsewhere {
				back = w.gateway("gw-2")
			}
			_, patient, _ := g.call()
			require.NoError(t, patient.conn.CloseNow())
			w.record("lost", func(e encounter.Encounter) bool {
				return !e.Participants["patient"].Sessions[patient.welcome.Session].Lost.IsZero()
			})
			again := back.joinWith(signaling.Join{
				Token: w.token("patient", access.Patient), Resume: patient.welcome.Session,
			})
			require.True(t, again.welcome.Resumed)
			require.Equal(t, patient.welcome.Session, again.welcome.Session)
			require.Equal(t, "admitted", again.welcome.State)
			require.Eventually(t, func() bool { a, _ := sfutest.All[signaling.Attach](sfu); return len(a) == 3 }, patience, tick)
			detached, _ := sfutest.All[signaling.Detach](sfu)
			require.Empty(t, detached)
			sfu.Tell(again.welcome.Session, signaling.Speaker{Route: signaling.Route{Leg: 1, Epoch: 1}, Participant: "doctor"})
			require.Equal(t, "doctor", next[signaling.Speaker](again).Participant)
		})
	}
}

func TestPlacedThatWasLostWithTheSocketIsSaidAgain(t *testing.T) {
	for name, elsewhere := range map[string]bool{"same gateway": false, "another gateway": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			sfu := w.sfu("sfu-1")
			g := w.gateway("gw-1")
			back := g
			if elsewhere {
				back = w.gateway("gw-2")
			}
			_, patient, placed := g.call()
			resume := func(from *caller, known uint32) *caller {
				attaches, _ := sfutest.All[signaling.Attach](sfu)
				require.NoError(t, from.conn.CloseNow())
				w.record("lost", func(e encounter.Encounter) bool {
					return !e.Participants["patient"].Sessions[patient.welcome.Session].Lost.IsZero()
				})
				again := back.joinWith(signaling.Join{
					Token: w.token("patient", access.Patient), Resume: patient.welcome.Session, Leg: known,
				})
				require.Eventually(t, func() bool {
					more, _ := sfutest.All[signaling.Attach](sfu)
					return len(more) > len(attaches)
				}, patience, tick)
				return again
			}
			again := resume(patient, 0)
			require.Equal(t, placed.Route, next[signaling.Placed](again).Route)

			again = resume(again, placed.Leg)
			sfu.Tell(patient.welcome.Session, signaling.Speaker{Route: placed.Route, Participant: "doctor"})
			for m := range again.got {
				require.NotEqual(t, "placed", m.Type(), "it knows that leg")
				if m.Type() == "speaker" {
					return
				}
			}
			require.Fail(t, "the socket closed")
		})
	}
}

func TestLostSessionLeavesAfterTheGrace(t *testing.T) {
	w := newWorld(t)
	sfu := w.sfu("sfu-1")
	g := w.gateway("gw-1", short)
	provider, patient, _ := g.call()
	require.NoError(t, patient.conn.CloseNow())
	nextWhere(provider, func(r signaling.Roster) bool { return len(r.Members) == 1 })
	require.Eventually(t, func() bool { d, _ := sfutest.All[signaling.Detach](sfu); return len(d) == 1 }, patience, tick)

	again := g.joinWith(signaling.Join{Token: w.token("patient", access.Patient), Resume: patient.welcome.Session})
	require.False(t, again.welcome.Resumed)
	require.NotEqual(t, patient.welcome.Session, again.welcome.Session)
	require.Equal(t, "admitted", again.welcome.State, "somebody let in once does not wait again")
}

func TestGatewayRestartDoesNotTouchMedia(t *testing.T) {
	for name, id := range map[string]string{"the same": "gw-1", "another": "gw-2"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			sfu := w.sfu("sfu-1")
			g := w.gateway("gw-1")
			_, patient, _ := g.call()
			g.stop()
			require.Equal(t, signaling.Bye{Code: signaling.ByeShutdown, Retry: true}, next[signaling.Bye](patient))

			successor := w.gateway(id)
			again := successor.joinWith(signaling.Join{
				Token: w.token("patient", access.Patient), Resume: patient.welcome.Session,
			})
			require.True(t, again.welcome.Resumed)
			require.Eventually(t, func() bool { a, _ := sfutest.All[signaling.Attach](sfu); return len(a) == 3 }, patience, tick)
			attaches, sessions := sfutest.All[signaling.Attach](sfu)
			require.Equal(t, patient.welcome.Session, sessions[2])
			require.Equal(t, signaling.Route{Leg: 1, Epoch: 1}, attaches[2].Route)
			detached, _ := sfutest.All[signaling.Detach](sfu)
			require.Empty(t, detached)
		})
	}
}

func TestATimeWithoutGatewaysIsNoneInWhichSomebodyCouldHaveComeBack(t *testing.T) {
	w := newWorld(t)
	w.sfu("sfu-1")
	g := w.gateway("gw-1")
	_, patient, _ := g.call()
	g.stop()
	_, err := encounter.Change(t.Context(), w.store, visit, func(e *encounter.Encounter) error {
		held := e.Participants["patient"].Sessions[patient.welcome.Session]
		held.Lost = held.Lost.Add(-time.Hour)
		e.Participants["patient"].Sessions[patient.welcome.Session] = held
		return nil
	})
	require.NoError(t, err)
	another := encounter.Key{Tenant: "clinic", ID: "yet-another"} // swept after it
	_, err = w.store.CompareAndSet(t.Context(), encounter.Encounter{
		Key: another, Created: time.Now(), Participants: map[string]encounter.Participant{"patient": {State: encounter.Left}},
	})
	require.NoError(t, err)

	successor := w.gateway("gw-2")
	require.Eventually(t, func() bool {
		swept, err := w.store.Get(t.Context(), another)
		return err == nil && !swept.Vacated.IsZero()
	}, patience, tick)
	again := successor.joinWith(signaling.Join{Token: w.token("patient", access.Patient), Resume: patient.welcome.Session})
	require.True(t, again.welcome.Resumed)
}

func TestSessionsOfVanishedGatewayAreExpired(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, func() error {
		_, err := encounter.Ensure(t.Context(), w.store, encounter.Encounter{Key: visit, Created: time.Now()})
		return err
	}())
	_, err := encounter.Change(t.Context(), w.store, visit, func(e *encounter.Encounter) error {
		_, err := e.Join("patient", access.Patient, "s-1", encounter.Session{Kind: encounter.Browser, Gateway: "gone"}, nil, nil, false)
		return err
	})
	require.NoError(t, err)
	w.gateway("gw-1", short)
	w.record("left", func(e encounter.Encounter) bool { return e.Participants["patient"].State == encounter.Left })
}

// outage is a store that takes nothing while it is away.
type outage struct {
	encounter.Store
	away    atomic.Bool
	refused atomic.Int32
}

func (s *outage) CompareAndSet(ctx context.Context, e encounter.Encounter) (encounter.Encounter, error) {
	if s.away.Load() {
		s.refused.Add(1)
		return encounter.Encounter{}, discovery.ErrUnavailable
	}
	return s.Store.CompareAndSet(ctx, e)
}

func TestWhoIsLostWhileTheStoreIsAwayIsNotTakenForConnectedAfterwards(t *testing.T) {
	w := newWorld(t)
	w.sfu("sfu-1")
	store := &outage{Store: w.store}
	g := w.gateway("gw-1", short, func(c *gateway.Config) { c.Store = store })
	provider, patient, _ := g.call()
	store.away.Store(true)
	require.NoError(t, patient.conn.CloseNow())
	require.Eventually(t, func() bool { return store.refused.Load() > 0 }, patience, tick)
	store.away.Store(false)
	nextWhere(provider, func(r signaling.Roster) bool { return len(r.Members) == 1 })
}

// unseen is a store whose changes are heard of late.
type unseen struct{ encounter.Store }

func (unseen) Watch(ctx context.Context, _ encounter.Key) <-chan encounter.Encounter {
	never := make(chan encounter.Encounter)
	context.AfterFunc(ctx, func() { close(never) })
	return never
}

func TestASocketThatEndsLateTakesNothingFromWhoGoesOnElsewhere(t *testing.T) {
	for name, end := range map[string]func(*caller) error{
		"lost": func(c *caller) error { return c.conn.CloseNow() },
		"left": func(c *caller) error { c.send(signaling.Leave{}); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			w, registry := newWorld(t), prometheus.NewRegistry()
			w.sfu("sfu-1")
			first := w.gateway("gw-1", func(c *gateway.Config) { c.Store, c.Registry = unseen{w.store}, registry })
			second := w.gateway("gw-2")
			_, patient, _ := first.call()
			again := second.joinWith(signaling.Join{Token: w.token("patient", access.Patient), Resume: patient.welcome.Session})
			require.True(t, again.welcome.Resumed)
			before, err := w.store.Get(t.Context(), visit)
			require.NoError(t, err)
			require.NoError(t, end(patient))
			require.Eventually(t, func() bool { return gauge(t, registry, "wardline_gateway_clients") == 1 }, patience, tick)
			after, err := w.store.Get(t.Context(), visit)
			require.NoError(t, err)
			require.Equal(t, before, after)
		})
	}
}

// gauge is what a metric without labels says.
func gauge(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	return -1
}
