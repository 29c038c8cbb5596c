package secrets_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/observe/observetest"
	"github.com/wardline/wardline/core/secrets"
)

// fastKeeper asks Vault nearly every time, so that what is cached matters only in failure.
func fastKeeper(t *testing.T, config secrets.VaultConfig, settle time.Duration) *secrets.Vault {
	t.Helper()
	keeper, err := secrets.OpenFastVault(t.Context(), config, settle, time.Hour)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, keeper.Close()) })
	return keeper
}

func signOnce(t *testing.T, keeper *secrets.Vault) error {
	t.Helper()
	_, err := keeper.Sign(t.Context(), func(string) ([]byte, error) { return []byte("message"), nil })
	return err
}

// harm makes Vault of no use in some way, and heals it.
type harm struct {
	begin, end func()
	// says is what errors tell of it.
	says string
	is   error
}

func harms(t *testing.T, r region) (map[string]harm, string) {
	t.Helper()
	proxy := r.Proxy(t)
	return map[string]harm{
		"sealed": {func() { r.Seal(t) }, func() { r.Unseal(t) }, "sealed", secrets.ErrUnavailable},
		"stopped": {
			func() { r.Stop() }, func() { r.Restart(t) }, "", secrets.ErrUnavailable,
		},
		"cut off": {proxy.Cut, proxy.Heal, "", secrets.ErrUnavailable},
		"slow":    {func() { proxy.Delay(10 * time.Second) }, proxy.Heal, "no answer in time", secrets.ErrUnavailable},
		"a policy mistake": {
			func() {
				require.NoError(t, r.Root.Sys().PutPolicy("wardline-gateway", `path "nothing" { capabilities = ["read"] }`))
			},
			func() { r.setUp(t) }, "permission denied", secrets.ErrDenied,
		},
	}, proxy.Address
}

func TestWhatGoesOnWithoutVault(t *testing.T) {
	r := ownRegion(t)
	all, address := harms(t, r)
	for name, h := range all {
		t.Run(name, func(t *testing.T) {
			tenant := "harmed"
			_, err := r.Root.Logical().Write("wardline/tenants/keys/"+tenant, map[string]any{"type": "aes256-gcm96"})
			require.NoError(t, err)
			config := r.withIdentity(t, "gateway", nil)
			config.Address, config.Timeout = address, 1500*time.Millisecond
			keeper := fastKeeper(t, config, time.Minute)

			keys, err := keeper.PublicKeys(t.Context())
			require.NoError(t, err)
			secret, err := keeper.Shared(t.Context(), secrets.TURNSecret)
			require.NoError(t, err)
			certificates, err := keeper.Certificates(t.Context(), secrets.GatewayRole)
			require.NoError(t, err)
			kept, err := keeper.NewDataKey(t.Context(), tenant)
			require.NoError(t, err)
			require.Eventually(t, func() bool { return keeper.Pooled(tenant) == secrets.PoolKeys }, patience, tick)

			h.begin()
			healed := false
			heal := func() {
				if !healed {
					healed = true
					h.end()
				}
			}
			defer heal()

			// What is known goes on, at once.
			for range 5 {
				began := time.Now()
				stillKeys, err := keeper.PublicKeys(t.Context())
				require.NoError(t, err)
				require.Equal(t, keys, stillKeys)
				stillSecret, err := keeper.Shared(t.Context(), secrets.TURNSecret)
				require.NoError(t, err)
				require.Equal(t, secret, stillSecret)
				_, err = certificates.Server().GetCertificate(nil)
				require.NoError(t, err)
				require.Less(t, time.Since(began), 1400*time.Millisecond, "nobody waits for Vault's timeout")
			}
			// Encounters begin for as long as there are prefetched keys.
			for range secrets.PoolKeys {
				_, err = keeper.NewDataKey(t.Context(), tenant)
				require.NoError(t, err)
			}
			_, err = keeper.NewDataKey(t.Context(), tenant)
			require.ErrorIs(t, err, h.is)
			require.ErrorContains(t, err, "no prefetched data key")
			// What only Vault can do fails, soon and clearly.
			began := time.Now()
			err = signOnce(t, keeper)
			require.ErrorIs(t, err, h.is)
			require.ErrorContains(t, err, "wardline/token/sign/join-token")
			require.ErrorContains(t, err, h.says)
			_, err = keeper.Unwrap(t.Context(), tenant, kept.Wrapped)
			require.ErrorIs(t, err, h.is)
			require.Less(t, time.Since(began), 8*time.Second)
			require.ErrorIs(t, keeper.Ready(t.Context()), h.is, "degraded, with the reason")

			heal()
			require.Eventually(t, func() bool { return signOnce(t, keeper) == nil }, patience, tick)
			plain, err := keeper.Unwrap(t.Context(), tenant, kept.Wrapped)
			require.NoError(t, err)
			require.Equal(t, kept.Plain, plain)
			require.Eventually(t, func() bool {
				_, err := keeper.Shared(t.Context(), secrets.TURNSecret)
				require.NoError(t, err)
				_, err = keeper.NewDataKey(t.Context(), tenant)
				require.NoError(t, err)
				return keeper.Ready(t.Context()) == nil
			}, patience, tick)
		})
	}
}

func TestOldPooledKeysAreForNeedOnly(t *testing.T) {
	r := theRegion(t)
	proxy := r.Proxy(t)
	config := r.withToken(t, everybody()...)
	config.Address, config.Timeout = proxy.Address, time.Second
	keeper, err := secrets.OpenFastVault(t.Context(), config, 0, time.Nanosecond)
	require.NoError(t, err)
	defer func() { require.NoError(t, keeper.Close()) }()
	require.NoError(t, keeper.CreateTenant(t.Context(), "aged"))
	_, err = keeper.NewDataKey(t.Context(), "aged")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return keeper.Ready(t.Context()) == nil }, patience, tick)
	require.NoError(t, keeper.RotateTenant(t.Context(), "aged"))
	require.Zero(t, keeper.Pooled("aged"), "they are wrapped under the version before")
}

func TestRotationRefusesNothing(t *testing.T) {
	r := quietRegion(t)
	const settle = time.Second
	signer := fastKeeper(t, r.withIdentity(t, "gateway", nil), settle)
	verifier := fastKeeper(t, r.withIdentity(t, "gateway", nil), settle)
	operator := fastKeeper(t, r.withToken(t, "wardline-operator"), settle)

	// The verifier looks at the keys as seldom as settle allows, as one that caches does.
	var mu sync.Mutex
	known, asked := map[string]ed25519.PublicKey{}, time.Time{}
	verify := func(keyID string, message, signature []byte) error {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(asked) > settle/2 {
			keys, err := verifier.PublicKeys(t.Context())
			if err != nil {
				return err
			}
			clear(known)
			for _, key := range keys {
				known[key.ID] = key.Key
			}
			asked = time.Now()
		}
		if key, ok := known[keyID]; !ok || !ed25519.Verify(key, message, signature) {
			return fmt.Errorf("refused a token of key %s, known are %d", keyID, len(known))
		}
		return nil
	}
	used := map[string]bool{}
	once := func() {
		var keyID string
		message := []byte("message")
		signature, err := signer.Sign(t.Context(), func(id string) ([]byte, error) { keyID = id; return message, nil })
		require.NoError(t, err)
		used[keyID] = true
		require.NoError(t, verify(keyID, message, signature))
	}
	once()
	for round := range 2 {
		require.NoError(t, operator.RotateTokenKey(t.Context()))
		require.Eventually(t, func() bool { once(); return len(used) == round+2 }, patience, tick, "the new key is taken up")
	}
}

func TestAKeeperThatStartsAfterARotationUsesTheVersionBefore(t *testing.T) {
	r := ownRegion(t)
	operator := fastKeeper(t, r.withToken(t, "wardline-operator"), 0)
	eager := fastKeeper(t, r.withIdentity(t, "gateway", nil), 0)
	_, err := eager.Shared(t.Context(), secrets.TURNSecret) // made, so that there is one before
	require.NoError(t, err)
	require.NoError(t, operator.RotateTokenKey(t.Context()))
	require.NoError(t, operator.RotateShared(t.Context(), secrets.TURNSecret))
	eager = fastKeeper(t, r.withIdentity(t, "gateway", nil), 0)
	patient := fastKeeper(t, r.withIdentity(t, "gateway", nil), time.Hour)
	keys, err := patient.PublicKeys(t.Context())
	require.NoError(t, err)
	require.Len(t, keys, 2)
	for keeper, want := range map[*secrets.Vault]string{eager: keys[0].ID, patient: keys[1].ID} {
		var used string
		_, err := keeper.Sign(t.Context(), func(id string) ([]byte, error) { used = id; return []byte("message"), nil })
		require.NoError(t, err)
		require.Equal(t, want, used)
	}
	fresh, err := eager.Shared(t.Context(), secrets.TURNSecret)
	require.NoError(t, err)
	held, err := patient.Shared(t.Context(), secrets.TURNSecret)
	require.NoError(t, err)
	require.Equal(t, secrets.Shared{Current: fresh.Previous, Previous: fresh.Current}, held)
}

func TestSigningGoesOnWhenTheCachedKeyWasRetired(t *testing.T) {
	r := theRegion(t)
	signer := openKeeper(t, r.withIdentity(t, "gateway", nil)) // caches for seconds
	operator := openKeeper(t, r.withToken(t, "wardline-operator"))
	require.NoError(t, signOnce(t, signer))
	require.NoError(t, operator.RotateTokenKey(t.Context()))
	require.NoError(t, operator.RotateTokenKey(t.Context()))
	require.NoError(t, signOnce(t, signer))
}

func TestSharedRotationReachesVerifiersFirst(t *testing.T) {
	r := quietRegion(t)
	const settle = 300 * time.Millisecond
	mints := fastKeeper(t, r.withIdentity(t, "gateway", nil), settle)
	checks := fastKeeper(t, r.withIdentity(t, "turn", nil), settle)
	operator := fastKeeper(t, r.withToken(t, "wardline-operator"), settle)
	current := func() secrets.Shared {
		minted, err := mints.Shared(t.Context(), secrets.TURNSecret)
		require.NoError(t, err)
		accepted, err := checks.Shared(t.Context(), secrets.TURNSecret)
		require.NoError(t, err)
		ok := bytes.Equal(minted.Current, accepted.Current) || bytes.Equal(minted.Current, accepted.Previous)
		require.True(t, ok, "a credential that is refused")
		return minted
	}
	before := current()
	require.NoError(t, operator.RotateShared(t.Context(), secrets.TURNSecret))
	var fresh []byte
	var seen time.Time
	require.Eventually(t, func() bool {
		now := current()
		if bytes.Equal(now.Current, before.Current) {
			if !bytes.Equal(now.Previous, fresh) {
				fresh, seen = now.Previous, time.Now() // accepted already, and not minted with
			}
			return false
		}
		return bytes.Equal(now.Current, fresh)
	}, patience, tick, "the new secret is accepted first, then taken up")
	require.Greater(t, time.Since(seen), settle/2, "and there was time for everybody to see it")
	_, err := operator.Shared(t.Context(), secrets.TURNSecret)
	require.ErrorIs(t, err, secrets.ErrDenied, "who rotates cannot read")
}

func TestCertificatesAreSwappedUnderConnections(t *testing.T) {
	r := theRegion(t)
	r.shortCertificates(t, secrets.SFURole, 2)
	r.shortCertificates(t, secrets.GatewayRole, 2)
	defer r.setUp(t)
	sfu, err := fastKeeper(t, r.withIdentity(t, "sfu", nil), 0).Certificates(t.Context(), secrets.SFURole)
	require.NoError(t, err)
	gateway, err := fastKeeper(t, r.withIdentity(t, "gateway", nil), 0).Certificates(t.Context(), secrets.GatewayRole)
	require.NoError(t, err)

	address := listenEcho(t, sfu.Server(secrets.GatewayRole))

	client := gateway.Client(secrets.SFURole)
	first := dialEcho(t, address, client)
	defer func() { _ = first.Close() }()
	began := first.ConnectionState().PeerCertificates[0]
	r.newIntermediate(t)
	require.Eventually(t, func() bool {
		requireEcho(t, first) // the connection of before
		next := dialEcho(t, address, client)
		defer func() { _ = next.Close() }()
		presented := next.ConnectionState().PeerCertificates[0]
		return presented.SerialNumber.Cmp(began.SerialNumber) != 0 && !bytes.Equal(presented.AuthorityKeyId, began.AuthorityKeyId)
	}, patience, 50*time.Millisecond, "a certificate of the new intermediate")
	require.Eventually(t, func() bool { return time.Now().After(began.NotAfter) }, patience, tick)
	requireEcho(t, first)
}

// shortCertificates lets a role's certificates live so many seconds. The next setUp changes it back.
func (r region) shortCertificates(t *testing.T, role string, seconds int) {
	t.Helper()
	path := secrets.PKIMount + "/roles/" + role
	current, err := r.Root.Logical().Read(path)
	require.NoError(t, err)
	current.Data["ttl"], current.Data["max_ttl"] = seconds, seconds
	_, err = r.Root.Logical().Write(path, current.Data)
	require.NoError(t, err)
}

// listenEcho serves until the test ends, and returns the address.
func listenEcho(t *testing.T, config *tls.Config) string {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	require.NoError(t, err)
	var served sync.WaitGroup
	served.Go(func() { echo(listener) })
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		served.Wait()
	})
	return listener.Addr().String()
}

// echo serves connections until the listener is closed, and ends with them.
func echo(listener net.Listener) {
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		conns.Go(func() {
			defer func() { _ = conn.Close() }()
			_, _ = io.Copy(conn, conn)
		})
	}
}

func dialEcho(t *testing.T, address string, config *tls.Config) *tls.Conn {
	t.Helper()
	conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", address)
	require.NoError(t, err)
	secured, ok := conn.(*tls.Conn)
	require.True(t, ok)
	requireEcho(t, secured)
	return secured
}

func requireEcho(t *testing.T, conn *tls.Conn) {
	t.Helper()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err := conn.Write([]byte("x"))
	require.NoError(t, err)
	_, err = io.ReadFull(conn, make([]byte, 1))
	require.NoError(t, err)
}

func TestNothingSecretIsLogged(t *testing.T) {
	r := theRegion(t)
	var logged observetest.Text
	config := r.withIdentity(t, "gateway", nil)
	config.Log = zerolog.New(&logged)
	proxy := r.Proxy(t)
	config.Address, config.Timeout = proxy.Address, 200*time.Millisecond
	r.brief(t, "gateway", 1, 1)
	keeper := fastKeeper(t, config, 0)
	secret, err := keeper.Shared(t.Context(), secrets.TURNSecret)
	require.NoError(t, err)
	token := keeper.Token()
	proxy.Cut()
	var failed error
	require.Eventually(t, func() bool {
		failed = errors.Join(failed, signOnce(t, keeper))
		return strings.Contains(logged.String(), "trying again")
	}, patience, tick)
	proxy.Heal()
	require.Contains(t, logged.String(), "logged in to vault", "the log is looked at")
	for _, hidden := range []string{token, string(secret.Current), base64.StdEncoding.EncodeToString(secret.Current), "eyJ"} {
		require.NotContains(t, logged.String(), hidden)
		require.NotContains(t, failed.Error(), hidden)
	}
}

func TestClosedKeeperAnswersNothingNew(t *testing.T) {
	r := theRegion(t)
	keeper, err := secrets.OpenVault(context.WithoutCancel(t.Context()), r.withIdentity(t, "gateway", nil))
	require.NoError(t, err)
	require.NoError(t, keeper.Close())
	_, err = keeper.PublicKeys(t.Context())
	require.ErrorIs(t, err, secrets.ErrUnavailable)
	_, err = keeper.Certificates(t.Context(), secrets.GatewayRole)
	require.Error(t, err)
	require.NoError(t, keeper.Close(), "once is enough, twice is no harm")
}
