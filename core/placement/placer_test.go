package placement_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/placement"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var visit = encounter.Key{Tenant: "clinic", ID: "visit-1"}

// reservations is a Reserver that notes who was asked and answers as told.
type reservations struct {
	answer func(ctx context.Context, c placement.Candidate) error

	mu    sync.Mutex
	asked []string // "sfu@epoch"
}

func (r *reservations) Reserve(ctx context.Context, c placement.Candidate, _ encounter.Key, epoch uint64) error {
	r.mu.Lock()
	r.asked = append(r.asked, fmt.Sprintf("%s@%d", c.SFU, epoch))
	r.mu.Unlock()
	if r.answer == nil {
		return nil
	}
	return r.answer(ctx, c)
}

// house is a placer on its own catalog and store.
type house struct {
	*placement.Placer
	reservations *reservations
	discovery    *discovery.Memory
}

func newHouse(t *testing.T, services ...discovery.Service) house {
	t.Helper()
	memory := discovery.NewMemory()
	for _, s := range services {
		require.NoError(t, memory.Register(t.Context(), s))
	}
	store := encounter.NewKVStore(memory)
	_, err := encounter.Ensure(t.Context(), store, encounter.Encounter{Key: visit, Created: time.Now()})
	require.NoError(t, err)
	r := &reservations{}
	placer := &placement.Placer{Catalog: memory, Store: store, Reserver: r, Log: zerolog.Nop()}
	return house{Placer: placer, reservations: r, discovery: memory}
}

func (h house) record(t *testing.T) encounter.Encounter {
	t.Helper()
	e, err := h.Store.Get(t.Context(), visit)
	require.NoError(t, err)
	return e
}

func (h house) change(t *testing.T, change func(*encounter.Encounter) error) {
	t.Helper()
	_, err := encounter.Change(t.Context(), h.Store, visit, change)
	require.NoError(t, err)
}

func TestPlaceReservesAndWritesTheFirstEpoch(t *testing.T) {
	h := newHouse(t, sfu("sfu-1", "eu", "0.5"), sfu("sfu-2", "eu", "0.1"))
	p, err := h.Place(t.Context(), visit)
	require.NoError(t, err)
	require.Equal(t, encounter.Placement{Region: "eu", SFU: "sfu-2", Epoch: 1}, p)
	require.Equal(t, p, h.record(t).Placement)

	again, err := h.Place(t.Context(), visit)
	require.NoError(t, err)
	require.Equal(t, p, again)
	require.Equal(t, []string{"sfu-2@1"}, h.reservations.asked, "a placed encounter is not reserved again")
}

func TestPlaceSkipsWhoRefusesFailsOrHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, sfu("a-busy", "eu", "0"), sfu("b-broken", "eu", "0.2"), sfu("c-hung", "eu", "0.4"), sfu("d-fine", "eu", "0.6"))
		h.reservations.answer = func(ctx context.Context, c placement.Candidate) error {
			switch c.SFU {
			case "a-busy":
				return fmt.Errorf("%w: busy", placement.ErrRefused)
			case "b-broken":
				return errors.New("connection reset")
			case "c-hung":
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		start := time.Now()
		p, err := h.Place(t.Context(), visit)
		require.NoError(t, err)
		require.Equal(t, "d-fine", p.SFU)
		require.Equal(t, placement.Hedge, time.Since(start), "a hung server costs a moment, not its timeout")
		require.Equal(t, []string{"a-busy@1", "b-broken@1", "c-hung@1", "d-fine@1"}, h.reservations.asked)
	})
}

func TestPlaceFails(t *testing.T) {
	t.Run("all refuse", func(t *testing.T) {
		h := newHouse(t, sfu("sfu-1", "eu", "0"), sfu("sfu-2", "eu", "0"))
		h.reservations.answer = func(context.Context, placement.Candidate) error { return placement.ErrRefused }
		_, err := h.Place(t.Context(), visit)
		require.ErrorIs(t, err, placement.ErrNoServer)
		require.ErrorIs(t, err, placement.ErrRefused)
		require.ErrorContains(t, err, "2 asked")
		require.False(t, h.record(t).Placement.Placed())
	})
	t.Run("none known", func(t *testing.T) {
		_, err := newHouse(t).Place(t.Context(), visit)
		require.ErrorIs(t, err, placement.ErrNoServer)
	})
	t.Run("ended", func(t *testing.T) {
		h := newHouse(t, sfu("sfu-1", "eu", "0"))
		h.change(t, func(e *encounter.Encounter) error { e.End(time.Now()); return nil })
		_, err := h.Place(t.Context(), visit)
		require.ErrorIs(t, err, encounter.ErrEnded)
		require.Empty(t, h.reservations.asked)
	})
	t.Run("ended while reserving", func(t *testing.T) {
		h := newHouse(t, sfu("sfu-1", "eu", "0"))
		h.reservations.answer = func(context.Context, placement.Candidate) error {
			h.change(t, func(e *encounter.Encounter) error { e.End(time.Now()); return nil })
			return nil
		}
		_, err := h.Place(t.Context(), visit)
		require.ErrorIs(t, err, encounter.ErrEnded)
		require.False(t, h.record(t).Placement.Placed())
	})
	t.Run("unknown encounter", func(t *testing.T) {
		_, err := newHouse(t).Place(t.Context(), encounter.Key{Tenant: "clinic", ID: "another"})
		require.ErrorIs(t, err, encounter.ErrNotFound)
	})
	t.Run("catalog unreachable", func(t *testing.T) {
		h := newHouse(t)
		h.Catalog = brokenCatalog{}
		_, err := h.Place(t.Context(), visit)
		require.ErrorIs(t, err, discovery.ErrUnavailable)
		require.NotErrorIs(t, err, placement.ErrNoServer)
	})
	t.Run("caller gave up", func(t *testing.T) {
		h := newHouse(t, sfu("sfu-1", "eu", "0"), sfu("sfu-2", "eu", "0"))
		ctx, cancel := context.WithCancel(t.Context())
		h.reservations.answer = func(context.Context, placement.Candidate) error { cancel(); return ctx.Err() }
		_, err := h.Place(ctx, visit)
		require.ErrorIs(t, err, context.Canceled)
		require.Len(t, h.reservations.asked, 1)
	})
}

type brokenCatalog struct{}

func (brokenCatalog) Services(context.Context, string) ([]discovery.Service, error) {
	return nil, discovery.ErrUnavailable
}

func TestPlaceRespectsPolicy(t *testing.T) {
	h := newHouse(t, sfu("eu-1", "eu", "0"), sfu("us-1", "us", "0.9"))
	h.change(t, func(e *encounter.Encounter) error { e.Regions = []string{"us"}; return nil })
	p, err := h.Place(t.Context(), visit)
	require.NoError(t, err)
	require.Equal(t, "us", p.Region)
}

// together runs decide 100 times at once and returns the one answer all got.
func together(t *testing.T, decide func() (encounter.Placement, error)) encounter.Placement {
	t.Helper()
	answers := make([]encounter.Placement, 100)
	var group errgroup.Group
	for i := range answers {
		group.Go(func() (err error) {
			answers[i], err = decide()
			return err
		})
	}
	require.NoError(t, group.Wait())
	for _, answer := range answers {
		require.Equal(t, answers[0], answer, "all gateways agree")
	}
	return answers[0]
}

func TestManyGatewaysPlaceOnce(t *testing.T) {
	h := newHouse(t, sfu("sfu-1", "eu", "0"), sfu("sfu-2", "eu", "0"), sfu("sfu-3", "us", "0"))
	h.reservations.answer = flaky()
	p := together(t, func() (encounter.Placement, error) { return h.Place(t.Context(), visit) })
	require.Equal(t, p, h.record(t).Placement)
	require.EqualValues(t, 1, p.Epoch)
}

// flaky refuses every second request, so that concurrent gateways end up with different candidates.
func flaky() func(context.Context, placement.Candidate) error {
	var mu sync.Mutex
	requests := 0
	return func(_ context.Context, c placement.Candidate) error {
		mu.Lock()
		defer mu.Unlock()
		requests++
		if requests%2 == 0 && c.SFU != "sfu-3" {
			return placement.ErrRefused
		}
		return nil
	}
}

func TestManyGatewaysReplaceOnce(t *testing.T) {
	h := newHouse(t, sfu("dead", "eu", "0"), sfu("sfu-1", "eu", "0.1"), sfu("sfu-2", "eu", "0.1"), sfu("sfu-3", "us", "0"))
	dead := encounter.Placement{Region: "eu", SFU: "dead", Epoch: 7, Term: 2}
	h.change(t, func(e *encounter.Encounter) error { return e.Place(dead) })
	h.reservations.answer = flaky()
	p := together(t, func() (encounter.Placement, error) { return h.Replace(t.Context(), visit, dead) })
	require.Equal(t, p, h.record(t).Placement)
	require.NotEqual(t, "dead", p.SFU)
	require.EqualValues(t, 8, p.Epoch)
	require.EqualValues(t, 2, p.Term)
	require.NotContains(t, h.reservations.asked, "dead@8")
}

func TestReplaceActsOnlyOnWhatTheRecordNames(t *testing.T) {
	h := newHouse(t, sfu("sfu-1", "eu", "0"), sfu("sfu-2", "eu", "0.2"))
	first, err := h.Place(t.Context(), visit)
	require.NoError(t, err)
	second, err := h.Replace(t.Context(), visit, first)
	require.NoError(t, err)
	require.Equal(t, encounter.Placement{Region: "eu", SFU: "sfu-2", Epoch: 2}, second)

	late, err := h.Replace(t.Context(), visit, first)
	require.NoError(t, err)
	require.Equal(t, second, late, "somebody else was faster")

	back, err := h.Replace(t.Context(), visit, second)
	require.NoError(t, err)
	require.Equal(t, encounter.Placement{Region: "eu", SFU: "sfu-1", Epoch: 3}, back, "a server that came back counts again")
	late, err = h.Replace(t.Context(), visit, first)
	require.NoError(t, err)
	require.Equal(t, back, late, "the same server under another epoch is not the dead one")
}

func TestReplaceWithoutAnotherServerLeavesTheRecord(t *testing.T) {
	h := newHouse(t, sfu("only", "eu", "0"))
	dead, err := h.Place(t.Context(), visit)
	require.NoError(t, err)
	before := h.record(t)
	_, err = h.Replace(t.Context(), visit, dead)
	require.ErrorIs(t, err, placement.ErrNoServer)
	require.Equal(t, before, h.record(t))
	require.Equal(t, []string{"only@1"}, h.reservations.asked)
}
