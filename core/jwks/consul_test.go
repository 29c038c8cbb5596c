package jwks

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/discovery/consultest"
	"github.com/wardline/wardline/core/secrets"
)

// TestFederatedConsul has two gateways find each other's keys through two real datacenters.
func TestFederatedConsul(t *testing.T) {
	here := consultest.Start(t)
	there := here.Federate(t)
	c := newContinent(t, here.Datacenter, there.Datacenter)
	unions := make(map[string]*Union)
	files := make(map[string]string)
	open := func(agent, other *consultest.Agent) {
		consul, err := discovery.NewConsul(discovery.ConsulConfig{
			Address: agent.Address, CAFile: agent.File("ca.pem"), Tokens: discovery.ConsulToken(agent.Token),
			AgentPort: other.Port, Log: zerolog.Nop(),
		})
		require.NoError(t, err)
		t.Cleanup(func() { _ = consul.Close() }) // the other agent may be gone
		region := agent.Datacenter
		files[region] = filepath.Join(t.TempDir(), "jwks.json")
		unions[region] = Open(Config{
			Region: region, Keeper: c.keepers[region], File: files[region], Log: zerolog.Nop(),
			Regions: consul.Regions, KV: func(region string) KV { return consul.KV(region) },
		})
	}
	open(here, there)
	open(there, here)
	token := c.mint(there.Datacenter)
	require.Eventually(t, func() bool { // the datacenters may still be getting to know each other
		unions[there.Datacenter].Sync(t.Context())
		unions[here.Datacenter].Sync(t.Context())
		return c.code(unions[here.Datacenter], token) == ""
	}, 30*time.Second, 100*time.Millisecond)
	require.NoError(t, c.keepers[there.Datacenter].RotateTokenKey(t.Context()))
	require.NoError(t, c.keepers[there.Datacenter].RotateTokenKey(t.Context()))
	unions[there.Datacenter].Sync(t.Context())
	unions[here.Datacenter].Sync(t.Context())
	require.Equal(t, access.CodeUnknownKey, c.code(unions[here.Datacenter], token))
	newest := c.mint(there.Datacenter)
	require.Empty(t, c.code(unions[here.Datacenter], newest))

	there.Kill()
	unions[here.Datacenter].Sync(t.Context())
	require.Empty(t, c.code(unions[here.Datacenter], newest), "a lost region's tokens stay good")
	held, _, err := readFile(files[here.Datacenter])
	require.NoError(t, err)
	want, err := c.keepers[there.Datacenter].PublicKeys(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string][]secrets.PublicKey{
		here.Datacenter: held[here.Datacenter], there.Datacenter: want,
	}, held)
}
