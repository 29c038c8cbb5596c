package secrets

import (
	"context"
	"crypto/tls"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// renewable is a source whose clock and authority the test holds.
type renewable struct {
	source *source
	now    time.Time
	fail   error
	issued int
	cancel context.CancelFunc
}

func newRenewable(t *testing.T) *renewable {
	t.Helper()
	r := &renewable{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	clock := func() time.Time { return r.now }
	var ca authority
	require.NoError(t, ca.create(r.now))
	ctx, cancel := context.WithCancel(t.Context())
	r.cancel = cancel
	t.Cleanup(cancel)
	source, err := newSource(ctx, clock, func(context.Context) (issued, error) {
		r.issued++
		if r.fail != nil {
			return issued{}, r.fail
		}
		return ca.issue([]string{SFURole + NameSuffix}, nil, r.now)
	})
	require.NoError(t, err)
	r.source = source
	return r
}

func (r *renewable) serial(t *testing.T, config *tls.Config) *big.Int {
	t.Helper()
	certificate, err := config.GetCertificate(nil)
	require.NoError(t, err)
	return certificate.Leaf.SerialNumber
}

func TestCertificateIsRenewedAtTwoThirdsOfItsLife(t *testing.T) {
	r := newRenewable(t)
	config := r.source.Server(GatewayRole)
	first, end := r.serial(t, config), r.source.NotAfter()

	r.now = r.now.Add(certificateLife * 6 / 10)
	require.Equal(t, first, r.serial(t, config), "too early")

	r.now = r.now.Add(certificateLife / 10)
	require.NotEqual(t, first, r.serial(t, config), "the same configuration presents the new certificate")
	require.True(t, r.source.NotAfter().After(end))
	require.Equal(t, 2, r.issued)
}

func TestClientPresentsTheRenewedCertificate(t *testing.T) {
	r := newRenewable(t)
	config := r.source.Client(GatewayRole)
	first, err := config.GetClientCertificate(nil)
	require.NoError(t, err)
	r.now = r.now.Add(certificateLife * 7 / 10)
	second, err := config.GetClientCertificate(nil)
	require.NoError(t, err)
	require.NotEqual(t, first.Leaf.SerialNumber, second.Leaf.SerialNumber)
}

func TestFailedRenewalKeepsTheCertificateAndIsRetriedLater(t *testing.T) {
	r := newRenewable(t)
	config := r.source.Server()
	first := r.serial(t, config)
	r.fail = errors.New("authority sealed")

	r.now = r.now.Add(certificateLife * 7 / 10)
	require.Equal(t, first, r.serial(t, config))
	require.Equal(t, first, r.serial(t, config))
	require.Equal(t, 2, r.issued, "not at every handshake")

	r.now = r.now.Add(renewRetry)
	r.fail = nil
	require.NotEqual(t, first, r.serial(t, config))
}

func TestEndedCertificateSaysWhyItWasNotRenewed(t *testing.T) {
	r := newRenewable(t)
	r.fail = errors.New("authority sealed")
	r.now = r.now.Add(certificateLife + time.Second)
	_, err := r.source.Server().GetCertificate(nil)
	require.ErrorContains(t, err, "certificate ended 2026-03-02T00:00:00Z")
	require.ErrorIs(t, err, r.fail)
	require.False(t, r.source.NotAfter().After(r.now))
	require.NotNil(t, r.source.Client(GatewayRole).RootCAs)
}

func TestRenewalEndsWithItsContext(t *testing.T) {
	r := newRenewable(t)
	config := r.source.Server()
	first := r.serial(t, config)
	r.cancel()
	r.now = r.now.Add(certificateLife * 9 / 10)
	require.Equal(t, first, r.serial(t, config))
}

func TestEndedAuthorityIssuesNothing(t *testing.T) {
	keeper := openTemp(t)
	_, err := keeper.CAFile(t.Context())
	require.NoError(t, err)
	keeper.now = func() time.Time { return time.Now().Add(authorityLife + time.Hour) }
	_, err = keeper.Certificates(t.Context(), SFURole)
	require.ErrorContains(t, err, "the certificate authority ended")
}

func TestConnectionWithoutCertificateHasNoRole(t *testing.T) {
	require.Error(t, verifyRole(tls.ConnectionState{}, []string{SFURole}))
}
