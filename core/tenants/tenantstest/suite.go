// Package tenantstest is the conformance suite of what keeps tenants' keys.
package tenantstest

import (
	"context"
	"crypto/ed25519"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/secrets"
)

// Registry is what an implementation does.
type Registry interface {
	access.TenantKeys
	Register(ctx context.Context, tenant string, keys []secrets.PublicKey) error
	Remove(ctx context.Context, tenant string) error
	List(ctx context.Context) ([]string, error)
}

// Run checks an implementation. open returns another view of the same tenants each time; names are fresh, since what
// is behind it may keep those of earlier runs.
func Run(t *testing.T, open func(t *testing.T) Registry) {
	t.Helper()
	for name, check := range map[string]func(t *testing.T, one, other Registry, tenant string){
		"a tenant without keys is not found":         missing,
		"registered keys are found by everybody":     registered,
		"registering replaces":                       replaced,
		"a removed tenant is not found":              removed,
		"names and keys that cannot be are refused":  refused,
		"of registrations at once one is there":      atOnce,
		"an asker who gave up is told so":            gaveUp,
		"tenants are listed by name":                 listed,
		"registering the same again changes nothing": again,
	} {
		t.Run(name, func(t *testing.T) {
			check(t, open(t), open(t), "t"+strconv.FormatUint(rand.Uint64(), 36))
		})
	}
}

func key(id string) secrets.PublicKey {
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, id)
	public, _ := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	return secrets.PublicKey{ID: id, Key: public}
}

func requireKeys(t *testing.T, r Registry, tenant string, want ...secrets.PublicKey) {
	t.Helper()
	found, err := r.TenantKeys(t.Context(), tenant)
	require.NoError(t, err)
	require.Equal(t, want, found)
}

func missing(t *testing.T, one, _ Registry, tenant string) {
	t.Helper()
	_, err := one.TenantKeys(t.Context(), tenant)
	require.ErrorIs(t, err, secrets.ErrNotFound)
	require.NoError(t, one.Remove(t.Context(), tenant))
}

func registered(t *testing.T, one, other Registry, tenant string) {
	t.Helper()
	_, err := other.TenantKeys(t.Context(), tenant)
	require.ErrorIs(t, err, secrets.ErrNotFound)
	require.NoError(t, one.Register(t.Context(), tenant, []secrets.PublicKey{key("one"), key("two")}))
	for range 2 {
		requireKeys(t, one, tenant, key("one"), key("two"))
		requireKeys(t, other, tenant, key("one"), key("two"))
	}
}

func replaced(t *testing.T, one, other Registry, tenant string) {
	t.Helper()
	for i := range 3 {
		changed := key("key-" + strconv.Itoa(i)) // values of one size
		require.NoError(t, one.Register(t.Context(), tenant, []secrets.PublicKey{changed}))
		requireKeys(t, other, tenant, changed)
		requireKeys(t, one, tenant, changed)
	}
}

func again(t *testing.T, one, other Registry, tenant string) {
	t.Helper()
	for _, r := range []Registry{one, other, one} {
		require.NoError(t, r.Register(t.Context(), tenant, []secrets.PublicKey{key("one")}))
		requireKeys(t, other, tenant, key("one"))
	}
}

func removed(t *testing.T, one, other Registry, tenant string) {
	t.Helper()
	require.NoError(t, one.Register(t.Context(), tenant, []secrets.PublicKey{key("one")}))
	requireKeys(t, other, tenant, key("one"))
	require.NoError(t, one.Remove(t.Context(), tenant))
	for _, r := range []Registry{one, other} {
		_, err := r.TenantKeys(t.Context(), tenant)
		require.ErrorIs(t, err, secrets.ErrNotFound)
		names, err := r.List(t.Context())
		require.NoError(t, err)
		require.NotContains(t, names, tenant)
	}
}

func refused(t *testing.T, one, _ Registry, tenant string) {
	t.Helper()
	for _, name := range []string{"", "..", "../clinic", "a/b"} {
		_, err := one.TenantKeys(t.Context(), name)
		require.ErrorContains(t, err, "must be", "%q", name)
		require.ErrorContains(t, one.Register(t.Context(), name, []secrets.PublicKey{key("one")}), "must be", "%q", name)
		require.ErrorContains(t, one.Remove(t.Context(), name), "must be", "%q", name)
	}
	require.NoError(t, one.Register(t.Context(), tenant, []secrets.PublicKey{key("one")}))
	require.ErrorContains(t, one.Register(t.Context(), tenant, nil), "no Ed25519 signature key")
	require.ErrorContains(t, one.Register(t.Context(), tenant, []secrets.PublicKey{{Key: key("one").Key}}), "kid")
	require.ErrorContains(t, one.Register(t.Context(), tenant, []secrets.PublicKey{key("one"), key("one")}), "twice")
	requireKeys(t, one, tenant, key("one"))
}

func atOnce(t *testing.T, one, other Registry, tenant string) {
	t.Helper()
	var group sync.WaitGroup
	results := make([]error, 4)
	for i := range results {
		group.Go(func() {
			results[i] = one.Register(t.Context(), tenant, []secrets.PublicKey{key("key-" + strconv.Itoa(i))})
		})
	}
	group.Wait()
	for _, err := range results {
		require.NoError(t, err)
	}
	found, err := other.TenantKeys(t.Context(), tenant)
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, key(found[0].ID), found[0])
}

func gaveUp(t *testing.T, one, _ Registry, tenant string) {
	t.Helper()
	require.NoError(t, one.Register(t.Context(), tenant, []secrets.PublicKey{key("one")}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := one.TenantKeys(ctx, tenant)
	require.ErrorIs(t, err, context.Canceled)
	_, err = one.List(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, one.Register(ctx, tenant, []secrets.PublicKey{key("two")}), context.Canceled)
	require.ErrorIs(t, one.Remove(ctx, tenant), context.Canceled)
	requireKeys(t, one, tenant, key("one"))
}

func listed(t *testing.T, one, other Registry, tenant string) {
	t.Helper()
	for _, suffix := range []string{"-b", "-a"} {
		require.NoError(t, one.Register(t.Context(), tenant+suffix, []secrets.PublicKey{key("one")}))
	}
	for _, r := range []Registry{one, other} {
		names, err := r.List(t.Context())
		require.NoError(t, err)
		require.Subset(t, names, []string{tenant + "-a", tenant + "-b"})
		require.IsIncreasing(t, names)
	}
}
