package secrets_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/secrets/secretstest"
	"github.com/wardline/wardline/core/secrets/vaulttest"
	vaultpolicies "github.com/wardline/wardline/vault-policies"
)

const patience = 30 * time.Second

// region is a real Vault, set up as vault-policies says.
type region struct {
	*vaulttest.Server
	nomad *vaulttest.Nomad
	root  vaultpolicies.Root
}

var shared struct {
	once sync.Once
	// inUse is held by the test that runs on it.
	inUse sync.Mutex
	region
	dir string
}

func init() { //nolint:gochecknoinits // the internal tests' TestMain cannot know of this package
	secrets.AtExit = func() {
		if shared.Server != nil {
			shared.Close()
		}
		_ = os.RemoveAll(shared.dir)
	}
}

// theRegion is the one Vault of these tests, running and unsealed; whoever harms it heals it. They have it one after the
// other, beside those that have one of their own.
func theRegion(t *testing.T) region {
	t.Helper()
	t.Parallel()
	return quietRegion(t)
}

// quietRegion is theRegion for tests that measure times, allow little or set the environment: no other runs beside them.
func quietRegion(t *testing.T) region {
	t.Helper()
	vaulttest.Binary(t) // skips every test, not only the first
	shared.inUse.Lock()
	t.Cleanup(shared.inUse.Unlock)
	shared.once.Do(func() {
		var err error
		shared.dir, err = os.MkdirTemp("", "wardline-vault-") //nolint:usetesting // outlives the first test
		require.NoError(t, err)
		shared.Server = vaulttest.Start(t, shared.dir)
		shared.region = newRegion(t, shared.Server)
	})
	require.NotNil(t, shared.root.Certificate, "Vault was not set up, see the first test that failed")
	return shared.region
}

// ownRegion is a Vault for one test, beside the others: for those that take long.
func ownRegion(t *testing.T) region {
	t.Helper()
	vaulttest.Binary(t)
	t.Parallel()
	server := vaulttest.Start(t, t.TempDir())
	t.Cleanup(server.Close)
	return newRegion(t, server)
}

// newRegion sets a Vault up.
func newRegion(t *testing.T, server *vaulttest.Server) region {
	t.Helper()
	root, err := vaultpolicies.NewRoot(time.Now())
	require.NoError(t, err)
	r := region{server, vaulttest.NewNomad(t, "east"), root}
	r.setUp(t)
	r.newIntermediate(t)
	return r
}

func (r region) setUp(t *testing.T) {
	t.Helper()
	rotator, err := secrets.OpenVault(t.Context(), secrets.VaultConfig{
		Address: r.Address, CAFile: r.CAFile, Token: r.Root.Token(), Timeout: patience,
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, rotator.Close()) }()
	applier := &vaultpolicies.Applier{Client: r.Root, Rotator: rotator}
	_, err = applier.Apply(t.Context(), vaultpolicies.Settings{
		Region: r.nomad.Region, JWTKeys: []string{r.nomad.PublicKey(t)}, CertificateTTL: time.Hour,
	})
	require.NoError(t, err)
}

func (r region) newIntermediate(t *testing.T) {
	t.Helper()
	request, err := vaultpolicies.RequestIntermediate(t.Context(), r.Root, r.nomad.Region)
	require.NoError(t, err)
	chain, err := r.root.Sign(request, time.Now())
	require.NoError(t, err)
	require.NoError(t, vaultpolicies.InstallIntermediate(t.Context(), r.Root, chain))
}

// everybody is the policies of all components together: what a Keeper as a whole needs, and nothing more.
func everybody() []string {
	var names []string
	for _, component := range vaultpolicies.Components() {
		names = append(names, component.PolicyName())
	}
	return names
}

func (r region) config() secrets.VaultConfig {
	return secrets.VaultConfig{Address: r.Address, CAFile: r.CAFile, Timeout: 5 * time.Second, Log: zerolog.Nop()}
}

// withToken is a config for a token of some policies.
func (r region) withToken(t *testing.T, policies ...string) secrets.VaultConfig {
	t.Helper()
	config := r.config()
	config.Token = r.TokenOf(t, policies...)
	return config
}

// withIdentity is a config for a job that logs in.
func (r region) withIdentity(t *testing.T, job string, otherwise map[string]any) secrets.VaultConfig {
	t.Helper()
	config := r.config()
	config.Role, config.JWTFile = job, filepath.Join(t.TempDir(), "nomad_vault.jwt")
	require.NoError(t, os.WriteFile(config.JWTFile, []byte(r.nomad.Identity(t, job, otherwise)), 0o600))
	return config
}

func openKeeper(t *testing.T, config secrets.VaultConfig) *secrets.Vault {
	t.Helper()
	keeper, err := secrets.OpenVault(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, keeper.Close()) })
	return keeper
}

func TestVaultKeeper(t *testing.T) {
	r := theRegion(t)
	config := r.withToken(t, everybody()...)
	secretstest.Run(t, func(t *testing.T) secrets.Keeper {
		t.Helper()
		// The suite rotates more often than anybody may who waits with new versions.
		return fastKeeper(t, config, 0)
	})
}
