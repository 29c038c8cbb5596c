package secrets

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
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
	r := newRenewable(t)
	require.Error(t, r.source.verify(tls.ConnectionState{}, x509.ExtKeyUsageClientAuth, []string{SFURole}))
}

func TestCertificateOfTheOtherSideIsRefused(t *testing.T) {
	r := newRenewable(t)
	held, err := r.source.current()
	require.NoError(t, err)
	presenting := func(usage x509.ExtKeyUsage) tls.ConnectionState {
		leaf := *held.certificate.Leaf
		leaf.ExtKeyUsage = []x509.ExtKeyUsage{usage}
		return tls.ConnectionState{PeerCertificates: []*x509.Certificate{&leaf}}
	}
	server, client := r.source.Server(SFURole), r.source.Client(SFURole)
	require.NoError(t, server.VerifyConnection(presenting(x509.ExtKeyUsageClientAuth)))
	require.NoError(t, client.VerifyConnection(presenting(x509.ExtKeyUsageServerAuth)))
	require.ErrorContains(t, server.VerifyConnection(presenting(x509.ExtKeyUsageServerAuth)), "incompatible key usage")
	require.ErrorContains(t, client.VerifyConnection(presenting(x509.ExtKeyUsageClientAuth)), "incompatible key usage")
}

// TestRootsAreThoseOfTheNewestCertificate moves a server and a client from one root to the next, one after the other, and
// keeps their configurations and a connection through all of it.
func TestRootsAreThoseOfTheNewestCertificate(t *testing.T) {
	var before, after authority
	require.NoError(t, before.create(time.Now()))
	require.NoError(t, after.create(time.Now()))
	both := x509.NewCertPool()
	both.AddCert(before.parsed)
	both.AddCert(after.parsed)
	type member struct {
		*source
		signs *authority
		trust *x509.CertPool
	}
	open := func(role string) *member {
		m := &member{signs: &before}
		var err error
		m.source, err = newSource(t.Context(), time.Now, func(context.Context) (issued, error) {
			fresh, err := m.signs.issue([]string{role + NameSuffix}, nil, time.Now())
			if m.trust != nil {
				fresh.roots = m.trust
			}
			return fresh, err
		})
		require.NoError(t, err)
		return m
	}
	renew := func(m *member, signs *authority, trust *x509.CertPool) {
		m.signs, m.trust = signs, trust
		fresh, err := m.issue(t.Context())
		m.mu.Lock()
		m.take(fresh, err)
		m.mu.Unlock()
	}
	sfu, gateway := open(SFURole), open(GatewayRole)
	server, client := sfu.Server(GatewayRole), gateway.Client(SFURole)
	held, err := connect(t, server, client)
	require.NoError(t, err)

	for _, step := range []struct {
		who   *member
		signs *authority
		trust *x509.CertPool
	}{
		{sfu, &before, both}, {gateway, &before, both}, // first everybody learns to trust the new root
		{gateway, &after, both}, {sfu, &after, both}, // then it signs
		{sfu, &after, nil}, {gateway, &after, nil}, // then the old one is forgotten
	} {
		renew(step.who, step.signs, step.trust)
		_, err := connect(t, server, client)
		require.NoError(t, err)
		held.requireAlive(t)
	}
	renew(gateway, &before, both)
	_, err = connect(t, server, client)
	require.ErrorContains(t, err, "unknown authority", "the old root is trusted no more")
	held.requireAlive(t)
}

// link is a connection between two configurations.
type link struct{ client, server *tls.Conn }

// connect makes a connection in memory, and says what the server thinks of the client.
func connect(t *testing.T, server, client *tls.Config) (link, error) {
	t.Helper()
	one, two := net.Pipe()
	l := link{tls.Client(one, client), tls.Server(two, server)}
	t.Cleanup(func() { _ = one.Close(); _ = two.Close() })
	served := make(chan error, 1)
	go func() { served <- l.server.HandshakeContext(t.Context()) }()
	// What a server of TLS 1.3 makes of the client's certificate comes with the first data.
	if err := l.client.HandshakeContext(t.Context()); err != nil {
		return l, err
	}
	go func() { _, _ = l.client.Read(make([]byte, 1)) }()
	err := <-served
	return l, err
}

func (l link) requireAlive(t *testing.T) {
	t.Helper()
	sent := make(chan error, 1)
	go func() { _, err := l.client.Write([]byte("alive")); sent <- err }()
	text := make([]byte, 5)
	_, err := io.ReadFull(l.server, text)
	require.NoError(t, err)
	require.NoError(t, <-sent)
	require.Equal(t, "alive", string(text))
}
