package turn

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/core/signaling/control"
)

// gateway is the other end of a relay's control channel.
type gateway struct {
	*control.Pool
	up     chan uint64
	lost   chan struct{}
	frames chan signaling.Message
}

func (g *gateway) LinkUp(_ string, generation uint64)    { g.up <- generation }
func (g *gateway) LinkLost(string)                       { g.lost <- struct{}{} }
func (g *gateway) LinkDead(string)                       {}
func (g *gateway) LinkFrame(_ string, f signaling.Frame) { g.frames <- f.Message }
func (g *gateway) say(t *testing.T, m signaling.Message) {
	t.Helper()
	require.NoError(t, g.Send("turn-1", signaling.Frame{Message: m}))
}
func (g *gateway) hear(t *testing.T) signaling.Message { t.Helper(); return receive(t, g.frames) }

func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		require.FailNow(t, "nothing came")
		panic("unreachable")
	}
}

// controlledRelay is a relay with a control channel, and the keys to it.
type controlledRelay struct {
	*relay
	keeper *secrets.Local
}

func startControlled(t *testing.T, options ...option) controlledRelay {
	t.Helper()
	keeper, err := secrets.OpenLocal(filepath.Join(t.TempDir(), "keys"))
	require.NoError(t, err)
	certificates, err := keeper.Certificates(t.Context(), secrets.TURNRole, "127.0.0.1")
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	withControl := func(c *Config, _ *limits) {
		c.ID, c.Version, c.Control, c.ControlTLS = "turn-1", "test", listener, certificates.Server(secrets.GatewayRole)
	}
	return controlledRelay{startRelay(t, append(options, withControl)...), keeper}
}

// gatewayAs connects with a certificate of a role.
func (r controlledRelay) gatewayAs(t *testing.T, role string) *gateway {
	t.Helper()
	certificates, err := r.keeper.Certificates(t.Context(), role)
	require.NoError(t, err)
	g := &gateway{up: make(chan uint64, 16), lost: make(chan struct{}, 64), frames: make(chan signaling.Message, 64)}
	g.Pool = control.NewPool(control.PoolConfig{
		ID: "gw-1", Version: "test", Kind: "turn", TLS: certificates.Client(secrets.TURNRole), Events: g, Log: zerolog.Nop(),
		Resolve: func(context.Context, string) (string, error) { return r.config.Control.Addr().String(), nil },
	})
	t.Cleanup(g.Close)
	g.Ensure("turn-1")
	return g
}

func TestGatewayRevokesOverTheControlChannel(t *testing.T) {
	r := startControlled(t)
	conn, err := r.client("udp", r.loginOf("visit.p1.s1")).Allocate()
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	g := r.gatewayAs(t, secrets.GatewayRole)
	receive(t, g.up)
	until := time.Now().Add(time.Hour).Unix()
	g.say(t, signaling.Revoke{Revocations: []signaling.Revocation{
		{Credential: "visit.p1", Until: until}, {Credential: "other", Until: until},
	}})
	require.Equal(t, signaling.Revoked{Credentials: []string{"visit.p1", "other"}, Ended: 1}, g.hear(t))
	require.Zero(t, r.Allocations())
	g.say(t, signaling.Revoke{Revocations: []signaling.Revocation{{Credential: "visit.p1", Until: until}}})
	require.Equal(t, signaling.Revoked{Credentials: []string{"visit.p1"}}, g.hear(t))
	require.NotContains(t, r.log.String(), "visit.p1", "who was revoked is nobody's business")
}

func TestOnlyGatewaysCommandARelay(t *testing.T) {
	r := startControlled(t)
	for _, role := range []string{secrets.SFURole, secrets.TURNRole} {
		g := r.gatewayAs(t, role)
		require.Eventually(t, func() bool { return g.State("turn-1").Phase == control.Dead }, patience, tick, role)
		require.Empty(t, g.up)
	}
	require.Zero(t, r.control.Links())
	receive(t, r.gatewayAs(t, secrets.GatewayRole).up)
}

func TestGatewaysHearOfDrainingAtOnce(t *testing.T) {
	r := startControlled(t)
	early := r.gatewayAs(t, secrets.GatewayRole)
	receive(t, early.up)
	r.SetDraining(true)
	require.Equal(t, signaling.Draining{On: true}, early.hear(t))
	late := r.gatewayAs(t, secrets.GatewayRole)
	require.Equal(t, signaling.Draining{On: true}, late.hear(t))
	r.SetDraining(false)
	require.Equal(t, signaling.Draining{On: false}, early.hear(t))
}

func TestAnnouncedAddressesAreAnsweredByThoseAllowed(t *testing.T) {
	known := netip.MustParseAddrPort("192.0.2.1:7200")
	r := startControlled(t, func(c *Config, _ *limits) {
		c.Announced = func(asked []netip.AddrPort) (allowed []netip.AddrPort) {
			for _, address := range asked {
				if address == known {
					allowed = append(allowed, address)
				}
			}
			return allowed
		}
	})
	g := r.gatewayAs(t, secrets.GatewayRole)
	receive(t, g.up)
	g.say(t, signaling.Allow{Addresses: []string{"192.0.2.2:7200", known.String()}})
	require.Equal(t, signaling.Allowed{Addresses: []string{known.String()}}, g.hear(t))
}

func TestARelayWithoutAnAllowSetAllowsNothing(t *testing.T) {
	r := startControlled(t)
	g := r.gatewayAs(t, secrets.GatewayRole)
	receive(t, g.up)
	g.say(t, signaling.Allow{Addresses: []string{"192.0.2.1:7200"}})
	require.Equal(t, signaling.Allowed{Addresses: []string{}}, g.hear(t))
}

func TestFramesThatAreNotForARelayAreCounted(t *testing.T) {
	r := startControlled(t)
	g := r.gatewayAs(t, secrets.GatewayRole)
	receive(t, g.up)
	g.say(t, signaling.Detach{Route: signaling.Route{Leg: 1}})
	g.say(t, signaling.Allow{})
	require.Equal(t, signaling.Allowed{Addresses: []string{}}, g.hear(t), "and change nothing")
	require.InDelta(t, 1, testutil.ToFloat64(r.metrics.control[2]), 0)
}

func TestGarbageEndsTheChannel(t *testing.T) {
	r := startControlled(t)
	certificates, err := r.keeper.Certificates(t.Context(), secrets.GatewayRole)
	require.NoError(t, err)
	conn := r.rawChannel(t, certificates)
	data, err := signaling.EncodeFrame(signaling.Frame{Message: signaling.Hello{ID: "gw-1"}})
	require.NoError(t, err)
	require.NoError(t, conn.Write(t.Context(), websocket.MessageText, data))
	for range 100 { // until the relay has had enough
		_ = conn.Write(t.Context(), websocket.MessageText, []byte(`{"message":{"type":"revoke","revocations":[{"credential":"*"}]}}`))
	}
	ended := func() bool { return testutil.ToFloat64(r.metrics.control[2]) >= 17 && r.control.Links() == 0 }
	require.Eventually(t, ended, patience, tick)
	require.InDelta(t, 17, testutil.ToFloat64(r.metrics.control[2]), 0)
	require.Zero(t, r.relays.countRevoked())
}

func (r controlledRelay) rawChannel(t *testing.T, certificates secrets.CertificateSource) *websocket.Conn {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: certificates.Client(secrets.TURNRole)}}
	t.Cleanup(client.CloseIdleConnections)
	conn, response, err := websocket.Dial(t.Context(), "wss://"+r.config.Control.Addr().String()+control.Path, &websocket.DialOptions{
		HTTPClient: client, Subprotocols: []string{control.Subprotocol},
	})
	require.NoError(t, err)
	if response.Body != nil {
		_ = response.Body.Close()
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	return conn
}

func TestControlWithoutMutualTLSIsRefused(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	config := Config{
		Listen: "127.0.0.1:0", RelayIP: netip.MustParseAddr("127.0.0.1"), Realm: testRealm, Control: listener,
		Secret:    func(context.Context) (secrets.Shared, error) { return secrets.Shared{}, nil },
		AllowPeer: func(netip.AddrPort) bool { return false }, Registry: prometheus.NewRegistry(), ControlTLS: serverTLS(t), ID: "turn-1",
	}
	_, err = New(config)
	require.ErrorContains(t, err, "mutual TLS")
}
