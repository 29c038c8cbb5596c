package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/placement"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/core/signaling/control"
	"github.com/wardline/wardline/edge/gateway/api"
	"github.com/wardline/wardline/edge/gateway/harden"
	"github.com/wardline/wardline/edge/gateway/neighbors"
	"github.com/wardline/wardline/edge/gateway/quality"
	"github.com/wardline/wardline/edge/gateway/sfulink"
	"github.com/wardline/wardline/edge/gateway/throttle"
	"github.com/wardline/wardline/edge/gateway/turnlink"
)

// stopWithin bounds an orderly end: what is not done by then is cut.
const stopWithin = 4 * time.Second

// Server is a gateway.
type Server struct {
	Config
	verifier *access.Verifier
	throttle *throttle.Limiter
	paces    paces
	graces   *graces
	lobby    *lobby
	noJoins  rate.Sometimes
	quality  *quality.Log
	relays   *relays
	peers    *peers
	fleet    *fleet
	links    *sfulink.Pool
	turns    *turnlink.Links
	placer   *placement.Placer
	metrics  *metrics
	http     *http.Server
	api      *api.Handler
	ready    atomic.Bool
	// internal answers gateways of other regions, others has what they answered; nil without Config.Internal.
	internal *http.Server
	others   *neighbors.Book

	// life ends when everything else has been told; wg waits for what runs until then.
	life    context.Context
	end     context.CancelFunc
	wg      sync.WaitGroup
	sockets sync.WaitGroup

	mu       sync.Mutex
	views    map[encounter.Key]*view
	owners   map[string]*view // by session
	expected map[string]int   // sessions on their way from the record to their view, and how often
	clients  map[*client]struct{}
	closing  bool
}

// New prepares a gateway. It takes the listener over only if it succeeds.
func New(config Config) (*Server, error) {
	config = config.withDefaults()
	if err := config.check(); err != nil {
		return nil, err
	}
	life, end := context.WithCancel(context.Background())
	s := &Server{
		Config: config, life: life, end: end,
		verifier: access.NewVerifier(config.Keeper, config.Tenants, time.Now),
		throttle: throttle.New(throttle.Config{}),
		paces:    newPaces(),
		graces:   newGraces(config.ResumeGrace),
		lobby:    newLobby(config.MaxUnjoinedPerAddress, maxUnjoined),
		noJoins:  rate.Sometimes{First: 10, Interval: time.Second},
		peers:    newPeers(config.ID, config.Region, config.PublicURL, time.Now),
		views:    make(map[encounter.Key]*view), owners: make(map[string]*view), expected: make(map[string]int),
		clients: make(map[*client]struct{}), fleet: newFleet(config.Catalog),
	}
	s.links = sfulink.New(control.PoolConfig{
		ID: config.ID, Version: config.Version, TLS: config.ControlTLS, Resolve: s.fleet.resolve,
		Log: config.Log,
	}, linkEvents{s})
	s.turns = turnlink.New(control.PoolConfig{
		ID: config.ID, Version: config.Version, TLS: config.RelayTLS,
		Log: config.Log,
	}, config.Region)
	s.relays = &relays{region: config.Region, standing: s.turns.Standing}
	s.placer = &placement.Placer{
		Catalog: s.fleet, Store: config.Store, Reserver: reserver{s.links}, Known: s.knownOf, Log: config.Log,
	}
	var err error
	if s.metrics, err = newMetrics(config.Registry, s); err != nil {
		end()
		return nil, fmt.Errorf("gateway metrics: %w", err)
	}
	s.quality = quality.NewLog(config.Registry, time.Now)
	if config.Internal != nil {
		s.others = neighbors.New(neighbors.Config{
			Region: config.Region, TLS: config.Internal.Client, Changed: s.reopenNames, Log: config.Log,
		})
		s.relays.others = s.others
		s.internal = harden.Server(config.Log, neighbors.Handler(config.Keeper, config.Log))
	}
	s.http = harden.Server(config.Log, harden.Wrap(config.Log, config.TLS != nil, s.peers.others, s.routes()))
	for _, server := range []*http.Server{s.http, s.internal} {
		if server != nil {
			server.ConnState = newConnections(config.MaxConnectionsPerAddress, maxConnections, func() {
				s.metrics.cut.WithLabelValues(cutIdle).Inc()
			}).follow
		}
	}
	return s, nil
}

// Addr returns the address of the listener.
func (s *Server) Addr() net.Addr { return s.Listener.Addr() }

// Ready reports whether the gateway serves. What it stands on has checks of its own.
func (s *Server) Ready(context.Context) error {
	if !s.ready.Load() {
		return errors.New("gateway is not serving")
	}
	return nil
}

// Run serves until ctx ends or the listener fails. Then everybody is told, their sessions are left for
// another gateway to resume, and nothing runs any more within 5 s.
func (s *Server) Run(ctx context.Context) error {
	s.relays.refresh(ctx, s.Keeper, s.Log)
	s.peers.load(ctx, s.Catalog)
	s.wg.Go(func() { s.relays.follow(s.life, s.Catalog, s.turns.SetRelays) })
	s.wg.Go(func() { s.fleet.follow(s.life, s.fleetChanged) })
	s.wg.Go(func() { s.every(turnlink.TendEvery, s.turns.Tend) })
	s.wg.Go(func() { s.every(pruneEvery, s.prune) })
	s.wg.Go(func() { s.peers.follow(s.life, s.Catalog, s.tellGateways) })
	s.wg.Go(func() { s.relays.keepFresh(s.life, s.Keeper, s.Log) })
	s.wg.Go(s.sweepUntilEnd)
	s.wg.Go(s.sweepKeysUntilEnd)
	failed := make(chan error, 1)
	go func() { failed <- s.serve() }()
	if s.internal != nil {
		s.wg.Go(func() { s.others.Follow(s.life, s.Catalog) })
		s.wg.Go(s.serveInternal)
	}
	s.ready.Store(true)
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	s.ready.Store(false)
	s.stop(context.WithoutCancel(ctx))
	if err == nil {
		err = <-failed
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("gateway: %w", err)
}

func (s *Server) serve() error {
	listener := s.Listener
	if s.TLS != nil {
		config := s.TLS.Clone()
		config.NextProtos = []string{"http/1.1"} // a WebSocket needs a connection of its own
		listener = tls.NewListener(listener, config)
	}
	return s.http.Serve(listener)
}

// serveInternal answers gateways of other regions until the end. Losing that listener ends no visit.
func (s *Server) serveInternal() {
	config := s.Internal.Server.Clone()
	config.NextProtos = []string{"http/1.1"}
	if err := s.internal.Serve(tls.NewListener(s.Internal.Listener, config)); !errors.Is(err, http.ErrServerClosed) {
		s.Log.Error().Err(err).Msg("gateways of other regions are not answered any more")
	}
}

// stop ends everything in the order in which it is needed.
func (s *Server) stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	s.mu.Lock()
	s.closing = true
	views, clients := make([]*view, 0, len(s.views)), make([]*client, 0, len(s.clients))
	for _, v := range s.views {
		views = append(views, v)
	}
	for c := range s.clients {
		clients = append(clients, c)
	}
	s.mu.Unlock()
	var writing sync.WaitGroup
	for _, v := range views {
		writing.Go(func() { v.handOver(ctx) })
	}
	for _, c := range clients {
		c.bye(signaling.Bye{Code: signaling.ByeShutdown, Retry: true})
	}
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close()
	}
	writing.Wait()
	s.sockets.Wait() // each hung up after the linger
	s.end()
	if s.internal != nil {
		_ = s.internal.Close() // who asked asks another gateway
	}
	s.links.Close()
	s.turns.Close()
	s.wg.Wait()
}

// every calls do at an interval until the gateway ends.
func (s *Server) every(interval time.Duration, do func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			do()
		case <-s.life.Done():
			return
		}
	}
}

// acquire returns the view of an encounter, made if there is none. Each acquire needs a release.
func (s *Server) acquire(key encounter.Key) *view {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.views[key]
	if v == nil {
		v = newView(s, key)
		s.views[key] = v
	}
	v.refs++
	return v
}

// retain is acquire for a view in hand.
func (s *Server) retain(v *view) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v.refs++
}

// release ends a view that nobody needs any more.
func (s *Server) release(v *view) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v.refs--
	if v.refs > 0 {
		return
	}
	v.cancel()
	if s.views[v.key] == v {
		delete(s.views, v.key)
	}
}

// own says whose frames go to which view; disown ends it.
func (s *Server) own(session string, v *view) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owners[session] = v
}

func (s *Server) disown(session string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.owners, session)
}

func (s *Server) ownerOf(session string) *view {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owners[session]
}

// expect announces a session that will be in the record before it is in its view, so that it does not look
// orphaned in between; arrived ends that.
func (s *Server) expect(session string) (arrived func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expected[session]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.expected[session]--
		if s.expected[session] == 0 {
			delete(s.expected, session)
		}
	}
}

// absent reports whether nobody here speaks with a session, or is about to.
func (s *Server) absent(session string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expected[session] == 0 && s.owners[session] == nil
}

func (s *Server) allViews() []*view {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.views))
}

// stepAll lets every view decide again after a control channel changed.
func (s *Server) stepAll() {
	for _, v := range s.allViews() {
		v.wake()
	}
}
