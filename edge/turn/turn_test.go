package turn

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/turn/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/revocation"
	"github.com/wardline/wardline/core/secrets"
)

var transports = []string{"udp", "tcp", "tls"}

func TestRelaysToAllowedPeer(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			r, peer := startRelay(t), echo(t)
			r.allow(peer.LocalAddr(), true)
			conn := r.allocate(transport)
			require.Equal(t, 1, r.Allocations())

			requireEcho(t, conn, peer.LocalAddr())

			require.Positive(t, testutil.ToFloat64(r.metrics.packets[toPeer]))
			require.Positive(t, testutil.ToFloat64(r.metrics.bytes[fromPeer]))
			require.InDelta(t, 1, testutil.ToFloat64(r.metrics.allocationsMade.WithLabelValues(transport)), 0)
			require.NoError(t, conn.Close())
			require.Eventually(t, func() bool { return r.Allocations() == 0 }, patience, tick)
		})
	}
}

func TestRefusesOtherPeersWithForbidden(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			r, peer := startRelay(t), echo(t)
			client := r.client(transport, r.login())
			conn, err := client.Allocate()
			require.NoError(t, err)
			defer func() { _ = conn.Close() }()

			require.ErrorContains(t, client.CreatePermission(peer.LocalAddr()), "403")
			require.InDelta(t, 1, testutil.ToFloat64(r.metrics.refusedPeers), 0)
		})
	}
}

// A permission covers an address with all its ports, so the ports are the relay's business.
func TestRelaysToAllowedPortsOnly(t *testing.T) {
	r, good, bad := startRelay(t), echo(t), echo(t)
	r.allow(good.LocalAddr(), true)
	client := r.client("udp", r.login())
	conn, err := client.Allocate()
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	requireEcho(t, conn, good.LocalAddr())

	require.NoError(t, client.CreatePermission(bad.LocalAddr()), "the address is allowed")
	_, err = conn.WriteTo([]byte("out"), bad.LocalAddr())
	require.NoError(t, err)
	require.Eventually(t, func() bool { return r.dropped(toPeer) > 0 }, patience, tick)

	_, err = bad.WriteTo([]byte("in"), conn.LocalAddr())
	require.NoError(t, err)
	require.Eventually(t, func() bool { return r.dropped(fromPeer) > 0 }, patience, tick)
}

func TestPeerNoLongerAllowedGetsNothing(t *testing.T) {
	r, peer := startRelay(t), echo(t)
	r.allow(peer.LocalAddr(), true)
	conn := r.allocate("udp")
	requireEcho(t, conn, peer.LocalAddr())

	r.allow(peer.LocalAddr(), false)
	_, err := conn.WriteTo([]byte("late"), peer.LocalAddr())
	require.NoError(t, err)
	require.Eventually(t, func() bool { return r.dropped(toPeer) > 0 }, patience, tick)
}

func TestCredentials(t *testing.T) {
	soon := time.Now().Add(time.Minute)
	cases := map[string]struct {
		secret  string
		expires time.Time
		refused string // label of the failure, empty if accepted
	}{
		"current secret":  {secret: "current secret", expires: soon},
		"previous secret": {secret: "previous secret", expires: soon},
		"unknown secret":  {secret: "another secret", expires: soon, refused: "integrity"},
		"expired":         {secret: "current secret", expires: time.Now().Add(-time.Minute), refused: "expired"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := startRelay(t)
			conn, err := r.client("udp", credentialsFrom(secrets.Shared{Current: []byte(c.secret)}, c.expires)).Allocate()
			if c.refused == "" {
				require.NoError(t, err)
				require.NoError(t, conn.Close())
				return
			}
			require.ErrorContains(t, err, "401")
			require.Positive(t, testutil.ToFloat64(r.metrics.authFailures.WithLabelValues(c.refused)))
		})
	}
}

func TestMalformedUserNameIsRefused(t *testing.T) {
	r := startRelay(t)
	for _, username := range []string{"participant-1", "soon:participant-1", "4102444800:", "4102444800"} {
		_, err := r.client("udp", login{username, "x"}).Allocate()
		require.ErrorContains(t, err, "401", username)
	}
	require.GreaterOrEqual(t, testutil.ToFloat64(r.metrics.authFailures.WithLabelValues("malformed")), 4.0)
}

func TestRotatedSecretIsNoticedAtOnce(t *testing.T) {
	t.Parallel()
	r := startRelay(t, func(_ *Config, l *limits) { l.secretRefresh, l.secretRetry = time.Hour, 0 })
	r.setSecret(secrets.Shared{Current: []byte("rotated secret"), Previous: []byte("current secret")})
	_ = r.allocate("udp")
}

func TestAllocationOutlivesItsCredentials(t *testing.T) {
	r, peer := startRelay(t), echo(t)
	r.allow(peer.LocalAddr(), true)
	now := atomic.Pointer[time.Time]{}
	start := time.Now()
	now.Store(&start)
	r.credentials.mu.Lock()
	r.credentials.now = func() time.Time { return *now.Load() }
	r.credentials.mu.Unlock()

	client := r.client("udp", r.login())
	conn, err := client.Allocate()
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	later := start.Add(2 * time.Hour)
	now.Store(&later)

	requireEcho(t, conn, peer.LocalAddr()) // asks for a permission and a channel
	_, err = r.client("udp", r.login()).Allocate()
	require.ErrorContains(t, err, "401", "new allocations need fresh credentials")
}

func TestLimitPerUser(t *testing.T) {
	r := startRelay(t, func(c *Config, _ *limits) { c.MaxAllocationsPerUser = 2 })
	_, _ = r.allocate("udp"), r.allocate("tcp")

	_, err := r.client("udp", r.login()).Allocate()
	require.ErrorContains(t, err, "486")

	username, password := secrets.TURNCredential(r.secret, "participant-2", time.Now().Add(time.Hour))
	conn, err := r.client("udp", login{username, password}).Allocate()
	require.NoError(t, err, "another user is not concerned")
	require.NoError(t, conn.Close())
}

// TestLimitPerParticipant has somebody come back again and again, each time with the credentials of a new session.
func TestLimitPerParticipant(t *testing.T) {
	r := startRelay(t, func(c *Config, _ *limits) { c.MaxAllocationsPerUser = 2 })
	as := func(participant string, session int) login {
		return r.loginOf(revocation.Session("clinic", "visit", participant, strconv.Itoa(session)))
	}
	var made []net.PacketConn
	var err error
	for session := 0; session < 20 && err == nil; session++ {
		var conn net.PacketConn
		if conn, err = r.client("udp", as("patient", session)).Allocate(); err == nil {
			made = append(made, conn)
			t.Cleanup(func() { _ = conn.Close() })
		}
	}
	require.ErrorContains(t, err, "486")
	require.Len(t, made, 2*sessionsAtOnce)
	conn, err := r.client("udp", as("doctor", 1)).Allocate()
	require.NoError(t, err, "others are not concerned")
	require.NoError(t, conn.Close())
	require.NoError(t, made[0].Close())
	require.Eventually(t, func() bool {
		conn, err := r.client("udp", as("patient", 99)).Allocate()
		return err == nil && conn.Close() == nil
	}, patience, tick)
}

func TestLimitInTotal(t *testing.T) {
	r := startRelay(t, func(c *Config, _ *limits) { c.MaxAllocations = 1 })
	first := r.allocate("udp")
	require.ErrorIs(t, r.Ready(t.Context()), errFull)
	_, err := r.client("udp", r.login()).Allocate()
	require.ErrorContains(t, err, "508")

	require.NoError(t, first.Close())
	require.Eventually(t, func() bool { return r.Allocations() == 0 }, patience, tick)
	_ = r.allocate("udp")
}

func TestPortRange(t *testing.T) {
	free, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	port := addrPort(free.LocalAddr()).Port()
	require.NoError(t, free.Close())

	r := startRelay(t, func(c *Config, _ *limits) { c.MinPort, c.MaxPort = port, port })
	require.Equal(t, port, addrPort(r.allocate("udp").LocalAddr()).Port())
	_, err = r.client("udp", r.login()).Allocate()
	require.ErrorContains(t, err, "508")
	require.InDelta(t, 1, testutil.ToFloat64(r.metrics.allocationFailures.WithLabelValues("port")), 0)
}

func TestDrainingKeepsAllocations(t *testing.T) {
	r, peer := startRelay(t), echo(t)
	r.allow(peer.LocalAddr(), true)
	conn := r.allocate("udp")

	r.SetDraining(true)
	require.ErrorIs(t, r.Ready(t.Context()), errDraining)
	_, err := r.client("udp", r.login()).Allocate()
	require.ErrorContains(t, err, "508")
	requireEcho(t, conn, peer.LocalAddr())

	r.SetDraining(false)
	require.NoError(t, r.Ready(t.Context()))
	_ = r.allocate("udp")
}

func TestDrainEndsWithTheLastAllocation(t *testing.T) {
	r, peer := startRelay(t), echo(t)
	require.NoError(t, r.Drain(t.Context()), "nobody is here")
	r.SetDraining(false)
	r.allow(peer.LocalAddr(), true)
	conn := r.allocate("udp")

	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := r.Drain(short)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "1 allocations")
	require.ErrorIs(t, r.Ready(t.Context()), errDraining)
	requireEcho(t, conn, peer.LocalAddr())

	drained := make(chan error, 1)
	go func() { drained <- r.Drain(t.Context()) }()
	require.NoError(t, conn.Close())
	require.NoError(t, <-drained)
}

func TestClosingEndsEverything(t *testing.T) {
	r := startRelay(t)
	for _, transport := range transports {
		_ = r.allocate(transport)
	}
	idle, err := net.Dial("tcp", r.Addr().String())
	require.NoError(t, err)
	defer func() { _ = idle.Close() }()
	r.stop()
	require.Zero(t, r.Allocations())
}

func TestNoUserNameInLogOrMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	r := startRelay(t, func(c *Config, _ *limits) { c.Registry = registry })
	_ = r.allocate("udp")
	_, err := r.client("tcp", login{"4102444800:participant-1", "wrong"}).Allocate()
	require.Error(t, err)

	families, err := registry.Gather()
	require.NoError(t, err)
	require.NotEmpty(t, families)
	for _, family := range families {
		require.NotContains(t, family.String(), "participant-1")
	}
	require.Contains(t, r.log.String(), "credentials refused")
	require.NotContains(t, r.log.String(), "participant-1")
}

func TestWithoutSecretNobodyEntersUntilItIsThere(t *testing.T) {
	var there atomic.Bool
	var r *relay
	shared := secrets.Shared{Current: []byte("current secret")}
	config := Config{
		Listen: "127.0.0.1:0", RelayIP: netip.MustParseAddr("127.0.0.1"), Realm: testRealm, Registry: prometheus.NewRegistry(),
		AllowPeer: func(netip.AddrPort) bool { return false },
		Secret: func(context.Context) (secrets.Shared, error) {
			if there.Load() {
				return shared, nil
			}
			return secrets.Shared{}, secrets.ErrUnavailable
		},
	}
	server, err := New(config)
	require.NoError(t, err)
	server.credentials.retry = tick
	r = &relay{Server: server, t: t, secret: shared}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	defer func() { cancel(); require.NoError(t, <-done) }()

	require.ErrorIs(t, server.Ready(ctx), errNoSecret)
	require.Equal(t, netip.AddrPort{}, server.TLSAddr())
	_, err = r.client("udp", r.login()).Allocate()
	require.ErrorContains(t, err, "401")

	there.Store(true)
	require.Eventually(t, func() bool { return server.Ready(ctx) == nil }, patience, tick)
	conn, err := r.client("udp", r.login()).Allocate()
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}

func TestBindingNeedsNoCredentials(t *testing.T) {
	r := startRelay(t)
	mapped, err := r.client("udp", login{}).SendBindingRequest()
	require.NoError(t, err)
	require.True(t, addrPort(mapped).Addr().IsLoopback())
}

func TestBadConfigurationIsRefused(t *testing.T) {
	valid := Config{
		Listen: "127.0.0.1:0", RelayIP: netip.MustParseAddr("127.0.0.1"), Realm: testRealm, Registry: prometheus.NewRegistry(),
		AllowPeer: func(netip.AddrPort) bool { return false },
		Secret:    func(context.Context) (secrets.Shared, error) { return secrets.Shared{}, errors.ErrUnsupported },
	}
	cases := map[string]struct {
		change func(*Config)
		says   string
	}{
		"ports reversed":  {func(c *Config) { c.MinPort, c.MaxPort = 5000, 4000 }, "5000 to 4000"},
		"negative limit":  {func(c *Config) { c.MaxAllocations = -1 }, "positive"},
		"no relay IP":     {func(c *Config) { c.RelayIP = netip.Addr{} }, "relay IP"},
		"any relay IP":    {func(c *Config) { c.RelayIP = netip.IPv4Unspecified() }, "relay IP"},
		"no realm":        {func(c *Config) { c.Realm = "" }, "realm"},
		"long realm":      {func(c *Config) { c.Realm = strings.Repeat("r", 128) }, "realm"},
		"no secret":       {func(c *Config) { c.Secret = nil }, "Secret"},
		"TLS without key": {func(c *Config) { c.ListenTLS = "127.0.0.1:0" }, "TLS"},
		"host name":       {func(c *Config) { c.Listen = "localhost:0" }, "IP:PORT"},
		"no port":         {func(c *Config) { c.Listen = "127.0.0.1" }, "IP:PORT"},
		"foreign address": {func(c *Config) { c.Listen = "192.0.2.1:0" }, "192.0.2.1"},
		"TLS host name":   {func(c *Config) { c.ListenTLS, c.TLS = "localhost:0", serverTLS(t) }, "IP:PORT"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			config := valid
			c.change(&config)
			_, err := New(config)
			require.ErrorContains(t, err, c.says)
		})
	}
}

func TestBusyPortAndTakenRegistryAreErrors(t *testing.T) {
	r := startRelay(t)
	config := r.config
	config.Listen = r.Addr().String()
	_, err := New(config)
	require.ErrorContains(t, err, r.Addr().String())

	config.Listen = "127.0.0.1:0"
	_, err = New(config)
	require.ErrorContains(t, err, "metrics")
}

func TestListensOnAllAddresses(t *testing.T) {
	address, err := parseListen(":3478")
	require.NoError(t, err)
	require.Equal(t, netip.MustParseAddrPort("[::]:3478"), address)

	r, peer := startRelay(t, func(c *Config, _ *limits) { c.Listen = ":0" }), echo(t)
	r.allow(peer.LocalAddr(), true)
	server := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), r.Addr().Port()).String()
	l := r.login()
	client, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: server, TURNServerAddr: server, Conn: r.dial("udp"), Username: l.username, Password: l.password, Realm: testRealm,
	})
	require.NoError(t, err)
	defer client.Close()
	require.NoError(t, client.Listen())
	conn, err := client.Allocate()
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	requireEcho(t, conn, peer.LocalAddr())
}
