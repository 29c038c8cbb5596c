package tenants_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/tenants"
	"github.com/wardline/wardline/core/tenants/tenantstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestKV(t *testing.T) {
	memory := discovery.NewMemory()
	tenantstest.Run(t, func(*testing.T) tenantstest.Registry { return tenants.NewKV(memory) })
}

// away is a store that does not answer while it is away.
type away struct {
	tenants.Store
	mu    sync.Mutex
	away  bool
	lists int
}

var errAway = errors.New("nobody answers")

func (a *away) set(away bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.away = away
}

func (a *away) answers() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.away {
		return errors.Join(discovery.ErrUnavailable, errAway)
	}
	return nil
}

func (a *away) Get(ctx context.Context, key string) (discovery.Entry, error) {
	if err := a.answers(); err != nil {
		return discovery.Entry{}, err
	}
	return a.Store.Get(ctx, key)
}

func (a *away) List(ctx context.Context, prefix string) ([]discovery.Entry, error) {
	if err := a.answers(); err != nil {
		return nil, err
	}
	a.mu.Lock()
	a.lists++
	a.mu.Unlock()
	return a.Store.List(ctx, prefix)
}

func TestLastGoodKeysStayWhileTheStoreIsAway(t *testing.T) {
	memory := discovery.NewMemory()
	store := &away{Store: memory}
	operator, gateway := tenants.NewKV(memory), tenants.NewKV(store)
	require.NoError(t, operator.Register(t.Context(), "met", []secrets.PublicKey{key("one")}))
	_, err := gateway.TenantKeys(t.Context(), "met")
	require.NoError(t, err)

	store.set(true)
	require.NoError(t, operator.Register(t.Context(), "met", []secrets.PublicKey{key("two")}))
	found, err := gateway.TenantKeys(t.Context(), "met")
	require.NoError(t, err)
	require.Equal(t, []secrets.PublicKey{key("one")}, found)
	_, err = gateway.TenantKeys(t.Context(), "stranger")
	require.ErrorIs(t, err, discovery.ErrUnavailable)
	require.NotErrorIs(t, err, secrets.ErrNotFound, "not known is not the same as not there")

	store.set(false)
	found, err = gateway.TenantKeys(t.Context(), "met")
	require.NoError(t, err)
	require.Equal(t, []secrets.PublicKey{key("two")}, found)
	require.NoError(t, operator.Remove(t.Context(), "met"))
	_, err = gateway.TenantKeys(t.Context(), "met")
	require.ErrorIs(t, err, secrets.ErrNotFound)
	store.set(true)
	_, err = gateway.TenantKeys(t.Context(), "met")
	require.ErrorIs(t, err, discovery.ErrUnavailable, "a removed tenant does not come back")
}

func TestFollowKnowsTenantsThatNobodyMet(t *testing.T) {
	store := &away{Store: discovery.NewMemory()}
	gateway := tenants.NewKV(store)
	require.NoError(t, tenants.NewKV(store).Register(t.Context(), "unmet", []secrets.PublicKey{key("one")}))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); gateway.Follow(ctx) }()
	require.Eventually(t, func() bool {
		store.mu.Lock()
		defer store.mu.Unlock()
		return store.lists > 0
	}, 10*time.Second, time.Millisecond)
	store.set(true)
	require.Eventually(t, func() bool { // the list has been counted a moment before it is taken in
		found, err := gateway.TenantKeys(t.Context(), "unmet")
		return err == nil && len(found) == 1
	}, 10*time.Second, time.Millisecond)
	cancel()
	<-done
}

func TestDamagedValueLeavesTheLastGoodKeys(t *testing.T) {
	memory := discovery.NewMemory()
	gateway := tenants.NewKV(memory)
	require.NoError(t, gateway.Register(t.Context(), "clinic", []secrets.PublicKey{key("one")}))
	_, err := gateway.TenantKeys(t.Context(), "clinic")
	require.NoError(t, err)
	entry, err := memory.Get(t.Context(), "wardline/tenants/clinic")
	require.NoError(t, err)
	_, err = memory.CompareAndSet(t.Context(), entry.Key, []byte("{"), entry.Index)
	require.NoError(t, err)

	found, err := gateway.TenantKeys(t.Context(), "clinic")
	require.NoError(t, err)
	require.Equal(t, []secrets.PublicKey{key("one")}, found)
	_, err = tenants.NewKV(memory).TenantKeys(t.Context(), "clinic")
	require.ErrorContains(t, err, "key set")
	require.NoError(t, gateway.Register(t.Context(), "clinic", []secrets.PublicKey{key("two")}), "registering mends it")
	found, err = gateway.TenantKeys(t.Context(), "clinic")
	require.NoError(t, err)
	require.Equal(t, []secrets.PublicKey{key("two")}, found)
}

func TestAStoreThatWasRestoredIsFollowed(t *testing.T) {
	memory, restored := discovery.NewMemory(), discovery.NewMemory()
	store := &away{Store: memory}
	gateway := tenants.NewKV(store)
	for _, tenant := range []string{"clinic", "other"} {
		require.NoError(t, tenants.NewKV(restored).Register(t.Context(), tenant, []secrets.PublicKey{key("one")}))
		for _, later := range []string{"one", "two", "three"} {
			require.NoError(t, tenants.NewKV(memory).Register(t.Context(), tenant, []secrets.PublicKey{key(later)}))
		}
		_, err := gateway.TenantKeys(t.Context(), tenant)
		require.NoError(t, err)
	}

	store.Store = restored // from a snapshot: indexes went back
	require.NoError(t, tenants.NewKV(restored).Register(t.Context(), "clinic", []secrets.PublicKey{key("four")}))
	found, err := gateway.TenantKeys(t.Context(), "clinic")
	require.NoError(t, err)
	require.Equal(t, []secrets.PublicKey{key("four")}, found)
	_, err = gateway.List(t.Context())
	require.NoError(t, err)
	store.set(true)
	found, err = gateway.TenantKeys(t.Context(), "other")
	require.NoError(t, err)
	require.Equal(t, []secrets.PublicKey{key("one")}, found)
}
