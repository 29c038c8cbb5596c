package secretstest

import (
	"bytes"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/secrets"
)

func newTenant(t trial) string {
	t.Helper()
	tenant := fresh("tenant")
	require.NoError(t, t.keeper.CreateTenant(t.Context(), tenant))
	return tenant
}

func newDataKey(t trial, tenant string) secrets.DataKey {
	t.Helper()
	key, err := t.keeper.NewDataKey(t.Context(), tenant)
	require.NoError(t, err)
	return key
}

func requireOpens(t trial, tenant string, key secrets.DataKey) {
	t.Helper()
	plain, err := t.keeper.Unwrap(t.Context(), tenant, key.Wrapped)
	require.NoError(t, err)
	require.Equal(t, key.Plain, plain)
}

var dataKeyCases = map[string]func(trial){
	"a wrapped key opens to the plain one": func(t trial) {
		tenant := newTenant(t)
		key := newDataKey(t, tenant)
		require.Len(t, key.Plain, 32)
		require.False(t, bytes.Contains(key.Wrapped, key.Plain), "the wrapped key shows the plain one")
		requireOpens(t, tenant, key)
	},
	"every data key is new": func(t trial) {
		tenant := newTenant(t)
		first, second := newDataKey(t, tenant), newDataKey(t, tenant)
		require.NotEqual(t, first.Plain, second.Plain)
		require.NotEqual(t, first.Wrapped, second.Wrapped)
	},
	"a tenant without a key is not found": func(t trial) {
		wrapped := newDataKey(t, newTenant(t)).Wrapped
		stranger := fresh("stranger")
		_, err := t.keeper.NewDataKey(t.Context(), stranger)
		require.ErrorIs(t, err, secrets.ErrNotFound)
		_, err = t.keeper.Unwrap(t.Context(), stranger, wrapped)
		require.ErrorIs(t, err, secrets.ErrNotFound)
		_, err = t.keeper.Rewrap(t.Context(), stranger, wrapped)
		require.ErrorIs(t, err, secrets.ErrNotFound)
		require.ErrorIs(t, t.keeper.RotateTenant(t.Context(), stranger), secrets.ErrNotFound)
		_, err = t.keeper.NewDataKey(t.Context(), stranger)
		require.ErrorIs(t, err, secrets.ErrNotFound, "asking must not make one")
	},
	"another tenant's key does not open": func(t trial) {
		mine, other := newTenant(t), newTenant(t)
		wrapped := newDataKey(t, mine).Wrapped
		_, err := t.keeper.Unwrap(t.Context(), other, wrapped)
		require.ErrorIs(t, err, secrets.ErrTampered)
		_, err = t.keeper.Rewrap(t.Context(), other, wrapped)
		require.ErrorIs(t, err, secrets.ErrTampered)
	},
	"a changed key does not open": func(t trial) {
		tenant := newTenant(t)
		wrapped := newDataKey(t, tenant).Wrapped
		damaged := map[string][]byte{
			"empty": nil, "garbage": []byte("garbage"), "cut": wrapped[:len(wrapped)/2], "longer": append(bytes.Clone(wrapped), 'A'),
		}
		for _, position := range []int{0, len(wrapped) / 4, len(wrapped) / 2, len(wrapped) * 3 / 4} {
			flipped := bytes.Clone(wrapped)
			flipped[position] ^= 1
			damaged["flipped bit "+string(rune('a'+position%26))] = flipped
		}
		for name, candidate := range damaged {
			_, err := t.keeper.Unwrap(t.Context(), tenant, candidate)
			require.ErrorIs(t, err, secrets.ErrTampered, name)
			_, err = t.keeper.Rewrap(t.Context(), tenant, candidate)
			require.ErrorIs(t, err, secrets.ErrTampered, name)
		}
	},
	"older wrapped keys open after a rotation": func(t trial) {
		tenant := newTenant(t)
		old := newDataKey(t, tenant)
		require.NoError(t, t.keeper.RotateTenant(t.Context(), tenant))
		requireOpens(t, tenant, old)
		requireOpens(t, tenant, newDataKey(t, tenant))
	},
	"rewrapping renews the wrapping and keeps the key": func(t trial) {
		tenant := newTenant(t)
		key := newDataKey(t, tenant)
		require.NoError(t, t.keeper.RotateTenant(t.Context(), tenant))
		rewrapped, err := t.keeper.Rewrap(t.Context(), tenant, key.Wrapped)
		require.NoError(t, err)
		require.NotEqual(t, key.Wrapped, rewrapped)
		for name, wrapped := range map[string][]byte{"rewrapped": rewrapped, "new": newDataKey(t, tenant).Wrapped} {
			require.Contains(t, string(wrapped), ":v2:", "%s: not under the newest version of the tenant's key", name)
		}
		requireOpens(t, tenant, secrets.DataKey{Plain: key.Plain, Wrapped: rewrapped})
	},
	"making a tenant again changes nothing": func(t trial) {
		tenant := newTenant(t)
		key := newDataKey(t, tenant)
		require.NoError(t, t.keeper.CreateTenant(t.Context(), tenant))
		requireOpens(t, tenant, key)
	},
	"a tenant that is no id is refused": func(t trial) {
		for _, tenant := range []string{"", "..", "../other", "a/b", "a b"} {
			require.Error(t, t.keeper.CreateTenant(t.Context(), tenant), "%q", tenant)
			require.Error(t, t.keeper.RotateTenant(t.Context(), tenant), "%q", tenant)
			_, err := t.keeper.NewDataKey(t.Context(), tenant)
			require.Error(t, err, "%q", tenant)
		}
	},
}
