package federation_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/encounter/federation"
	"github.com/wardline/wardline/core/encounter/federation/federationtest"
)

func change(store encounter.Store, do func(e *encounter.Encounter) error) error {
	_, err := encounter.Change(context.Background(), store, visit, do)
	return err
}

// deleteWithout makes a visit, cuts a region off, ends the visit and deletes its record from another region.
func (w world3) deleteWithout(t *testing.T, away, from string, policy ...string) {
	t.Helper()
	ensure(t, w.stores["eu"], policy...)
	require.NoError(t, change(w.stores["eu"], func(e *encounter.Encounter) error {
		_, err := e.Join("p", access.Provider, "s", encounter.Session{Kind: encounter.Browser}, []byte("their name"), nil, true)
		return err
	}))
	synctest.Wait()
	w.Isolate(away, regions, federationtest.Path{Cut: true})
	require.NoError(t, change(w.stores[from], func(e *encounter.Encounter) error {
		err := e.Remove("p")
		e.End(time.Now())
		return err
	}))
	w.delete(t, from)
}

func (w world3) delete(t *testing.T, from string) {
	t.Helper()
	e, err := w.stores[from].Get(t.Context(), visit)
	require.NoError(t, err)
	require.NoError(t, w.stores[from].Delete(t.Context(), e))
	require.NoError(t, w.stores[from].Delete(t.Context(), e), "deleting again changes nothing")
}

// heal ends what isolates a region, and waits until its return has been noticed.
func (w world3) heal(t *testing.T, region string) {
	t.Helper()
	w.Isolate(region, regions, federationtest.Path{})
	require.Eventually(t, func() bool {
		for _, store := range w.stores {
			for _, reached := range store.Reach() {
				if !reached {
					return false
				}
			}
		}
		return true
	}, time.Minute, 10*time.Millisecond)
}

// gone requires that no region has anything left of the visit.
func (w world3) gone(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, region := range regions {
			if _, err := w.backend(region).Get(t.Context(), visitPath); err == nil {
				return false
			}
		}
		return true
	}, time.Minute, 10*time.Millisecond)
}

// unknown requires that a region knows no visit.
func (w world3) unknown(t *testing.T, region string) {
	t.Helper()
	_, err := w.stores[region].Get(t.Context(), visit)
	require.ErrorIs(t, err, encounter.ErrNotFound, region)
	all, err := w.stores[region].List(t.Context(), "")
	require.NoError(t, err)
	require.Empty(t, all, region)
}

func TestARegionThatWasAwayBringsNoDeletedRecordBack(t *testing.T) {
	for _, away := range regions { // with the writing one among them
		t.Run(away, func(t *testing.T) {
			inBubble(t, func(w world3) {
				t := w.t
				from := regions[(slices.Index(regions, away)+1)%len(regions)]
				watched := federationtest.Follow(t, w.stores[from], visit)
				w.deleteWithout(t, away, from)
				seen := watched.Last().Revision
				synctest.Wait()
				for _, region := range regions {
					if region == away {
						continue
					}
					w.unknown(t, region)
					entry, err := w.backend(region).Get(t.Context(), visitPath)
					require.NoError(t, err, "the one that is away has to be told")
					require.NotContains(t, string(entry.Value), "badge", "and nothing personal is left meanwhile")
				}
				require.Equal(t, seen, watched.Last().Revision, "a deletion is not shown")
				w.heal(t, away)
				w.gone(t)
				for _, region := range regions {
					w.unknown(t, region)
				}
				require.Empty(t, watched.Faults())
			})
		})
	}
}

func TestADeletionIsCarriedThroughByProcessesOfLater(t *testing.T) {
	inBubble(t, func(w world3) {
		t := w.t
		w.deleteWithout(t, "asia", "us")
		synctest.Wait()
		for _, region := range regions {
			w.stores[region].Close()
			w.stores[region] = open(t, w.Network, region)
		}
		w.Isolate("asia", regions, federationtest.Path{})
		require.Eventually(t, func() bool {
			for _, region := range regions {
				_, err := w.stores[region].List(t.Context(), "") // as whoever sweeps does
				require.NoError(t, err)
			}
			_, err := w.backend("asia").Get(t.Context(), visitPath)
			return err != nil
		}, time.Minute, time.Second)
		w.gone(t)
	})
}

func TestAnIDIsGoodAgainWhileADeletionWaits(t *testing.T) {
	inBubble(t, func(w world3) {
		t := w.t
		w.deleteWithout(t, "eu", "us")
		fresh := ensure(t, w.stores["asia"], "us", "asia")
		require.Empty(t, fresh.Participants)
		require.Zero(t, fresh.Ended)
		require.NoError(t, join(w.stores["us"], "next"))
		now, err := w.stores["asia"].Get(t.Context(), visit)
		require.NoError(t, err)
		require.Equal(t, []string{"next"}, now.AdmittedIDs())

		w.heal(t, "eu")
		require.Eventually(t, func() bool {
			_, err := w.backend("eu").Get(t.Context(), visitPath)
			return err != nil
		}, time.Minute, 10*time.Millisecond, "policy has no copy there any more")
		for _, region := range regions {
			now, err := w.stores[region].Get(t.Context(), visit)
			require.NoError(t, err)
			require.Equal(t, []string{"next"}, now.AdmittedIDs(), region)
		}
	})
}

func TestADeletionEndsNoVisitThatGoesOnElsewhere(t *testing.T) {
	inBubble(t, func(w world3) {
		t := w.t
		ensure(t, w.stores["eu"])
		for _, participant := range []string{"left", "removed"} {
			require.NoError(t, join(w.stores["eu"], participant))
		}
		synctest.Wait()
		w.Isolate("asia", regions, federationtest.Path{Cut: true})
		require.NoError(t, join(w.stores["asia"], "goes on"))
		require.NoError(t, change(w.stores["eu"], func(e *encounter.Encounter) error {
			e.Leave("left", "left-session")
			err := e.Remove("removed")
			e.Vacate(time.Now())
			return err
		}))
		w.delete(t, "eu")
		w.heal(t, "asia")
		record := w.level(t)
		require.False(t, record.HasEnded())
		require.Zero(t, record.Vacated)
		require.Contains(t, record.AdmittedIDs(), "goes on")
		require.NotContains(t, record.AdmittedIDs(), "removed")
	})
}

func TestHalfARecordIsNotDeleted(t *testing.T) {
	inBubble(t, func(w world3) {
		t := w.t
		ensure(t, w.stores["eu"])
		require.NoError(t, join(w.stores["eu"], "left"))
		synctest.Wait()
		w.Isolate("eu", regions, federationtest.Path{Cut: true})
		require.NoError(t, join(w.stores["eu"], "goes on"))
		require.NoError(t, change(w.stores["us"], func(e *encounter.Encounter) error {
			e.Leave("left", "left-session")
			e.Vacate(time.Now())
			return nil
		}))
		seen, err := w.stores["us"].Get(t.Context(), visit)
		require.NoError(t, err)
		w.heal(t, "eu")
		require.ErrorIs(t, w.stores["us"].Delete(t.Context(), seen), encounter.ErrConflict, "the halves have not been merged yet")
		record := w.level(t)
		require.Contains(t, record.AdmittedIDs(), "goes on")
	})
}

func TestARegionFederatedNoMoreIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := federationtest.Memory()
		network := federationtest.NewNetwork(backend)
		var left atomic.Bool
		store := federation.New(federation.Config{
			Own: "eu", KV: func(to string) encounter.KV { return network.KV("eu", to) },
			Order: func() []string {
				if left.Load() {
					return regions[:2]
				}
				return regions
			},
		})
		t.Cleanup(store.Close)
		ensure(t, store)
		synctest.Wait()
		network.Isolate("asia", regions, federationtest.Path{Cut: true, Refuse: true})
		left.Store(true)
		e, err := store.Get(t.Context(), visit)
		require.NoError(t, err)
		require.NoError(t, store.Delete(t.Context(), e))
		for _, region := range regions[:2] {
			_, err := backend(region).Get(t.Context(), visitPath)
			require.Error(t, err, region)
		}
	})
}
