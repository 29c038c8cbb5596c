// Package secretstest is the conformance suite of secrets.Keeper: what every implementation, local or remote,
// has to do alike. It asks nothing of where the secrets are kept and works on a keeper that has been used before.
package secretstest

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/secrets"
)

// Run holds the keepers that open returns against the contract. open is called once a subtest.
func Run(t *testing.T, open func(t *testing.T) secrets.Keeper) {
	t.Helper()
	for _, group := range []struct {
		name  string
		cases map[string]func(trial)
	}{
		{"token keys", tokenKeyCases},
		{"shared secrets", sharedCases},
		{"certificates", certificateCases},
		{"data keys", dataKeyCases},
	} {
		t.Run(group.name, func(t *testing.T) {
			for name, behaviour := range group.cases {
				t.Run(name, func(t *testing.T) { behaviour(trial{t, open(t)}) })
			}
		})
	}
	t.Run("a canceled context ends every operation", func(t *testing.T) { canceled(trial{t, open(t)}) })
}

// trial is one subtest with the keeper it tries.
type trial struct {
	*testing.T
	keeper secrets.Keeper
}

// fresh returns a name that no earlier run has used, in a keeper that may outlive this one.
func fresh(prefix string) string { return prefix + "-" + strings.ToLower(rand.Text()[:12]) }

func canceled(t trial) {
	t.Helper()
	tenant := fresh("tenant")
	require.NoError(t, t.keeper.CreateTenant(t.Context(), tenant))
	key, err := t.keeper.NewDataKey(t.Context(), tenant)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	_, err = t.keeper.Sign(ctx, func(string) ([]byte, error) { return []byte("message"), nil })
	require.ErrorIs(t, err, context.Canceled)
	_, err = t.keeper.PublicKeys(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, t.keeper.RotateTokenKey(ctx), context.Canceled)
	_, err = t.keeper.Shared(ctx, secrets.TURNSecret)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, t.keeper.RotateShared(ctx, secrets.TURNSecret), context.Canceled)
	_, err = t.keeper.Certificates(ctx, secrets.SFURole)
	require.ErrorIs(t, err, context.Canceled)
	_, err = t.keeper.NewDataKey(ctx, tenant)
	require.ErrorIs(t, err, context.Canceled)
	_, err = t.keeper.Unwrap(ctx, tenant, key.Wrapped)
	require.ErrorIs(t, err, context.Canceled)
	_, err = t.keeper.Rewrap(ctx, tenant, key.Wrapped)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, t.keeper.CreateTenant(ctx, tenant), context.Canceled)
	require.ErrorIs(t, t.keeper.RotateTenant(ctx, tenant), context.Canceled)
}
