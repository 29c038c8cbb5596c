// Package turn is the STUN/TURN relay (RFC 8656) for participants behind strict firewalls.
//
// It is a closed relay: datagrams go only to and from peers that Config.AllowPeer accepts. pion/turn is the
// protocol engine; this package puts a guard between each socket and the engine (credentials of a
// rotating secret, peers, limits, answers) and a gate behind it (relay sockets that drop what the guard cannot
// see, since a TURN permission covers all ports of an address).
package turn

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/pion/turn/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/core/signaling/control"
	"github.com/wardline/wardline/edge/doors"
)

// Defaults of Config. The port range is that of RFC 6335's dynamic ports, as RFC 8656 recommends.
const (
	defaultMinPort               = 49152
	defaultMaxPort               = 65535
	defaultMaxAllocations        = 4096
	defaultMaxAllocationsPerUser = 64
)

// maxDatagram is the largest message the engine takes from a client, in bytes: an Ethernet frame and some.
const maxDatagram = 1600

// shutdownLimit bounds how long Run takes to return after its context ended.
const shutdownLimit = 4 * time.Second

// Config describes a relay. A zero limit or port means its default.
type Config struct {
	// Listen is the HOST:PORT for UDP and TCP, HOST an IP address or empty for all; port 0 picks a free one.
	Listen string
	// ListenTLS is the HOST:PORT for TLS over TCP; empty for none.
	ListenTLS string
	// TLS is used on ListenTLS and needed with it.
	TLS *tls.Config
	// RelayIP is the address that relayed media leaves from, as clients and peers see it.
	RelayIP netip.Addr
	// MinPort and MaxPort bound the ports of relayed addresses, both inclusive.
	MinPort, MaxPort uint16
	// Secret returns the shared secret that credentials are made with; see secrets.TURNCredential.
	Secret func(ctx context.Context) (secrets.Shared, error)
	// AllowPeer says whether datagrams may go to and come from a peer. With port 0 it says whether any port of
	// the address is allowed, which is what a TURN permission is about. It is called for each datagram from
	// several goroutines.
	AllowPeer func(netip.AddrPort) bool
	// ID and Version introduce the relay to gateways.
	ID, Version string
	// Control takes gateways' control channels, nil for none; Run closes it.
	Control net.Listener
	// ControlTLS presents the relay on Control and accepts gateways only; needed with it.
	ControlTLS *tls.Config
	// Announced takes media servers' addresses that a gateway announced and returns those AllowPeer accepts from now
	// on; nil accepts none. It must not block.
	Announced func([]netip.AddrPort) []netip.AddrPort
	// Realm is presented to clients (RFC 8489, section 9.2), 1 to 127 bytes.
	Realm string
	// MaxAllocations limits how many allocations exist at a time.
	MaxAllocations int
	// MaxAllocationsPerUser limits how many of them one credential id has, and all of one participant's together to four
	// times as many. A browser makes one for each relay URL, network interface and peer connection.
	MaxAllocationsPerUser int
	// Registry gets the metrics wardline_turn_*.
	Registry prometheus.Registerer
	Log      zerolog.Logger
}

// limits are the times and sizes that only tests change.
type limits struct {
	// authentication is how long a connection may take to show valid credentials, TLS handshake included.
	authentication time.Duration
	// idle ends an authenticated connection that sends nothing: twice the lifetime of a permission, so
	// nobody with media is ever that silent.
	idle time.Duration
	// write ends a connection whose client does not read: media that waits this long is worthless.
	write time.Duration
	// pending and pendingPerNetwork limit connections without valid credentials.
	pending, pendingPerNetwork int
	// secretRefresh is the time between looks at the shared secret, secretRetry that after a miss or failure.
	secretRefresh, secretRetry time.Duration
}

func defaultLimits() limits {
	return limits{
		authentication: 10 * time.Second, idle: 11 * time.Minute, write: 5 * time.Second,
		pending: 1024, pendingPerNetwork: 64,
		secretRefresh: 15 * time.Second, secretRetry: time.Second,
	}
}

// Server is a relay. New makes one, Run serves it.
type Server struct {
	config      Config
	limits      limits
	sockets     sockets
	metrics     *metrics
	credentials *credentials
	relays      *relays
	doors       *doors.Doors
	control     *control.Server
	draining    atomic.Bool
	// misdirected counts frames of gateways that are not for relays.
	misdirected atomic.Uint64
}

// New checks the configuration and binds the sockets. Only Run releases them, at the latest when its
// context ends.
func New(config Config) (*Server, error) {
	config.complete()
	if err := config.validate(); err != nil {
		return nil, err
	}
	s := &Server{config: config, limits: defaultLimits()}
	s.control = control.NewServer(signaling.Hello{ID: config.ID, Version: config.Version}, controlled{s}, config.Log)
	s.metrics = newMetrics(s)
	s.credentials = &credentials{fetch: config.Secret, realm: config.Realm, now: time.Now, retry: s.limits.secretRetry}
	s.doors = doors.New(s.doorLimits())
	var err error
	if s.sockets, err = bind(config.Listen, config.ListenTLS, config.Log); err != nil {
		return nil, err
	}
	s.relays = newRelays(config, s.sockets.udpAddr().Addr(), s.metrics, &s.draining)
	if err := errors.Join(s.metrics.register(config.Registry), config.Registry.Register(s.sockets.udp.Collector("turn"))); err != nil {
		s.sockets.close()
		return nil, fmt.Errorf("metrics of the relay: %w", err)
	}
	return s, nil
}

// doorLimits leave as much room for connections that wait for an allocation as for those that have one; of one participant there
// need not be more than they may have allocations.
func (s *Server) doorLimits() doors.Limits {
	return doors.Limits{
		Total: 2 * s.config.MaxAllocations, PerOwner: sessionsAtOnce * s.config.MaxAllocationsPerUser,
		Pending: s.limits.pending, PendingPerNetwork: s.limits.pendingPerNetwork,
	}
}

// complete fills in the defaults.
func (c *Config) complete() {
	c.MinPort = cmp.Or(c.MinPort, defaultMinPort)
	c.MaxPort = cmp.Or(c.MaxPort, defaultMaxPort)
	c.MaxAllocations = cmp.Or(c.MaxAllocations, defaultMaxAllocations)
	c.MaxAllocationsPerUser = cmp.Or(c.MaxAllocationsPerUser, defaultMaxAllocationsPerUser)
	c.RelayIP = c.RelayIP.Unmap()
}

// validate refuses what makes no sense.
func (c *Config) validate() error {
	switch {
	case c.MinPort > c.MaxPort:
		return fmt.Errorf("relay ports %d to %d: the first must not be above the last", c.MinPort, c.MaxPort)
	case c.MaxAllocations < 0 || c.MaxAllocationsPerUser < 0:
		return fmt.Errorf("relay limits %d and %d a user: must be positive", c.MaxAllocations, c.MaxAllocationsPerUser)
	case !c.RelayIP.IsValid() || c.RelayIP.IsUnspecified():
		return fmt.Errorf("relay IP %q: must be an address peers can reach", c.RelayIP)
	case c.Realm == "" || len(c.Realm) > 127:
		return fmt.Errorf("realm of %d bytes: must have 1 to 127", len(c.Realm))
	case c.Secret == nil || c.AllowPeer == nil || c.Registry == nil:
		return errors.New("relay without Secret, AllowPeer or Registry")
	case c.ListenTLS != "" && c.TLS == nil:
		return fmt.Errorf("relay on %s without a TLS configuration", c.ListenTLS)
	case c.Control != nil:
		return c.validateControl()
	}
	return nil
}

func (c *Config) validateControl() error {
	switch {
	case c.ControlTLS == nil || c.ControlTLS.ClientAuth != tls.RequireAndVerifyClientCert:
		return fmt.Errorf("relay control on %s without mutual TLS", c.Control.Addr())
	case !signaling.ValidID(c.ID):
		return fmt.Errorf("relay id %.70q: must be 1 to 64 letters, digits, '.', '_' or '-'", c.ID)
	}
	return nil
}

// Addr returns the bound address for UDP and TCP.
func (s *Server) Addr() netip.AddrPort { return s.sockets.udpAddr() }

// TLSAddr returns the bound address for TLS, the zero value if there is none.
func (s *Server) TLSAddr() netip.AddrPort { return s.sockets.tlsAddr() }

// Allocations returns how many allocations exist.
func (s *Server) Allocations() int { return s.relays.count() }

// Ready returns why the relay should be given no new clients, nil if it should.
func (s *Server) Ready(context.Context) error {
	if s.draining.Load() {
		return errDraining
	}
	if s.relays.count() >= s.config.MaxAllocations {
		return errFull
	}
	return s.credentials.ready()
}

// Run relays until ctx ends, then closes everything within 5 s and returns nil. It runs once.
func (s *Server) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { s.credentials.keepFresh(ctx, s.limits.secretRefresh); return nil })
	for _, shard := range s.sockets.udp.Shards() {
		g, p := newGuard(s, "udp", nil), newPort(s.sockets.udp, shard)
		g.outbox = p.outbox
		group.Go(func() error { return s.serve(ctx, p, g) })
	}
	group.Go(func() error { return s.serveStreams(ctx, s.sockets.tcp, nil, "tcp") })
	if s.sockets.tls != nil {
		group.Go(func() error { return s.serveStreams(ctx, s.sockets.tls, s.config.TLS, "tls") })
	}

	if s.config.Control != nil {
		listener := tls.NewListener(s.config.Control, s.config.ControlTLS)
		group.Go(func() error { return s.control.Serve(ctx, listener) })
	}

	finished := make(chan error, 1)
	go func() {
		err := group.Wait()
		s.relays.wait()
		s.credentials.looks.Wait()
		finished <- err
	}()
	<-ctx.Done()
	s.sockets.close()
	select {
	case err := <-finished:
		return err
	case <-time.After(shutdownLimit):
		return fmt.Errorf("relay did not close within %v: %d allocations left", shutdownLimit, s.relays.count())
	}
}

// serve runs the engine on one socket until reading from it fails, which closing it makes happen.
func (s *Server) serve(ctx context.Context, conn net.PacketConn, g *guard) error {
	guarded := &guardedConn{PacketConn: conn, guard: g, closed: make(chan struct{})}
	_, err := turn.NewServer(turn.ServerConfig{
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn: guarded, RelayAddressGenerator: g, PermissionHandler: g.permit,
		}},
		Realm:         s.config.Realm,
		AuthHandler:   g.authenticate,
		QuotaHandler:  g.withinQuota,
		LoggerFactory: engineLog{s.config.Log},
		InboundMTU:    maxDatagram,
	})
	if err != nil {
		_ = conn.Close()
		return fmt.Errorf("TURN engine on %s: %w", conn.LocalAddr(), err)
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	<-guarded.closed
	_ = conn.Close()
	return nil
}
