package control

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/wardline/wardline/core/signaling"
)

// Errors of a Pool.
var (
	// ErrDown says that the link is not up: nothing was sent.
	ErrDown = errors.New("control channel down")
	// errClosed says that the pool is closed.
	errClosed = errors.New("control channels closed")
)

// Events is told about a Pool's channels. Calls for one channel come one after the other, and must not block.
type Events interface {
	// LinkUp says that a peer answers. The generation grows with each new channel: what was said over an older one
	// may have to be said again.
	LinkUp(peer string, generation uint64)
	// LinkLost says that a channel that was up is no more.
	LinkLost(peer string)
	// LinkDead says that the channel was lost, or never came up, and that the second dial failed too. It is said once:
	// dialing goes on, and LinkUp tells of its success.
	LinkDead(peer string)
	// LinkFrame passes on a frame other than hello and heartbeat; of draining, State knows already.
	LinkFrame(peer string, frame signaling.Frame)
}

// PoolConfig is what a Pool needs. Durations left zero are those of the protocol.
type PoolConfig struct {
	// ID and Version introduce the gateway.
	ID, Version string
	// Kind is what the peers are, as logs and errors name them: "sfu" or "turn".
	Kind string
	// TLS presents the gateway's certificate and accepts only peers of the right role.
	TLS *tls.Config
	// Resolve finds the HOST:PORT of a peer's control channel.
	Resolve func(ctx context.Context, peer string) (string, error)
	Events  Events
	Log     zerolog.Logger
}

// dialWithin bounds the first dial of a peer, redialWithin the one dial after a loss; both include its hello.
const dialWithin, redialWithin = time.Second, 500 * time.Millisecond

// Phase is where a link stands.
type Phase string

// Phases of a link. Idle is one nobody asked for, Dialing is before the first channel and the redial after a loss,
// Dead lasts until a channel is up again.
const (
	Idle    Phase = "idle"
	Dialing Phase = "dialing"
	Up      Phase = "up"
	Dead    Phase = "dead"
)

// State is a link's phase and the generation of its newest channel, 0 if there never was one.
type State struct {
	Phase      Phase
	Generation uint64
	// Draining is when the peer said that it drains, zero if it does not.
	Draining time.Time
}

// Pool is a gateway's control channels to the peers of one kind. It dials when a channel is needed, keeps it alive,
// dials a dead peer again until the channel is no longer wanted, and says when one is up, what arrives, and when the
// peer counts as dead.
type Pool struct {
	config PoolConfig
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	links map[string]*outgoing
	// changed is closed and replaced whenever a link changes.
	changed chan struct{}
	closed  bool
}

// NewPool returns a pool without channels.
func NewPool(config PoolConfig) *Pool {
	ctx, cancel := context.WithCancel(context.Background())
	return &Pool{
		config: config, ctx: ctx, cancel: cancel,
		links: make(map[string]*outgoing), changed: make(chan struct{}),
	}
}

// Ensure starts a link to a peer that has none, and has one that is dead dialed soon; repeated calls are cheap.
func (p *Pool) Ensure(peer string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	l, ok := p.links[peer]
	if !ok {
		l = newOutgoing(p, peer)
		p.links[peer] = l
		p.wg.Go(l.run)
		return
	}
	l.wanted = time.Now()
	if l.state.Phase == Dead {
		select {
		case l.poke <- struct{}{}:
		default:
		}
	}
}

// Prune drops the links that nobody has wanted for the given time: a call notes which ones are wanted now.
func (p *Pool) Prune(wanted func(peer string) bool, after time.Duration) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for peer, l := range p.links {
		switch {
		case wanted(peer):
			l.wanted = now
		case now.Sub(l.wanted) >= after:
			p.config.Log.Info().Str(p.config.Kind, peer).Msg("control channel no longer needed")
			l.cancel()
			delete(p.links, peer)
			p.announce()
		}
	}
}

// announce wakes whoever waits for a link; the caller holds the lock.
func (p *Pool) announce() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// State returns where the link to a peer stands.
func (p *Pool) State(peer string) State {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l, ok := p.links[peer]; ok {
		return l.state
	}
	return State{Phase: Idle}
}

// Load returns how busy a peer says it is, as in signaling.Heartbeat; false if no channel is up or it has not said.
func (p *Pool) Load(peer string) (float64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l, ok := p.links[peer]
	if !ok || l.state.Phase != Up || !l.heard {
		return 0, false
	}
	return l.load, true
}

func (p *Pool) loaded(l *outgoing, load float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.load, l.heard = load, true
}

func (p *Pool) drains(l *outgoing, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !on:
		l.state.Draining = time.Time{}
	case l.state.Draining.IsZero():
		l.state.Draining = time.Now()
	}
}

// Links counts the links by phase.
func (p *Pool) Links() map[Phase]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	counts := make(map[Phase]int, len(p.links))
	for _, l := range p.links {
		counts[l.state.Phase]++
	}
	return counts
}

// Send queues a frame and never blocks. ErrDown if the link is not up; a link whose queue is full is
// cut, since a peer that does not read cannot be told anything.
func (p *Pool) Send(peer string, frame signaling.Frame) error {
	data, err := signaling.EncodeFrame(frame)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l, ok := p.links[peer]
	if !ok || l.state.Phase != Up {
		return fmt.Errorf("%w: %s", ErrDown, peer)
	}
	select {
	case l.queue <- data:
		return nil
	default:
		l.cut()
		return fmt.Errorf("%w: %s does not read", ErrDown, peer)
	}
}

// AwaitUp returns nil once the link is up, dialing if need be, ErrDown once an attempt to bring it up has failed. One
// known to be dead is ErrDown at once: there is no time to lose on it.
func (p *Pool) AwaitUp(ctx context.Context, peer string) error {
	p.Ensure(peer)
	for {
		up, trying, changed := p.progress(peer)
		switch {
		case up:
			return nil
		case !trying:
			return fmt.Errorf("%w: %s", ErrDown, peer)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("reach %s %s: %w", p.config.Kind, peer, ctx.Err())
		case <-p.ctx.Done():
			return errClosed
		}
	}
}

func (p *Pool) progress(peer string) (up, trying bool, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l, ok := p.links[peer]
	if !ok {
		return false, false, p.changed
	}
	return l.state.Phase == Up, l.state.Phase == Dialing, p.changed
}

// Close ends all channels, without detaching anything, and waits until nothing runs.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.wg.Wait()
}
