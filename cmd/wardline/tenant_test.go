package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/tenants"
)

// writeKeyPair writes a tenant's API key as a tenant would make it: openssl genpkey -algorithm ed25519.
func writeKeyPair(t *testing.T) (key ed25519.PrivateKey, private, public string) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	dir := t.TempDir()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	private = filepath.Join(dir, "private.pem")
	require.NoError(t, os.WriteFile(private, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	public = filepath.Join(dir, "public.pem")
	require.NoError(t, os.WriteFile(public, publicPEM(t, key.Public()), 0o600))
	return key, private, public
}

func publicPEM(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func TestPublicKeysOfTenants(t *testing.T) {
	key, private, public := writeKeyPair(t)
	half, ok := key.Public().(ed25519.PublicKey)
	require.True(t, ok)
	named := secrets.PublicKey{ID: "clinic-1", Key: half}
	document, err := access.JWKS([]secrets.PublicKey{named})
	require.NoError(t, err)
	jwks := filepath.Join(t.TempDir(), "jwks.json")
	require.NoError(t, os.WriteFile(jwks, document, 0o600))

	keys, err := readPublicKeys([]string{public, jwks})
	require.NoError(t, err)
	require.Equal(t, []secrets.PublicKey{{ID: secrets.Thumbprint(half), Key: half}, named}, keys)

	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "file")
	for says, content := range map[string][]byte{
		"neither a PEM block nor": []byte("hello"),
		"must be an Ed25519":      publicPEM(t, &other.PublicKey),
		"no Ed25519 signature":    []byte(`{"keys":[]}`),
	} {
		require.NoError(t, os.WriteFile(file, content, 0o600))
		_, err := readPublicKeys([]string{file})
		require.ErrorContains(t, err, says)
		require.ErrorContains(t, err, file)
	}
	_, err = readPublicKeys([]string{private})
	require.ErrorContains(t, err, "holds a private key")
	_, err = readPublicKeys([]string{filepath.Join(t.TempDir(), "missing")})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestTenantCommandsNeedToKnowWhere(t *testing.T) {
	_, private, public := writeKeyPair(t)
	for _, test := range []struct {
		says string
		args []string
	}{
		{"--consul: needed with --key", []string{"add", "clinic", "--key", public}},
		{"--key", []string{"add", "clinic", "--consul", "https://127.0.0.1:1", "--key", private}},
		{"--consul: needed", []string{"list"}},
		{"--consul: needed", []string{"remove", "clinic"}},
		{"--consul: ", []string{"list", "--consul", "ftp://127.0.0.1"}},
		{"--consul-auth-method", []string{"list", "--consul", "https://127.0.0.1:1", "--consul-jwt-file", public}},
	} {
		code, out, errs := runCommand(t, "", append([]string{"tenant"}, test.args...)...)
		require.Equal(t, exitUsage, code, "%v: %s", test.args, errs)
		require.Contains(t, errs, test.says)
		require.Empty(t, out)
	}
	code, _, errs := runCommand(t, "", "tenant", "list", "--consul", "https://"+freeAddress(t))
	require.Equal(t, exitFailure, code)
	require.Contains(t, errs, "connection refused")
}

func TestTheListShowsWhereRegionsDiffer(t *testing.T) {
	east, west := discovery.NewMemory(), discovery.NewMemory()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	one, two := secrets.PublicKey{ID: "k-1", Key: public}, secrets.PublicKey{ID: "k-2", Key: public}
	for _, region := range []*discovery.Memory{east, west} {
		require.NoError(t, tenants.NewKV(region).Register(t.Context(), "alike", []secrets.PublicKey{one, two}))
	}
	require.NoError(t, tenants.NewKV(east).Register(t.Context(), "differs", []secrets.PublicKey{one}))
	require.NoError(t, tenants.NewKV(west).Register(t.Context(), "differs", []secrets.PublicKey{two}))
	_, err = west.CompareAndSet(t.Context(), "wardline/tenants/damaged", []byte("{"), 0)
	require.NoError(t, err)

	var rows registrations
	require.NoError(t, rows.read(t.Context(), "east", tenants.NewKV(east)))
	require.NoError(t, rows.read(t.Context(), "west", tenants.NewKV(west)))
	var out strings.Builder
	require.NoError(t, rows.write(&out))
	require.Equal(t, `TENANT   KEYS                                 REGIONS
alike    k-1, k-2                             east, west
damaged  cannot be read, register them again  west
differs  k-1                                  east
differs  k-2                                  west
`, out.String())
}

func TestARegionThatConsulDoesNotListIsNamed(t *testing.T) {
	regions := map[string]*discovery.Memory{"east": discovery.NewMemory(), "west": discovery.NewMemory()}
	store := func(region string) tenants.Store { return regions[region] }
	public, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	keys := []secrets.PublicKey{{ID: "k-1", Key: public}}
	add := func(in registry) error {
		return errors.Join(in.Register(t.Context(), "clinic", keys), in.Remember(t.Context(), in.listed))
	}
	remove := func(in registry) error { return in.Remove(t.Context(), "clinic") }
	require.NoError(t, inRegions(t.Context(), []string{"east", "west"}, store, add))

	err = inRegions(t.Context(), []string{"east"}, store, remove)
	require.ErrorContains(t, err, "region west: not reached")
	names, err := tenants.NewKV(regions["east"]).List(t.Context())
	require.NoError(t, err)
	require.Empty(t, names, "what was reached is done")
	require.ErrorContains(t, inRegions(t.Context(), []string{"east"}, store, add), "region west: not reached")
	require.NoError(t, inRegions(t.Context(), []string{"west", "east"}, store, remove))
}
