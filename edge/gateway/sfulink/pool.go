// Package sfulink is a gateway's side of the control channels: one WebSocket over mutual TLS per SFU
// (docs/protocol.md, "Gateway and SFU").
//
// A Pool dials when a link is needed, keeps it alive, dials a dead SFU again until the link is no longer
// wanted, and says when a link is up, what arrives, and when the SFU counts as dead.
package sfulink

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

// Path and Subprotocol of a control channel.
const (
	Path        = "/v1/control"
	Subprotocol = "wardline.control.v1"
)

// Errors of a Pool.
var (
	// ErrDown says that the link is not up: nothing was sent.
	ErrDown = errors.New("control channel down")
	// ErrClosed says that the pool is closed.
	ErrClosed = errors.New("control channels closed")
	// ErrRefused wraps an SFU's refusal of a reservation.
	ErrRefused = errors.New("refused by the media server")
)

// Events is told about links. Calls for one link come one after the other, and must not block.
type Events interface {
	// LinkUp says that an SFU answers. The generation grows with each new channel: what was attached
	// over an older one has to be attached again.
	LinkUp(sfu string, generation uint64)
	// LinkDead says that the channel was lost, or never came up, and that the second dial failed too. It is said once:
	// dialing goes on, and LinkUp tells of its success.
	LinkDead(sfu string)
	// LinkFrame passes on a frame other than hello, heartbeat and answers to Reserve; of draining, State knows already.
	LinkFrame(sfu string, frame signaling.Frame)
}

// Config is what a Pool needs. Durations left zero are those of the protocol.
type Config struct {
	// ID and Version introduce the gateway.
	ID, Version string
	// TLS presents the gateway's certificate and accepts only SFUs.
	TLS *tls.Config
	// Resolve finds the HOST:PORT of an SFU's control channel.
	Resolve func(ctx context.Context, sfu string) (string, error)
	Events  Events
	Log     zerolog.Logger

	// Heartbeat is the longest own silence, Silence the longest of the peer.
	Heartbeat, Silence time.Duration
	// Dial bounds the first dial of an SFU, Redial the one dial after a loss; both include its hello.
	Dial, Redial time.Duration
}

func (c Config) withDefaults() Config {
	defaults := []struct {
		value    *time.Duration
		fallback time.Duration
	}{
		{&c.Heartbeat, signaling.HeartbeatEveryMs * time.Millisecond},
		{&c.Silence, signaling.SilenceMs * time.Millisecond},
		{&c.Dial, time.Second},
		{&c.Redial, 500 * time.Millisecond},
	}
	for _, d := range defaults {
		if *d.value <= 0 {
			*d.value = d.fallback
		}
	}
	return c
}

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
	// Draining is when the SFU said that it wants its encounters moved, zero if it does not.
	Draining time.Time
}

// Pool is a gateway's control channels.
type Pool struct {
	config Config
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	links    map[string]*link
	reserves map[reservation][]chan error
	// changed is closed and replaced whenever a link changes.
	changed chan struct{}
	closed  bool
}

// New returns a pool without links.
func New(config Config) *Pool {
	ctx, cancel := context.WithCancel(context.Background())
	return &Pool{
		config: config.withDefaults(), ctx: ctx, cancel: cancel,
		links: make(map[string]*link), reserves: make(map[reservation][]chan error), changed: make(chan struct{}),
	}
}

// Ensure starts a link to an SFU that has none, and has one that is dead dialed soon; repeated calls are cheap.
func (p *Pool) Ensure(sfu string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	l, ok := p.links[sfu]
	if !ok {
		l = newLink(p, sfu)
		p.links[sfu] = l
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
func (p *Pool) Prune(wanted func(sfu string) bool, after time.Duration) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for sfu, l := range p.links {
		switch {
		case wanted(sfu):
			l.wanted = now
		case now.Sub(l.wanted) >= after:
			p.config.Log.Info().Str("sfu", sfu).Msg("control channel no longer needed")
			l.cancel()
			delete(p.links, sfu)
			p.announce()
		}
	}
}

// announce wakes whoever waits for a link; the caller holds the lock.
func (p *Pool) announce() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// State returns where the link to an SFU stands.
func (p *Pool) State(sfu string) State {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l, ok := p.links[sfu]; ok {
		return l.state
	}
	return State{Phase: Idle}
}

// Load returns how busy an SFU says it is, as in signaling.Heartbeat; false if no channel is up or it has not said.
func (p *Pool) Load(sfu string) (float64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l, ok := p.links[sfu]
	if !ok || l.state.Phase != Up || !l.heard {
		return 0, false
	}
	return l.load, true
}

func (p *Pool) loaded(l *link, load float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.load, l.heard = load, true
}

func (p *Pool) drains(l *link, on bool) {
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
// cut, since an SFU that does not read cannot be told anything.
func (p *Pool) Send(sfu string, frame signaling.Frame) error {
	data, err := signaling.EncodeFrame(frame)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l, ok := p.links[sfu]
	if !ok || l.state.Phase != Up {
		return fmt.Errorf("%w: %s", ErrDown, sfu)
	}
	select {
	case l.queue <- data:
		return nil
	default:
		l.cut()
		return fmt.Errorf("%w: %s does not read", ErrDown, sfu)
	}
}

// Close ends all channels, without detaching anything, and waits until nothing runs.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.wg.Wait()
}
