package federation_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/encounter/federation"
	"github.com/wardline/wardline/core/encounter/federation/federationtest"
)

// forgetful loses the answer of the first write, or fails before it, and is whole from then on.
type forgetful struct {
	encounter.KV
	before, done bool
}

func (f *forgetful) CompareAndSet(ctx context.Context, key string, value []byte, index uint64) (discovery.Entry, error) {
	if f.done {
		return f.KV.CompareAndSet(ctx, key, value, index)
	}
	f.done = true
	if !f.before {
		if _, err := f.KV.CompareAndSet(ctx, key, value, index); err != nil {
			return discovery.Entry{}, err
		}
	}
	return discovery.Entry{}, errors.New("connection reset")
}

func TestAResetConnectionIsNoReasonToTakeOver(t *testing.T) {
	for name, before := range map[string]bool{"before the write": true, "after the write": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				backend := federationtest.Memory()
				home := &forgetful{KV: backend("eu"), before: before}
				store := federation.New(federation.Config{
					Own: "us", Order: func() []string { return regions },
					KV: func(region string) encounter.KV {
						if region == "eu" {
							return home
						}
						return backend(region)
					},
				})
				t.Cleanup(store.Close)
				e, err := store.CompareAndSet(t.Context(), encounter.Encounter{Key: visit})
				require.NoError(t, err, "whether it was written shows")
				require.EqualValues(t, 1, e.Revision, "the first version of term 0")
				require.True(t, store.Reach()["eu"])
			})
		})
	}
}

func TestASlowRegionHoldsNothingUp(t *testing.T) {
	inBubble(t, func(w world3) {
		t := w.t
		ensure(t, w.stores["eu"])
		w.level(t)
		w.Set("eu", "asia", federationtest.Path{Delay: 500 * time.Millisecond})
		start := time.Now()
		_, err := w.stores["eu"].Get(t.Context(), visit)
		require.NoError(t, err)
		require.Less(t, time.Since(start), 250*time.Millisecond, "own and writing region have answered")
		require.True(t, w.stores["eu"].Reach()["asia"])
		require.NoError(t, join(w.stores["eu"], "p"))
		require.Len(t, w.level(t).Participants, 1, "it gets its copy all the same")
	})
}

func TestRegionsAreFoundOutOfReachBeforeAnybodyNeedsThem(t *testing.T) {
	inBubble(t, func(w world3) {
		w.Set("us", "asia", federationtest.Path{Cut: true})
		require.Eventually(w.t, func() bool { return !w.stores["us"].Reach()["asia"] }, 10*time.Second, time.Second)
	})
}

// flapping fails when told to, and counts what it is asked.
type flapping struct {
	encounter.KV
	fails atomic.Bool
	asked atomic.Int32
}

func (f *flapping) Get(ctx context.Context, key string) (discovery.Entry, error) {
	f.asked.Add(1)
	if f.fails.Load() {
		return discovery.Entry{}, errors.New("connection refused")
	}
	return f.KV.Get(ctx, key)
}

func TestARegionThatFlapsIsProbedAsSeldomAsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const retry = 10 * time.Second
		kv := &flapping{KV: federationtest.Memory()("eu")}
		store := federation.New(federation.Config{
			Own: "eu", Order: func() []string { return []string{"eu"} }, Retry: retry, KV: func(string) encounter.KV { return kv },
		})
		t.Cleanup(store.Close)
		ensure(t, store)
		for range 20 {
			for _, fails := range []bool{false, true} {
				kv.fails.Store(fails)
				_, err := store.Get(t.Context(), visit)
				require.Equal(t, fails, err != nil)
			}
		}
		kv.asked.Store(0)
		time.Sleep(3 * retry)
		require.LessOrEqual(t, kv.asked.Load(), int32(4))
	})
}

func TestCloseSpreadsWhatWasJustWritten(t *testing.T) {
	inBubble(t, func(w world3) {
		t := w.t
		w.Isolate("eu", regions, federationtest.Path{Delay: 100 * time.Millisecond})
		e := ensure(t, w.stores["eu"])
		w.stores["eu"].Close()
		require.Equal(t, e.Revision, w.level(t).Revision)
	})
}

func TestRegionsOutOfReachAreToldAndFoundAgain(t *testing.T) {
	inBubble(t, func(w world3) {
		t := w.t
		registry := prometheus.NewRegistry()
		store := federation.New(federation.Config{
			Own: "us", Order: func() []string { return regions }, Registerer: registry,
			KV: func(region string) encounter.KV { return w.KV("us", region) },
		})
		t.Cleanup(store.Close)
		require.Equal(t, map[string]bool{"eu": true, "us": true, "asia": true}, store.Reach())
		ensure(t, store)
		w.Set("us", "eu", federationtest.Path{Cut: true})
		require.NoError(t, join(store, "p"))
		require.Equal(t, map[string]bool{"eu": false, "us": true, "asia": true}, store.Reach())
		require.InDelta(t, 1, metric(t, registry, "wardline_records_regions_out_of_reach"), 0)
		require.InDelta(t, 1, metric(t, registry, "wardline_records_taken_over_total"), 0)

		w.Set("us", "eu", federationtest.Path{})
		require.Eventually(t, func() bool { return store.Reach()["eu"] }, 10*time.Second, 100*time.Millisecond)
		require.InDelta(t, 0, metric(t, registry, "wardline_records_regions_out_of_reach"), 0)
		w.level(t)
		require.Positive(t, metric(t, registry, "wardline_records_copies_written_total"))
		require.Equal(t, 4, count(t, registry))
	})
}

func metric(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetCounter().GetValue() + family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	require.FailNow(t, "no metric", name)
	return 0
}

func count(t *testing.T, registry *prometheus.Registry) int {
	t.Helper()
	n, err := testutil.GatherAndCount(registry)
	require.NoError(t, err)
	return n
}

func TestAbsenceNeedsAWitness(t *testing.T) {
	inBubble(t, func(w world3) {
		t := w.t
		asia := w.stores["asia"]
		w.Set("asia", "eu", federationtest.Path{Cut: true})
		_, err := asia.Get(t.Context(), visit)
		require.ErrorIs(t, err, encounter.ErrNotFound, "the own region says so")
		w.Set("asia", "asia", federationtest.Path{Cut: true})
		_, err = asia.Get(t.Context(), visit)
		require.ErrorIs(t, err, discovery.ErrUnavailable, "only a region that need not know has answered")
		require.NotErrorIs(t, err, encounter.ErrNotFound)
		_, err = asia.CompareAndSet(t.Context(), encounter.Encounter{Key: visit})
		require.ErrorIs(t, err, discovery.ErrUnavailable)
		require.ErrorIs(t, asia.Delete(t.Context(), encounter.Encounter{Key: visit, Revision: 1}), discovery.ErrUnavailable)
		w.Set("asia", "us", federationtest.Path{Cut: true})
		_, err = asia.List(t.Context(), "")
		require.ErrorIs(t, err, discovery.ErrUnavailable)
	})
}

func TestWithoutItsOnlyHomeARecordCannotBeWritten(t *testing.T) {
	inBubble(t, func(w world3) {
		t := w.t
		us := w.stores["us"]
		watcher := federationtest.Follow(t, us, visit)
		e := ensure(t, us, "eu")
		synctest.Wait()
		require.Equal(t, e.Revision, watcher.Last().Revision)
		w.Set("us", "eu", federationtest.Path{Cut: true, Refuse: true})
		_, err := us.CompareAndSet(t.Context(), e)
		require.ErrorIs(t, err, discovery.ErrUnavailable)
		require.NotErrorIs(t, err, encounter.ErrConflict)
	})
}

func TestTheCallersPatienceIsNobodysFault(t *testing.T) {
	inBubble(t, func(w world3) {
		t := w.t
		w.Set("us", "eu", federationtest.Path{Delay: 300 * time.Millisecond})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := w.stores["us"].Get(ctx, visit)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		time.Sleep(time.Second)
		require.True(t, w.stores["us"].Reach()["eu"])
	})
}

func TestListStaysInItsRegionWhileItCan(t *testing.T) {
	inBubble(t, func(w world3) {
		t := w.t
		ensure(t, w.stores["eu"])
		w.level(t)
		us := w.stores["us"]
		for _, other := range []string{"eu", "asia"} {
			w.Set("us", other, federationtest.Path{Cut: true})
		}
		start := time.Now()
		list, err := us.List(t.Context(), "clinic")
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.EqualValues(t, 1, list[0].Revision)
		require.Zero(t, time.Since(start))

		w.Set("us", "asia", federationtest.Path{})
		w.Set("us", "us", federationtest.Path{Cut: true})
		list, err = us.List(t.Context(), "clinic")
		require.NoError(t, err)
		require.Len(t, list, 1, "from asia")
	})
}

func TestAClosedStoreSaysSo(t *testing.T) {
	store := federation.New(federation.Config{
		Own: "eu", Order: func() []string { return regions }, KV: federationtest.Memory(),
	})
	watch := store.Watch(t.Context(), visit)
	store.Close()
	store.Close()
	_, open := <-watch
	require.False(t, open)
	_, open = <-store.Watch(t.Context(), visit)
	require.False(t, open)
	_, err := store.Get(t.Context(), visit)
	require.ErrorIs(t, err, discovery.ErrUnavailable)
	_, err = store.CompareAndSet(t.Context(), encounter.Encounter{Key: visit})
	require.ErrorIs(t, err, discovery.ErrUnavailable)
}
