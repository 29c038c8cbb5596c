package sfu

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/core/signaling/control"
)

const (
	// stopWithin bounds the shutdown.
	stopWithin = 5 * time.Second
)

// Server is one media server.
type Server struct {
	cfg      Config
	sockets  *sockets
	apis     *apis
	control  *control.Server
	metrics  *metrics
	capacity *capacity
	started  time.Time
	sources  atomic.Uint64 // last id given to a received stream
	running  atomic.Bool
	beat     *beat
	ticks    atomic.Uint64

	// goroutines are those of peer connections; they end when the connections do.
	goroutines sync.WaitGroup

	mu    sync.Mutex // never held while a room's lock is waited for
	rooms map[signaling.EncounterRef]*room
	legs  map[legKey]*leg
}

type legKey struct {
	session string
	leg     uint32
}

// New binds the media sockets; Run serves. A Server that is not run must be given to Run with an ended
// context, to close them.
func New(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("sfu: %w", err)
	}
	s := &Server{
		cfg: cfg, started: time.Now(), beat: newBeat(),
		capacity: newCapacity(cfg.Capacity, cfg.ReserveFor),
		rooms:    make(map[signaling.EncounterRef]*room), legs: make(map[legKey]*leg),
	}
	s.control = control.NewServer(signaling.Hello{ID: cfg.ID, Version: cfg.Version}, s, cfg.Log)
	var err error
	if s.metrics, err = newMetrics(cfg.Registry, s); err != nil {
		return nil, fmt.Errorf("sfu: %w", err)
	}
	if s.sockets, err = listenMedia(cfg, s.beat.awake); err != nil {
		return nil, fmt.Errorf("sfu: %w", err)
	}
	if err = s.sockets.register(cfg.Registry); err != nil {
		return nil, errors.Join(fmt.Errorf("sfu: %w", err), s.sockets.close())
	}
	if s.apis, err = newAPIs(s.sockets, cfg.DeadAfter, cfg.Log); err != nil {
		return nil, errors.Join(fmt.Errorf("sfu: %w", err), s.sockets.close())
	}
	return s, nil
}

// Run serves until ctx ends, then tells the gateways, closes everything and returns within 5 s.
func (s *Server) Run(ctx context.Context) error {
	s.running.Store(true)
	defer s.running.Store(false)
	served := make(chan error, 1)
	controlCtx, stopControl := context.WithCancel(context.WithoutCancel(ctx))
	defer stopControl()
	listener := tls.NewListener(s.cfg.Control, s.cfg.ControlTLS)
	go func() { served <- s.control.Serve(controlCtx, listener) }()
	s.cfg.Log.Info().Str("media", s.sockets.port.String()).Str("control", s.ControlAddr()).Msg("media server ready")
	tickCtx, stopTick := context.WithCancel(ctx)
	ticking := s.tick(tickCtx)
	var err error
	select {
	case err = <-served:
		stopTick()
		<-ticking
	case <-ticking:
		stopTick()
		s.shutdownRooms() // while there are links to tell it on
		stopControl()
		err = <-served
	}
	s.shutdownRooms() // what came in between
	return errors.Join(err, s.stop())
}

func (s *Server) shutdownRooms() {
	for _, r := range s.allRooms() {
		r.shutdown()
	}
}

// tick keeps the rooms going until ctx ends; the channel closes then.
func (s *Server) tick(ctx context.Context) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.beat.run(ctx, func(now time.Time) {
			for _, r := range s.allRooms() {
				r.tick(now)
				if r.forgettable(now) {
					s.forget(r)
				}
			}
			s.ticks.Add(1)
		})
	}()
	return done
}

// stop waits for the peer connections to close, and closes the sockets.
func (s *Server) stop() error {
	closed := make(chan struct{})
	go func() {
		s.goroutines.Wait()
		close(closed)
	}()
	var late error
	select {
	case <-closed:
	case <-time.After(stopWithin - time.Second):
		late = errors.New("peer connections did not close in time")
	}
	return errors.Join(late, s.sockets.close())
}

// retire closes a peer connection in the background, which can take long and wants locks that callers hold.
func (s *Server) retire(pc *webrtc.PeerConnection) {
	s.goroutines.Go(func() {
		if err := pc.GracefulClose(); err != nil {
			s.cfg.Log.Debug().Err(err).Msg("peer connection closed with an error")
		}
	})
}

// MediaAddr is the address of the media socket, UDP and TCP.
func (s *Server) MediaAddr() netip.AddrPort { return s.sockets.port }

// MediaAddrs lists the announced media addresses, each IP:PORT: where relays may send.
func (s *Server) MediaAddrs() []string {
	addresses := make([]string, 0, len(s.sockets.advertised))
	for _, address := range s.sockets.advertised {
		addresses = append(addresses, netip.AddrPortFrom(address, s.sockets.port.Port()).String())
	}
	return addresses
}

// ControlAddr is the HOST:PORT of the control channel.
func (s *Server) ControlAddr() string { return s.cfg.Control.Addr().String() }

// Progress counts how often all rooms were looked after, some ten times a second: it stays the same if one of them hangs.
func (s *Server) Progress() uint64 { return s.ticks.Load() }

// Load is the participants as a share of the capacity, above 1 when overloaded.
func (s *Server) Load() float64 { return s.capacity.load() }

// Ready reports whether new encounters are welcome.
func (s *Server) Ready(context.Context) error {
	switch {
	case !s.running.Load():
		return errors.New("not running")
	case s.capacity.isDraining():
		return errDraining
	}
	return nil
}

// room finds an encounter's room, or opens it.
func (s *Server) room(ref signaling.EncounterRef) *room {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.rooms[ref]
	if !ok {
		r = newRoom(s, ref, time.Now())
		s.rooms[ref] = r
	}
	return r
}

// inRoom runs f under the lock of an encounter's room.
func (s *Server) inRoom(ref signaling.EncounterRef, f func(*room)) {
	for {
		r := s.room(ref)
		r.mu.Lock()
		if !r.dead {
			f(r)
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		s.forget(r)
	}
}

func (s *Server) forget(r *room) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rooms[r.ref] == r {
		delete(s.rooms, r.ref)
	}
}

func (s *Server) allRooms() []*room {
	s.mu.Lock()
	defer s.mu.Unlock()
	rooms := make([]*room, 0, len(s.rooms))
	for _, r := range s.rooms {
		rooms = append(rooms, r)
	}
	return rooms
}

// addLeg makes a leg known by its session and number. It reports false if those are taken: two gateways
// can choose the same session, for two encounters.
func (s *Server) addLeg(l *leg) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := legKey{l.session, l.route.Leg}
	if s.legs[key] != nil {
		return false
	}
	s.legs[key] = l
	return true
}

// leg finds a leg, nil if there is none.
func (s *Server) leg(session string, number uint32) *leg {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.legs[legKey{session, number}]
}

func (s *Server) removeLeg(l *leg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.legs, legKey{l.session, l.route.Leg})
}

func (s *Server) countLegs() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.legs)
}

func (s *Server) countRooms() int { return s.capacity.encounters() }

var _ control.Handler = (*Server)(nil)

// Lost implements control.Handler.
func (s *Server) Lost(link *control.Link) {
	now := time.Now()
	for _, r := range s.allRooms() {
		r.lost(link, now)
	}
}
