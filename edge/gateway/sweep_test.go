package gateway_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/observe/observetest"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway"
	"github.com/wardline/wardline/edge/gateway/sfutest"
)

func TestEndedRecordsGoOnceNoTokenCouldBringThemBack(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	for id, ended := range map[string]time.Time{"long-ago": now.Add(-2 * time.Hour), "just-now": now, "open": {}} {
		_, err := w.store.CompareAndSet(t.Context(), encounter.Encounter{
			Key: encounter.Key{Tenant: "clinic", ID: id}, Created: now.Add(-3 * time.Hour), Ended: ended,
		})
		require.NoError(t, err)
	}
	_, err := w.memory.CompareAndSet(t.Context(), "wardline/encounters/clinic/damaged", []byte("damaged"), 0)
	require.NoError(t, err)
	w.gateway("gw-1", func(c *gateway.Config) { c.KeepEnded = time.Hour })

	require.Eventually(t, func() bool {
		_, err := w.store.Get(t.Context(), encounter.Key{Tenant: "clinic", ID: "long-ago"})
		return err != nil
	}, 10*time.Second, 10*time.Millisecond, "one damaged record must not keep the others from being swept")
	for _, id := range []string{"just-now", "open"} {
		_, err := w.store.Get(t.Context(), encounter.Key{Tenant: "clinic", ID: id})
		require.NoError(t, err, id)
	}
	_, err = w.memory.Get(t.Context(), "wardline/encounters/clinic/damaged")
	require.NoError(t, err, "what cannot be read is never deleted")
}

func TestADamagedRecordIsToldOnce(t *testing.T) {
	w := newWorld(t)
	var log observetest.Text
	damage := func(id string) {
		_, err := w.memory.CompareAndSet(t.Context(), "wardline/encounters/clinic/"+id, []byte("damaged"), 0)
		require.NoError(t, err)
	}
	damage("one")
	w.gateway("gw-1", func(c *gateway.Config) { c.KeepEnded, c.Log = time.Hour, zerolog.New(&log) })
	swept := func() { // at least once more
		key, long := encounter.Key{Tenant: "clinic", ID: "ended"}, time.Now().Add(-2*time.Hour)
		_, err := w.store.CompareAndSet(t.Context(), encounter.Encounter{Key: key, Created: long, Ended: long})
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			_, err := w.store.Get(t.Context(), key)
			return errors.Is(err, encounter.ErrNotFound)
		}, 10*time.Second, 10*time.Millisecond)
	}
	for range 4 {
		swept()
	}
	require.Equal(t, 1, strings.Count(log.String(), "records not swept"))
	damage("two")
	for range 4 {
		swept()
	}
	require.Equal(t, 2, strings.Count(log.String(), "records not swept"))
	require.Contains(t, log.String(), "clinic/two")
}

func TestRecordsOfVisitsThatNobodyEndedGoToo(t *testing.T) {
	w := newWorld(t)
	left := map[string]encounter.Participant{"doctor": {Role: access.Provider, State: encounter.Left}}
	for id, e := range map[string]encounter.Encounter{
		"left-long-ago": {Participants: left, Vacated: time.Now().Add(-2 * time.Hour)},
		"left-just-now": {Participants: left},
		"encrypted":     {Participants: left, Vacated: time.Now().Add(-2 * time.Hour), E2EE: true},
		"sealed-now":    {Participants: left, E2EE: true},
		"not-yet-used":  {},
	} {
		e.Key, e.Created = encounter.Key{Tenant: "clinic", ID: id}, time.Now().Add(-1000*time.Hour)
		_, err := w.store.CompareAndSet(t.Context(), e)
		require.NoError(t, err)
	}
	w.gateway("gw-1", func(c *gateway.Config) { c.KeepEnded = time.Hour })

	require.Eventually(t, func() bool {
		gone := func(id string) bool {
			_, err := w.store.Get(t.Context(), encounter.Key{Tenant: "clinic", ID: id})
			return errors.Is(err, encounter.ErrNotFound)
		}
		noted := func(id string) bool {
			e, err := w.store.Get(t.Context(), encounter.Key{Tenant: "clinic", ID: id})
			return err == nil && !e.Vacated.IsZero()
		}
		return gone("left-long-ago") && gone("encrypted") && noted("left-just-now") && noted("sealed-now")
	}, 10*time.Second, 10*time.Millisecond)
	e, err := w.store.Get(t.Context(), encounter.Key{Tenant: "clinic", ID: "not-yet-used"})
	require.NoError(t, err)
	require.Zero(t, e.Vacated)
}

func TestOldIdempotencyKeysAreSwept(t *testing.T) {
	w := newWorld(t)
	const old = "wardline/idempotency/clinic/key"
	_, err := w.memory.CompareAndSet(t.Context(), old, []byte(`{"request":"r","created":"2020-01-01T00:00:00Z"}`), 0)
	require.NoError(t, err)
	w.gateway("gw-1")
	require.Eventually(t, func() bool {
		_, err := w.memory.Get(t.Context(), old)
		return errors.Is(err, discovery.ErrNotFound)
	}, patience, tick)
}

func TestMediaEndsWithAVisitThatNobodyWatched(t *testing.T) {
	for name, ago := range map[string]time.Duration{"just now": 0, "a while ago": time.Hour} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			sfu := w.sfu("sfu-1")
			g := w.gateway("gw-1")
			encoder := w.grant("encoder", access.Provider)
			_, err := gateway.MediaSessions(g.Server).Open(t.Context(), encoder, signaling.WHIPSession, "", "offer")
			require.NoError(t, err)
			g.stop()
			_, err = encounter.Change(t.Context(), w.store, visit, func(e *encounter.Encounter) error {
				e.End(time.Now().Add(-ago))
				return nil
			})
			require.NoError(t, err)
			w.gateway("gw-2")
			told := 1
			if ago == 0 {
				told = 3 // again and again: what was sent need not have arrived
			}
			require.Eventually(t, func() bool {
				members, _ := sfutest.All[signaling.Membership](sfu)
				ended := slices.DeleteFunc(members, func(m signaling.Membership) bool { return !m.Ended })
				return len(ended) >= told
			}, patience, tick, "an encoder's leg lives as long as its ICE, whatever became of its gateway")
			if ago > 0 {
				w.record("taken out", func(e encounter.Encounter) bool { return len(e.Participants["encoder"].Sessions) == 0 })
			}
		})
	}
}

// lingering is a store whose answer to a change comes only after the records were listed again.
type lingering struct {
	encounter.Store
	listed chan struct{}
}

func (s lingering) List(ctx context.Context, tenant string) ([]encounter.Encounter, error) {
	select {
	case s.listed <- struct{}{}:
	default:
	}
	return s.Store.List(ctx, tenant)
}

func (s lingering) CompareAndSet(ctx context.Context, e encounter.Encounter) (encounter.Encounter, error) {
	written, err := s.Store.CompareAndSet(ctx, e)
	if len(e.Participants) > 0 && !e.Placement.Placed() {
		for range 3 { // so that two whole sweeps saw the record
			select {
			case <-s.listed:
			case <-ctx.Done():
			}
		}
	}
	return written, err
}

func TestSweepLeavesSessionsOnTheirWayAlone(t *testing.T) {
	w := newWorld(t)
	w.sfu("sfu-1")
	g := w.gateway("gw-1", func(c *gateway.Config) {
		c.Store, c.SweepEvery, c.OpenTimeout = lingering{w.store, make(chan struct{})}, 5*time.Millisecond, 5*time.Second
	})
	opened, err := gateway.MediaSessions(g.Server).Open(t.Context(), w.grant("wall", access.Provider), signaling.WHEPSession, "", "offer")
	require.NoError(t, err)
	require.Equal(t, "answer:offer", opened.AnswerSDP)
}
