package secrets_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/secrets/vaulttest"
)

const tick = 10 * time.Millisecond

func lookup(t *testing.T, r region, token string) (map[string]any, error) {
	t.Helper()
	secret, err := r.Client(t, token).Auth().Token().LookupSelfWithContext(t.Context())
	if err != nil {
		return nil, err
	}
	return secret.Data, nil
}

func TestWorkloadLogsInWithItsIdentity(t *testing.T) {
	r := theRegion(t)
	keeper, err := secrets.OpenVault(t.Context(), r.withIdentity(t, "gateway", nil))
	require.NoError(t, err)
	token := keeper.Token()
	described, err := lookup(t, r, token)
	require.NoError(t, err)
	require.Equal(t, []any{"wardline-gateway"}, described["policies"], "not even the default policy")
	require.NoError(t, keeper.Ready(t.Context()))
	_, err = keeper.PublicKeys(t.Context())
	require.NoError(t, err)
	require.ErrorIs(t, keeper.RotateTokenKey(t.Context()), secrets.ErrDenied)

	require.NoError(t, keeper.Close())
	_, err = lookup(t, r, token)
	require.ErrorContains(t, err, "403", "the login ends with the keeper")
}

func TestIdentitiesThatAreRefused(t *testing.T) {
	r := theRegion(t)
	now := time.Now()
	stranger := vaulttest.NewNomad(t, "east")
	neighbor := vaulttest.NewNomad(t, "west")
	for name, test := range map[string]struct {
		identity string
		says     string
	}{
		"another job":       {r.nomad.Identity(t, "sfu", nil), "claims"},
		"another namespace": {r.nomad.Identity(t, "gateway", map[string]any{"nomad_namespace": "other"}), "claims"},
		"a region of the same key": {
			r.nomad.Identity(t, "gateway", map[string]any{"sub": "west:default:gateway:gateway:gateway:vault"}), "claims",
		},
		"a job with a colon in its name": {
			r.nomad.Identity(t, "gateway", map[string]any{"nomad_job_id": "gateway:gateway:gateway:x"}), "claims",
		},
		"another audience":     {r.nomad.Identity(t, "gateway", map[string]any{"aud": []string{"consul.io"}}), "audience"},
		"another Nomad":        {stranger.Identity(t, "gateway", nil), "signature"},
		"another region's":     {neighbor.Identity(t, "gateway", nil), "signature"},
		"no token":             {"nothing", "login"},
		"expired":              {r.nomad.Identity(t, "gateway", map[string]any{"exp": now.Add(-time.Hour).Unix()}), "ends at"},
		"not yet valid":        {r.nomad.Identity(t, "gateway", map[string]any{"nbf": now.Add(time.Hour).Unix()}), "begins at"},
		"issued in the future": {r.nomad.Identity(t, "gateway", map[string]any{"iat": now.Add(time.Hour).Unix()}), "was issued at"},
		"of a Nomad whose clock is 5 min ahead": {
			r.nomad.Identity(t, "gateway", shifted(now, 5*time.Minute)), "clock agrees with Vault's: check that of the Nomad servers",
		},
		"expired, clocks agree": {
			r.nomad.Identity(t, "gateway", map[string]any{"exp": now.Add(-time.Hour).Unix()}), "this machine's clock agrees with Vault's",
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := r.withIdentity(t, "gateway", nil)
			require.NoError(t, os.WriteFile(config.JWTFile, []byte(test.identity), 0o600))
			_, err := secrets.OpenVault(t.Context(), config)
			require.ErrorIs(t, err, secrets.ErrDenied)
			require.ErrorContains(t, err, "auth/jwt-nomad/login")
			require.ErrorContains(t, err, test.says)
			require.NotContains(t, err.Error(), test.identity)
		})
	}
}

// shifted are the times of an identity that a Nomad signs whose clock is off by so much.
func shifted(now time.Time, off time.Duration) map[string]any {
	there := now.Add(off)
	return map[string]any{"iat": there.Unix(), "nbf": there.Unix(), "exp": there.Add(time.Hour).Unix()}
}

func TestIdentityOfANomadWhoseClockIsBehindIsGood(t *testing.T) {
	r := theRegion(t)
	keeper := openKeeper(t, r.withIdentity(t, "gateway", shifted(time.Now(), -5*time.Minute)))
	require.NoError(t, signOnce(t, keeper))
}

// brief lets a role's tokens live for so short that they are renewed, and end, while a test watches.
func (r region) brief(t *testing.T, role string, ttl, longest int) {
	t.Helper()
	path := "auth/jwt-nomad/role/" + role
	current, err := r.Root.Logical().Read(path)
	require.NoError(t, err)
	change := func(ttl, longest any) {
		t.Helper()
		body := current.Data
		body["token_ttl"], body["token_max_ttl"] = ttl, longest
		_, err := r.Root.Logical().Write(path, body)
		require.NoError(t, err)
	}
	before, beforeLongest := current.Data["token_ttl"], current.Data["token_max_ttl"]
	change(ttl, longest)
	t.Cleanup(func() { change(before, beforeLongest) })
}

func TestLoginOutlivesItsTokens(t *testing.T) {
	r := theRegion(t)
	r.brief(t, "turn", 1, 2)
	keeper := fastKeeper(t, r.withIdentity(t, "turn", nil), time.Minute)
	first := keeper.Token()
	require.Eventually(t, func() bool {
		_, err := keeper.Shared(t.Context(), secrets.TURNSecret)
		require.NoError(t, err)
		return keeper.Logins() >= 3
	}, patience, tick, "tokens that cannot be renewed are replaced")
	_, err := lookup(t, r, first)
	require.Error(t, err, "the first token has ended")
	_, err = keeper.Certificates(t.Context(), secrets.TURNRole)
	require.NoError(t, err)
}

func TestRevokedTokenIsReplaced(t *testing.T) {
	r := quietRegion(t)
	keeper := fastKeeper(t, r.withIdentity(t, "gateway", nil), time.Minute)
	require.NoError(t, r.Root.Auth().Token().RevokeTree(keeper.Token()))
	require.NoError(t, signOnce(t, keeper), "the request that finds out succeeds, too")
	require.Equal(t, 2, keeper.Logins())
}

func TestRefusalByPolicyIsNoStormOfLogins(t *testing.T) {
	r := theRegion(t)
	keeper := openKeeper(t, r.withIdentity(t, "sfu", nil))
	for range 5 {
		_, err := keeper.Shared(t.Context(), secrets.RosterSecret)
		require.ErrorIs(t, err, secrets.ErrDenied)
		require.ErrorContains(t, err, "wardline/kv/data/shared/roster")
	}
	require.Equal(t, 1, keeper.Logins())
	require.ErrorIs(t, keeper.Ready(t.Context()), secrets.ErrDenied)
}

func TestReplacedIdentityIsUsedAtOnce(t *testing.T) {
	r := theRegion(t)
	config := r.withIdentity(t, "gateway", nil)
	require.NoError(t, os.Remove(config.JWTFile))
	opened := make(chan error, 1)
	go func() {
		keeper, err := secrets.OpenFastVault(t.Context(), config, 0, time.Hour)
		if err == nil {
			err = keeper.Close()
		}
		opened <- err
	}()
	require.NoError(t, os.WriteFile(config.JWTFile, []byte(r.nomad.Identity(t, "gateway", nil)), 0o600))
	select {
	case err := <-opened:
		require.NoError(t, err)
	case <-time.After(patience):
		t.Fatal("never logged in")
	}
}

func TestOpeningWaitsForASealedVault(t *testing.T) {
	r := theRegion(t)
	config := r.withIdentity(t, "gateway", nil)
	r.Seal(t)
	opened := make(chan error, 1)
	go func() {
		keeper, err := secrets.OpenVault(t.Context(), config)
		if err == nil {
			err = errors.Join(signOnce(t, keeper), keeper.Close())
		}
		opened <- err
	}()
	r.Unseal(t)
	select {
	case err := <-opened:
		require.NoError(t, err)
	case <-time.After(patience):
		t.Fatal("never logged in")
	}
}

func TestOpeningGivesUpWithItsContext(t *testing.T) {
	r := theRegion(t)
	proxy := r.Proxy(t)
	proxy.Cut()
	config := r.withIdentity(t, "gateway", nil)
	config.Address = proxy.Address
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := secrets.OpenVault(ctx, config)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, secrets.ErrUnavailable)
}

func TestConfigsThatAreRefused(t *testing.T) {
	good := secrets.VaultConfig{Address: "https://vault.example:8200", Token: "token"}
	for says, change := range map[string]func(*secrets.VaultConfig){
		"https://":             func(c *secrets.VaultConfig) { c.Address = "http://vault.example" },
		"either":               func(c *secrets.VaultConfig) { c.JWTFile = "file" },
		"workload identity":    func(c *secrets.VaultConfig) { c.Token = "" },
		"vault role":           func(c *secrets.VaultConfig) { c.Token, c.JWTFile, c.Role = "", "file", "a/b" },
		"negative":             func(c *secrets.VaultConfig) { c.Timeout = -1 },
		"no such file":         func(c *secrets.VaultConfig) { c.CAFile = "/nowhere/ca.pem" },
		"holds no PEM":         func(c *secrets.VaultConfig) { c.CAFile = "vault_login_test.go" },
		"must be https://HOST": func(c *secrets.VaultConfig) { c.Address = "https://user:password@vault.example" },
	} {
		config := good
		change(&config)
		_, err := secrets.OpenVault(t.Context(), config)
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "password")
	}
}

func TestEnvironmentDoesNotReachTheKeeper(t *testing.T) {
	t.Setenv("VAULT_TOKEN", "hvs.of-somebody-else")
	t.Setenv("VAULT_NAMESPACE", "elsewhere")
	t.Setenv("VAULT_SKIP_VERIFY", "true")
	r := quietRegion(t)
	config := r.withIdentity(t, "gateway", nil)
	keeper := openKeeper(t, config)
	require.NoError(t, signOnce(t, keeper))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	config.CAFile, config.Waiting = "", func(error) { cancel() }
	_, err := secrets.OpenVault(ctx, config)
	require.ErrorContains(t, err, "certificate", "an unknown authority stays unknown")
}
