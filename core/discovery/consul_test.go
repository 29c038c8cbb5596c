package discovery_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/discovery/discoverytest"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/encounter/encountertest"
)

func TestConsulConforms(t *testing.T) {
	t.Parallel()
	config := discovery.StartConsulForTest(t)
	open := func(t *testing.T) *discovery.Consul {
		t.Helper()
		c, err := discovery.NewConsul(config)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, c.Close()) })
		return c
	}
	t.Run("discovery", func(t *testing.T) {
		discoverytest.Run(t, func(t *testing.T) discovery.Discovery { t.Helper(); return open(t) })
	})
	t.Run("encounters", func(t *testing.T) {
		encountertest.Run(t, func(t *testing.T) encounter.Store { t.Helper(); return encounter.NewKVStore(open(t)) })
	})
}
