package tenants_test

import (
	"crypto/ed25519"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/tenants"
	"github.com/wardline/wardline/core/tenants/tenantstest"
)

func key(id string) secrets.PublicKey {
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, id)
	public, _ := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	return secrets.PublicKey{ID: id, Key: public}
}

func TestDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tenants")
	tenantstest.Run(t, func(*testing.T) tenantstest.Registry { return tenants.OpenDir(dir) })
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	require.NoError(t, err)
	require.Empty(t, left, "no temporary file stays")
}

func TestFilesThatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	known := tenants.OpenDir(dir)
	path := filepath.Join(dir, "clinic.jwks.json")
	require.NoError(t, os.WriteFile(path, []byte("{"), 0o600))
	_, err := known.TenantKeys(t.Context(), "clinic")
	require.ErrorContains(t, err, path)
	require.NoError(t, os.WriteFile(path, make([]byte, access.MaxJWKSBytes+100), 0o600))
	_, err = known.TenantKeys(t.Context(), "clinic")
	require.ErrorContains(t, err, "at most 65536")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	blocked := tenants.OpenDir(filepath.Join(dir, "file"))
	require.Error(t, blocked.Register(t.Context(), "clinic", []secrets.PublicKey{key("one")}))
	_, err = blocked.List(t.Context())
	require.Error(t, err)
}
