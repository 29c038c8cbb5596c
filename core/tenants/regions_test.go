package tenants_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/tenants"
)

func TestRegionsAreRemembered(t *testing.T) {
	memory := discovery.NewMemory()
	kv := tenants.NewKV(memory)
	regions, err := kv.Regions(t.Context())
	require.NoError(t, err)
	require.Empty(t, regions)
	for _, listed := range [][]string{{"west", "east"}, {"east"}, {"north", "east"}} {
		require.NoError(t, kv.Remember(t.Context(), listed))
	}
	regions, err = kv.Regions(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"east", "north", "west"}, regions)
	names, err := kv.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, names, "it is no tenant")

	const key = "wardline/tenants/.regions"
	for _, damaged := range []string{"{", `["two words"]`} {
		entry, err := memory.Get(t.Context(), key)
		require.NoError(t, err)
		_, err = memory.CompareAndSet(t.Context(), key, []byte(damaged), entry.Index)
		require.NoError(t, err)
		_, err = kv.Regions(t.Context())
		require.ErrorContains(t, err, key)
		require.ErrorContains(t, kv.Remember(t.Context(), []string{"east"}), key)
	}
}
