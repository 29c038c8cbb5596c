package secrets_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/secrets/vaulttest"
)

// In TestTwelveHoursSealed an hour is a second: lives of certificates and logins are hours, and Vault counts whole seconds.
const (
	acceleration = 3600
	hour         = time.Hour / acceleration
)

// shift is half a day of a region on the accelerated clock: a gateway, a media server and a relay, and who joins.
type shift struct {
	region
	gateway, sfu, turn *secrets.Vault
	// certificates of the gateway, and of the media server, which are seven hours older.
	certificates, older secrets.CertificateSource
	// address is the media server's.
	address string

	began    time.Time
	verifier *access.Verifier
	token    string
	relay    struct{ username, password string }
}

func newShift(t *testing.T) *shift {
	t.Helper()
	server := vaulttest.Start(t, t.TempDir())
	t.Cleanup(server.Close)
	s := &shift{region: newRegion(t, server), began: time.Now()}
	for _, role := range []string{secrets.GatewayRole, secrets.SFURole, secrets.TURNRole} {
		s.shortCertificates(t, role, 12)
		s.brief(t, role, 4, 24) // one hour, a second, is too short for a busy machine; they still end while it is sealed
	}
	open := func(role string) *secrets.Vault {
		const poolAge, settle = hour, hour * 90 / 3600
		keeper, err := secrets.OpenFastVault(t.Context(), s.withIdentity(t, role, nil), settle, poolAge)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, keeper.Close()) })
		return keeper
	}
	s.gateway, s.sfu, s.turn = open(secrets.GatewayRole), open(secrets.SFURole), open(secrets.TURNRole)
	s.verifier = access.NewVerifier(s.gateway, noTenants{}, s.now)
	return s
}

// noTenants is where no tenant has registered a key.
type noTenants struct{}

func (noTenants) TenantKeys(context.Context, string) ([]secrets.PublicKey, error) {
	return nil, secrets.ErrNotFound
}

// now is the accelerated clock.
func (s *shift) now() time.Time {
	return s.began.Add(acceleration * time.Since(s.began))
}

// prepare is what happened in the hours before.
func (s *shift) prepare(t *testing.T) {
	t.Helper()
	_, err := s.Root.Logical().Write("wardline/tenants/keys/clinic", map[string]any{"type": "aes256-gcm96"})
	require.NoError(t, err)
	s.older, err = s.sfu.Certificates(t.Context(), secrets.SFURole)
	require.NoError(t, err)
	s.address = listenEcho(t, s.older.Server(secrets.GatewayRole))
	renewal := s.older.NotAfter().Add(-4 * hour)
	require.Eventually(t, func() bool { return time.Until(renewal) < hour }, patience, tick, "seven hours pass")

	s.certificates, err = s.gateway.Certificates(t.Context(), secrets.GatewayRole)
	require.NoError(t, err)
	s.token, err = access.Mint(t.Context(), s.gateway, access.Grant{
		Tenant: "clinic", Encounter: "visit-1", Participant: "p-1", Role: access.Provider, Expires: s.now().Add(24 * time.Hour),
	}, time.Time{}, s.now())
	require.NoError(t, err)
	held, err := s.gateway.Shared(t.Context(), secrets.TURNSecret)
	require.NoError(t, err)
	s.relay.username, s.relay.password = secrets.TURNCredential(held, "p-1", s.now().Add(24*time.Hour))
	require.NoError(t, s.goesOn(t.Context(), t))
	_, err = s.gateway.NewDataKey(t.Context(), "clinic")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return s.gateway.Pooled("clinic") == secrets.PoolKeys }, patience, tick)
}

// goesOn does what people do all the time: a join with a token that is valid, a relay with a credential of before and
// with one minted now.
func (s *shift) goesOn(ctx context.Context, t *testing.T) error {
	t.Helper()
	if _, err := s.verifier.Join(ctx, s.token); err != nil {
		return err
	}
	minting, err := s.gateway.Shared(ctx, secrets.TURNSecret)
	if err != nil {
		return err
	}
	accepting, err := s.turn.Shared(ctx, secrets.TURNSecret)
	if err != nil {
		return err
	}
	username, password := secrets.TURNCredential(minting, "p-2", s.now().Add(time.Hour))
	for with, of := range map[string]string{s.relay.username: s.relay.password, username: password} {
		passwords, err := secrets.TURNPassword(accepting, with, s.now())
		if err != nil {
			return err
		}
		require.Contains(t, passwords, of)
	}
	return nil
}

// TestTwelveHoursSealed: an hour is a second here, for certificates, logins, tokens and credentials alike.
func TestTwelveHoursSealed(t *testing.T) {
	vaulttest.Binary(t)
	t.Parallel()
	s := newShift(t)
	s.prepare(t)
	mutual := s.certificates.Client(secrets.SFURole)
	visit := dialEcho(t, s.address, mutual)
	defer func() { _ = visit.Close() }()

	s.Seal(t)
	sealed := time.Now()
	s.next(t) // what was answered just before has landed
	inHand, fresh := s.older.NotAfter(), s.certificates.NotAfter()
	require.Greater(t, inHand.Sub(sealed), 3*hour+hour/2, "renewal begins with a third of the life left")
	checks, connections := 0, 0
	for time.Since(sealed) < 12*hour {
		require.NoError(t, s.goesOn(t.Context(), t))
		requireEcho(t, visit)
		checks++
		if time.Until(inHand) > hour/2 {
			_ = dialEcho(t, s.address, mutual).Close()
			connections++
		}
		if time.Until(fresh) > hour/2 {
			_, err := s.certificates.Server().GetCertificate(nil)
			require.NoError(t, err, "good until it ends")
		}
		require.Equal(t, inHand, s.older.NotAfter(), "nobody renews without Vault")
		s.next(t)
	}
	t.Logf("sealed for 12 h: %d joins and %d relay credentials, the connection between gateway and media server stayed; "+
		"%d new ones in the %.1f h that the certificate in hand had left",
		checks, 2*checks, connections, inHand.Sub(sealed).Seconds()/hour.Seconds())
	s.needsVault(t)

	s.Unseal(t)
	unsealed := time.Now()
	require.Eventually(t, func() bool {
		require.NoError(t, s.goesOn(t.Context(), t))
		_, pool := s.gateway.NewDataKey(t.Context(), "clinic")
		return pool == nil && s.older.NotAfter().After(unsealed.Add(8*hour)) && s.certificates.NotAfter().After(unsealed.Add(8*hour)) &&
			signOnce(t, s.gateway) == nil && s.gateway.Ready(t.Context()) == nil
	}, patience, tick, "everything renews by itself")
	t.Logf("renewed by itself %.1f s after Vault was back", time.Since(unsealed).Seconds())
	requireEcho(t, visit)
	_ = dialEcho(t, s.address, mutual).Close()
	require.Eventually(t, func() bool { return s.gateway.Pooled("clinic") == secrets.PoolKeys }, patience, tick,
		"keys are held ready again")
}

// next waits for some minutes of the accelerated clock.
func (s *shift) next(t *testing.T) {
	t.Helper()
	timer := time.NewTimer(hour / 20)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

// needsVault is what does not go on after so long.
func (s *shift) needsVault(t *testing.T) {
	t.Helper()
	for range secrets.PoolKeys {
		_, err := s.gateway.NewDataKey(t.Context(), "clinic")
		require.NoError(t, err, "of those held ready")
	}
	_, err := s.gateway.NewDataKey(t.Context(), "clinic")
	require.ErrorIs(t, err, secrets.ErrUnavailable)
	require.ErrorContains(t, err, "no prefetched data key")
	err = signOnce(t, s.gateway)
	require.ErrorIs(t, err, secrets.ErrUnavailable)
	require.ErrorContains(t, err, "sealed")
	require.ErrorContains(t, s.gateway.Ready(t.Context()), "sealed")
	_, err = s.older.Server().GetCertificate(nil)
	require.ErrorContains(t, err, "certificate ended")
	require.ErrorContains(t, err, "sealed", "and why there is no newer one")
}
