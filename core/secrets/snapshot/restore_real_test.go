package snapshot_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/secrets/snapshot"
	"github.com/wardline/wardline/core/secrets/vaulttest"
	vaultpolicies "github.com/wardline/wardline/vault-policies"
)

// region is a Vault as vault-policies sets it up, and those who use it.
type region struct {
	*vaulttest.Server
	nomad *vaulttest.Nomad
	root  vaultpolicies.Root
}

func start(t *testing.T) region {
	t.Helper()
	r := region{Server: vaulttest.Start(t, t.TempDir()), nomad: vaulttest.NewNomad(t, "east")}
	var err error
	r.root, err = vaultpolicies.NewRoot(time.Now())
	require.NoError(t, err)
	applier := &vaultpolicies.Applier{Client: r.Root, Rotator: r.keeper(t, r.Root.Token())}
	_, err = applier.Apply(t.Context(), vaultpolicies.Settings{Region: "east", JWTKeys: []string{r.nomad.PublicKey(t)}})
	require.NoError(t, err)
	request, err := vaultpolicies.RequestIntermediate(t.Context(), r.Root, "east")
	require.NoError(t, err)
	chain, err := r.root.Sign(request, time.Now())
	require.NoError(t, err)
	require.NoError(t, vaultpolicies.InstallIntermediate(t.Context(), r.Root, chain))
	return r
}

func (r region) open(t *testing.T, config secrets.VaultConfig) *secrets.Vault {
	t.Helper()
	config.Address, config.CAFile, config.Timeout, config.Log = r.Address, r.CAFile, time.Minute, zerolog.Nop()
	keeper, err := secrets.OpenVault(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, keeper.Close()) })
	return keeper
}

// keeper is one with a token.
func (r region) keeper(t *testing.T, token string) *secrets.Vault {
	t.Helper()
	return r.open(t, secrets.VaultConfig{Token: token})
}

// gateway is one that logged in.
func (r region) gateway(t *testing.T) *secrets.Vault {
	t.Helper()
	file := filepath.Join(t.TempDir(), "nomad_vault.jwt")
	require.NoError(t, os.WriteFile(file, []byte(r.nomad.Identity(t, "gateway", nil)), 0o600))
	return r.open(t, secrets.VaultConfig{JWTFile: file, Role: "gateway"})
}

// signed is a signature, and by which key.
type signed struct {
	key       string
	signature []byte
}

var message = []byte("a join token")

func sign(t *testing.T, keeper *secrets.Vault) signed {
	t.Helper()
	var s signed
	var err error
	s.signature, err = keeper.Sign(t.Context(), func(id string) ([]byte, error) { s.key = id; return message, nil })
	require.NoError(t, err)
	return s
}

// verifies reports whether a signature still counts.
func (s signed) verifies(t *testing.T, keeper *secrets.Vault) bool {
	t.Helper()
	keys, err := keeper.PublicKeys(t.Context())
	require.NoError(t, err)
	for _, key := range keys {
		if key.ID == s.key {
			return ed25519.Verify(key.Key, message, s.signature)
		}
	}
	return false
}

// keyIDs are those of the keys whose signatures count, newest first.
func keyIDs(t *testing.T, keeper *secrets.Vault) []string {
	t.Helper()
	keys, err := keeper.PublicKeys(t.Context())
	require.NoError(t, err)
	var ids []string
	for _, key := range keys {
		ids = append(ids, key.ID)
	}
	return ids
}

// values are both versions of a shared secret that count.
func values(s secrets.Shared) [][]byte { return [][]byte{s.Current, s.Previous} }

// known is what is in a Vault at some time.
type known struct {
	keys  map[string]secrets.DataKey // by tenant
	token signed
	// newest is the id of the newest token key. One that was made just now is published and does not sign yet, as the
	// newest turn secret is Previous.
	newest string
	turn   secrets.Shared
}

func (r region) remember(t *testing.T, tenants ...string) known {
	t.Helper()
	gateway := r.gateway(t)
	k := known{keys: map[string]secrets.DataKey{}, token: sign(t, gateway), newest: keyIDs(t, gateway)[0]}
	var err error
	k.turn, err = gateway.Shared(t.Context(), secrets.TURNSecret)
	require.NoError(t, err)
	for _, tenant := range tenants {
		k.keys[tenant], err = gateway.NewDataKey(t.Context(), tenant)
		require.NoError(t, err)
	}
	return k
}

// requireSameRoot has a certificate issued and verifies it with nothing but the root authority.
func (r region) requireSameRoot(t *testing.T) {
	t.Helper()
	source, err := r.gateway(t).Certificates(t.Context(), secrets.GatewayRole)
	require.NoError(t, err)
	certificate, err := source.Server().GetCertificate(nil)
	require.NoError(t, err)
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(r.root.Certificate))
	for _, der := range certificate.Certificate[1:] {
		authority, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		between.AddCert(authority)
	}
	_, err = certificate.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: "gateway.wardline.internal"})
	require.NoError(t, err)
}

// TestRegionIsRestoredFromItsSnapshot destroys a Vault with all it has, and says what comes back and what does not.
func TestRegionIsRestoredFromItsSnapshot(t *testing.T) {
	t.Parallel()
	old := start(t)
	operator := old.keeper(t, old.TokenOf(t, "wardline-operator"))
	for _, tenant := range []string{"clinic", "practice"} {
		require.NoError(t, operator.CreateTenant(t.Context(), tenant))
	}
	first := old.remember(t, "clinic", "practice")
	require.NoError(t, operator.RotateTenant(t.Context(), "clinic"))
	require.NoError(t, operator.RotateTokenKey(t.Context()))
	require.NoError(t, operator.RotateShared(t.Context(), secrets.TURNSecret))
	before := old.remember(t, "clinic")
	stolen := old.TokenOf(t, "wardline-gateway")

	file := filepath.Join(t.TempDir(), "east.snap")
	begun := time.Now()
	info, err := snapshot.Take(t.Context(), old.Client(t, old.TokenOf(t, "wardline-backup")), file, snapshot.Options{})
	require.NoError(t, err)
	took := time.Since(begun)

	// What happens after the snapshot.
	require.NoError(t, operator.CreateTenant(t.Context(), "late"))
	require.NoError(t, operator.RotateTenant(t.Context(), "practice"))
	require.NoError(t, operator.RotateTokenKey(t.Context())) // retires the key of first
	require.NoError(t, operator.RotateShared(t.Context(), secrets.TURNSecret))
	after := old.remember(t, "late", "practice")
	require.False(t, first.token.verifies(t, old.gateway(t)))
	require.NoError(t, old.Root.Auth().Token().RevokeTree(stolen))

	lost := time.Now()
	old.destroy(t)
	r := region{vaulttest.Start(t, t.TempDir()), old.nomad, old.root}
	t.Cleanup(r.Close)
	replaced := time.Now()
	restored, sealed, err := snapshot.Restore(t.Context(), r.Root, file, snapshot.Options{Force: true})
	require.NoError(t, err)
	require.Equal(t, info, restored)
	require.True(t, sealed)
	r.Become(t, old.Server)
	gateway := r.gateway(t)
	t.Logf("%d bytes up to entry %d, taken in %s; restored, unsealed and used %s after the new server was there, which took %s",
		info.Bytes, info.Index, took.Round(time.Millisecond),
		time.Since(replaced).Round(time.Millisecond), replaced.Sub(lost).Round(time.Millisecond))

	// What was there at the snapshot.
	for tenant, key := range first.keys {
		plain, err := gateway.Unwrap(t.Context(), tenant, key.Wrapped)
		require.NoError(t, err)
		require.Equal(t, key.Plain, plain)
	}
	plain, err := gateway.Unwrap(t.Context(), "clinic", before.keys["clinic"].Wrapped)
	require.NoError(t, err)
	require.Equal(t, before.keys["clinic"].Plain, plain)
	require.True(t, before.token.verifies(t, gateway), "old tokens verify")
	fresh := sign(t, gateway)
	require.True(t, fresh.verifies(t, gateway), "and new ones")
	require.Equal(t, before.newest, keyIDs(t, gateway)[0])
	turn, err := gateway.Shared(t.Context(), secrets.TURNSecret)
	require.NoError(t, err)
	require.ElementsMatch(t, values(before.turn), values(turn))
	r.requireSameRoot(t)

	// What was made after it is lost.
	_, err = gateway.Unwrap(t.Context(), "late", after.keys["late"].Wrapped)
	require.ErrorIs(t, err, secrets.ErrNotFound)
	_, err = gateway.Unwrap(t.Context(), "practice", after.keys["practice"].Wrapped)
	require.ErrorIs(t, err, secrets.ErrTampered, "wrapped under a version that is gone")
	require.NotContains(t, keyIDs(t, gateway), after.newest)
	require.NotContains(t, values(turn), after.turn.Previous)

	// What was retired or revoked after it counts again.
	require.True(t, first.token.verifies(t, gateway))
	_, err = r.Client(t, stolen).Auth().Token().LookupSelf()
	require.NoError(t, err)
}

// destroy ends a server and removes its storage.
func (r region) destroy(t *testing.T) {
	t.Helper()
	r.Close()
	require.NoError(t, r.Destroy())
}

func TestRestoringOverWhatIsThere(t *testing.T) {
	t.Parallel()
	r := start(t)
	t.Cleanup(r.Close)
	operator := r.keeper(t, r.TokenOf(t, "wardline-operator"))
	file := filepath.Join(t.TempDir(), "east.snap")
	_, err := snapshot.Take(t.Context(), operator.Client(), file, snapshot.Options{})
	require.NoError(t, err, "an operator may take one")
	require.NoError(t, operator.CreateTenant(t.Context(), "late"))
	_, err = r.gateway(t).NewDataKey(t.Context(), "late")
	require.NoError(t, err)

	mode, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), mode.Mode())
	_, _, err = snapshot.Restore(t.Context(), operator.Client(), file, snapshot.Options{})
	require.ErrorContains(t, err, "403", "an operator may not restore one")
	_, _, err = snapshot.Restore(t.Context(), operator.Client(), file, snapshot.Options{Force: true})
	require.ErrorContains(t, err, "403")
	_, err = snapshot.Take(t.Context(), r.Client(t, r.TokenOf(t, "wardline-gateway")), file+"2", snapshot.Options{})
	require.ErrorContains(t, err, "403")
	require.NoFileExists(t, file+"2")

	text, err := os.ReadFile(file)
	require.NoError(t, err)
	for says, damaged := range map[string][]byte{
		"in the middle": text[:len(text)-1000], "no gzip archive": []byte("something else altogether"),
	} {
		require.NoError(t, os.WriteFile(file+"2", damaged, 0o600))
		_, _, err = snapshot.Restore(t.Context(), r.Root, file+"2", snapshot.Options{Force: true})
		require.ErrorIs(t, err, snapshot.ErrInvalid)
		require.ErrorContains(t, err, says)
	}
	_, err = r.gateway(t).NewDataKey(t.Context(), "late")
	require.NoError(t, err, "nothing of that reached the Vault")

	_, sealed, err := snapshot.Restore(t.Context(), r.Root, file, snapshot.Options{})
	require.NoError(t, err)
	require.False(t, sealed, "the same seal: it goes on")
	_, err = r.gateway(t).NewDataKey(t.Context(), "late")
	require.ErrorIs(t, err, secrets.ErrNotFound, "as it was")
}

func TestAnotherVaultTakesASnapshotByForceOnly(t *testing.T) {
	t.Parallel()
	taken, other := vaulttest.Start(t, t.TempDir()), vaulttest.Start(t, t.TempDir())
	t.Cleanup(taken.Close)
	t.Cleanup(other.Close)
	file := filepath.Join(t.TempDir(), "east.snap")
	_, err := snapshot.Take(t.Context(), taken.Root, file, snapshot.Options{})
	require.NoError(t, err)
	_, _, err = snapshot.Restore(t.Context(), other.Root, file, snapshot.Options{})
	require.ErrorIs(t, err, snapshot.ErrOtherKeys)
	_, err = other.Root.Auth().Token().LookupSelf()
	require.NoError(t, err, "it is as it was")
}

func TestSnapshotsByAStandby(t *testing.T) {
	t.Parallel()
	active := vaulttest.Start(t, t.TempDir())
	t.Cleanup(active.Close)
	standby := active.Standby(t, t.TempDir())
	t.Cleanup(standby.Close)
	leader, err := standby.Root.Sys().Leader()
	require.NoError(t, err)
	require.False(t, leader.IsSelf)
	require.NoError(t, fill(t.Context(), active))
	file := filepath.Join(t.TempDir(), "east.snap")
	info, err := snapshot.Take(t.Context(), standby.Root, file, snapshot.Options{})
	require.NoError(t, err)
	require.Greater(t, info.Bytes, int64(4<<20))
	_, sealed, err := snapshot.Restore(t.Context(), standby.Root, file, snapshot.Options{})
	require.NoError(t, err)
	require.False(t, sealed)
}

// TestTransfersThatDoNotEnd takes snapshots over a way that ends or stands still in the middle.
func TestTransfersThatDoNotEnd(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t, t.TempDir())
	t.Cleanup(server.Close)
	require.NoError(t, fill(t.Context(), server))
	for name, test := range map[string]struct {
		harm func(*vaulttest.Proxy)
		is   error
		says string
	}{
		"cut":     {(*vaulttest.Proxy).Cut, nil, "take snapshot"},
		"stalled": {func(p *vaulttest.Proxy) { p.Delay(time.Hour) }, snapshot.ErrStalled, "nothing for 300ms"},
	} {
		t.Run(name, func(t *testing.T) {
			proxy := server.Proxy(t)
			client := server.Client(t, server.Root.Token())
			require.NoError(t, client.SetAddress(proxy.Address))
			file := filepath.Join(t.TempDir(), "east.snap")
			require.NoError(t, os.WriteFile(file, []byte("the one before"), 0o600))
			harmed := false
			_, err := snapshot.Take(t.Context(), client, file, snapshot.Options{Stall: 300 * time.Millisecond, Progress: func(int64) {
				if !harmed {
					harmed = true
					test.harm(proxy)
				}
			}})
			require.Error(t, err)
			require.ErrorContains(t, err, test.says)
			if test.is != nil {
				require.ErrorIs(t, err, test.is)
			}
			before, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, "the one before", string(before))
			left, err := os.ReadDir(filepath.Dir(file))
			require.NoError(t, err)
			require.Len(t, left, 1, "no half file stays")
		})
	}
}

// fill makes the storage larger than what fits on the way.
func fill(ctx context.Context, server *vaulttest.Server) error {
	random := make([]byte, 600<<10)
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"} {
		_, _ = rand.Read(random)
		_, err := server.Root.Logical().WriteWithContext(ctx, "cubbyhole/"+name, map[string]any{
			"value": base64.StdEncoding.EncodeToString(random),
		})
		if err != nil {
			return err
		}
	}
	return nil
}
