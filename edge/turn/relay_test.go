package turn

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/pion/turn/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/core/observe/observetest"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/edge/doors"
)

func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "8") // they wait for clients that take their time
	goleak.VerifyTestMain(m)
}

const (
	testRealm = "wardline.test"
	patience  = 10 * time.Second
	tick      = 5 * time.Millisecond
)

// relay is a running server with a rotating secret and a changing set of allowed peers.
type relay struct {
	*Server
	t    testing.TB
	log  *observetest.Text
	stop func()

	mu     sync.Mutex
	secret secrets.Shared
	peers  map[netip.AddrPort]bool
}

type option func(*Config, *limits)

func startRelay(tb testing.TB, options ...option) *relay {
	tb.Helper()
	r := &relay{
		t: tb, log: &observetest.Text{}, peers: make(map[netip.AddrPort]bool),
		secret: secrets.Shared{Current: []byte("current secret"), Previous: []byte("previous secret")},
	}
	config := Config{
		Listen: "127.0.0.1:0", ListenTLS: "127.0.0.1:0", TLS: serverTLS(tb), RelayIP: netip.MustParseAddr("127.0.0.1"),
		Secret:    func(context.Context) (secrets.Shared, error) { r.mu.Lock(); defer r.mu.Unlock(); return r.secret, nil },
		AllowPeer: r.allowed, Realm: testRealm, Registry: prometheus.NewRegistry(),
		Log: zerolog.New(r.log).Level(zerolog.DebugLevel),
	}
	changed := defaultLimits()
	for _, o := range options {
		o(&config, &changed)
	}
	server, err := New(config)
	require.NoError(tb, err)
	server.limits = changed
	server.credentials.retry = changed.secretRetry
	server.doors = doors.New(server.doorLimits())
	r.Server = server

	ctx, cancel := context.WithCancel(tb.Context())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			require.NoError(tb, err)
		case <-time.After(5 * time.Second):
			require.Fail(tb, "the relay did not close within 5 s")
		}
		require.Zero(tb, server.Allocations())
	})
	tb.Cleanup(r.stop)
	require.Eventually(tb, func() bool { return server.Ready(ctx) == nil }, patience, tick)
	return r
}

func (r *relay) allowed(peer netip.AddrPort) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if peer.Port() != 0 {
		return r.peers[peer]
	}
	for p := range r.peers {
		if p.Addr() == peer.Addr() {
			return true
		}
	}
	return false
}

func (r *relay) allow(peer net.Addr, on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if on {
		r.peers[addrPort(peer)] = true
	} else {
		delete(r.peers, addrPort(peer))
	}
}

func (r *relay) setSecret(s secrets.Shared) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secret = s
}

// login returns valid credentials.
func (r *relay) login() login {
	r.mu.Lock()
	defer r.mu.Unlock()
	return credentialsFrom(r.secret, time.Now().Add(time.Hour))
}

func (r *relay) dropped(d direction) float64 { return testutil.ToFloat64(r.metrics.dropped[d]) }

type login struct{ username, password string }

func credentialsFrom(s secrets.Shared, expires time.Time) login {
	username, password := secrets.TURNCredential(s, "visit.participant-1.session", expires)
	return login{username, password}
}

// dial connects a client's socket to the relay.
func (r *relay) dial(transport string) net.PacketConn {
	r.t.Helper()
	var conn net.PacketConn
	switch transport {
	case "udp":
		udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
		require.NoError(r.t, err)
		conn = udp
	case "tcp":
		tcp, err := net.Dial("tcp", r.Addr().String())
		require.NoError(r.t, err)
		conn = turn.NewSTUNConn(tcp)
	case "tls":
		secured, err := tls.Dial("tcp", r.TLSAddr().String(), &tls.Config{InsecureSkipVerify: true})
		require.NoError(r.t, err)
		conn = turn.NewSTUNConn(secured)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (r *relay) client(transport string, l login) *turn.Client {
	r.t.Helper()
	address := r.Addr().String()
	if transport == "tls" {
		address = r.TLSAddr().String()
	}
	client, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: address, TURNServerAddr: address, Conn: r.dial(transport),
		Username: l.username, Password: l.password, Realm: testRealm, RTO: 2 * time.Second,
		LoggerFactory: engineLog{zerolog.Nop()},
	})
	require.NoError(r.t, err)
	require.NoError(r.t, client.Listen())
	r.t.Cleanup(client.Close)
	return client
}

func (r *relay) allocate(transport string) net.PacketConn {
	r.t.Helper()
	conn, err := r.client(transport, r.login()).Allocate()
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// echo is a peer that sends back what it gets.
func echo(t *testing.T) net.PacketConn {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, maxDatagram)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(buffer[:n], from)
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return conn
}

// probe is what requireEcho sends.
var probe = []byte("a datagram")

// nextDatagram returns the next datagram that is no late answer to a probe.
func nextDatagram(t *testing.T, conn net.PacketConn) (datagram []byte, from netip.AddrPort) {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	buffer := make([]byte, maxDatagram)
	for {
		n, from, err := conn.ReadFrom(buffer)
		require.NoError(t, err)
		if !bytes.Equal(buffer[:n], probe) {
			return buffer[:n], addrPort(from)
		}
	}
}

// requireEcho sends until the answer is there: UDP may lose one.
func requireEcho(t *testing.T, conn net.PacketConn, peer net.Addr) {
	t.Helper()
	buffer := make([]byte, maxDatagram)
	require.Eventually(t, func() bool {
		if _, err := conn.WriteTo(probe, peer); err != nil {
			return false
		}
		if conn.SetReadDeadline(time.Now().Add(500*time.Millisecond)) != nil {
			return false
		}
		n, from, err := conn.ReadFrom(buffer)
		return err == nil && bytes.Equal(buffer[:n], probe) && addrPort(from) == addrPort(peer)
	}, patience, tick)
}

func serverTLS(tb testing.TB) *tls.Config {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(tb, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(tb, err)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12,
	}
}
