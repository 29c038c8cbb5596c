package encounter_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/encounter/encountertest"
)

func TestStoreWithAQuotaConforms(t *testing.T) {
	encountertest.Run(t, func(*testing.T) encounter.Store {
		return encounter.Quota(encounter.NewKVStore(discovery.NewMemory()), 1000, time.Hour)
	})
}

func TestATenantHasNoMoreEncountersThanItMay(t *testing.T) {
	kv := encounter.NewKVStore(discovery.NewMemory())
	one, other := encounter.Quota(kv, 3, 72*time.Hour), encounter.Quota(kv, 3, 72*time.Hour)
	fresh := func(tenant string, i int) encounter.Encounter {
		return encounter.Encounter{Key: encounter.Key{Tenant: tenant, ID: fmt.Sprintf("visit-%d", i)}}
	}
	for i := range 3 {
		_, err := one.CompareAndSet(t.Context(), fresh("clinic", i))
		require.NoError(t, err)
	}
	_, err := one.CompareAndSet(t.Context(), fresh("clinic", 3))
	require.ErrorIs(t, err, encounter.ErrQuota)
	require.EqualError(t, err, "the tenant has 3 encounters, at most 3; one counts until 72 h after it is over")
	_, err = one.CompareAndSet(t.Context(), fresh("hospital", 0))
	require.NoError(t, err, "each tenant has its own")
	e, err := encounter.Ensure(t.Context(), one, fresh("clinic", 0))
	require.NoError(t, err, "what is there goes on")
	e.Locked = true
	_, err = one.CompareAndSet(t.Context(), e)
	require.NoError(t, err)

	sweep := func() {
		for _, store := range []encounter.Store{one, other} {
			_, err := store.List(t.Context(), "")
			require.NoError(t, err)
		}
	}
	sweep()
	_, err = other.CompareAndSet(t.Context(), fresh("clinic", 3))
	require.ErrorIs(t, err, encounter.ErrQuota, "whoever sweeps knows what others created")
	e, err = other.Get(t.Context(), fresh("clinic", 1).Key)
	require.NoError(t, err)
	require.NoError(t, other.Delete(t.Context(), e))
	sweep()
	_, err = one.CompareAndSet(t.Context(), fresh("clinic", 3))
	require.NoError(t, err, "what is gone counts no more")
}

// keptElsewhere lists nothing: its records are kept in other regions.
type keptElsewhere struct{ encounter.Store }

func (keptElsewhere) List(context.Context, string) ([]encounter.Encounter, error) { return nil, nil }

func TestWhatOtherRegionsKeepCountsToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := encounter.Quota(keptElsewhere{encounter.NewKVStore(discovery.NewMemory())}, 1, time.Hour)
		create := func(id string) error {
			_, err := store.List(t.Context(), "")
			require.NoError(t, err)
			_, err = store.CompareAndSet(t.Context(), encounter.Encounter{Key: encounter.Key{Tenant: "clinic", ID: id}})
			return err
		}
		require.NoError(t, create("one"))
		require.ErrorIs(t, create("two"), encounter.ErrQuota)
		time.Sleep(time.Hour)
		require.NoError(t, create("two"))
	})
}
