package control

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"

	"github.com/wardline/wardline/core/signaling"
)

// Frames queued towards one peer; more means that it does not read.
const queueFrames = 4096

// A channel that lived shorter than stableAfter was no success: after maxFlaps of them the peer is dead.
const (
	stableAfter = 2 * time.Second
	maxFlaps    = 5
)

// A dead peer is dialed again after redialAfter, then half as often each time, at least every redialAtMost.
const (
	redialAfter  = 250 * time.Millisecond
	redialAtMost = 2 * time.Second
)

// outgoing is the channel to one peer, kept up until it is dropped. The pool's lock guards its fields.
type outgoing struct {
	pool   *Pool
	peer   string
	ctx    context.Context //nolint:containedctx // the link's own lifetime
	cancel context.CancelFunc
	state  State
	// load is what the peer said last over the channel that is up, heard whether it said anything.
	load  float64
	heard bool
	queue chan []byte
	cut   context.CancelFunc
	// wanted is when somebody needed the link last.
	wanted time.Time
	// poke ends a pause before the next dial.
	poke chan struct{}
}

func newOutgoing(p *Pool, peer string) *outgoing {
	ctx, cancel := context.WithCancel(p.ctx)
	return &outgoing{
		pool: p, peer: peer, ctx: ctx, cancel: cancel, state: State{Phase: Dialing}, wanted: time.Now(),
		poke: make(chan struct{}, 1),
	}
}

// run keeps the channel up until the link is dropped or the pool closed.
func (l *outgoing) run() {
	defer l.cancel()
	pause := redialAfter
	for {
		if l.attempt() {
			pause = redialAfter
		}
		if l.ctx.Err() != nil {
			return
		}
		l.died()
		// Half of it by chance, so that many gateways do not dial a returning peer all at once.
		if !l.rest(pause/2 + rand.N(pause/2)) { //nolint:gosec // no secret
			return
		}
		pause = min(2*pause, redialAtMost)
	}
}

// rest waits for a while, or until somebody needs the link; false if the link is dropped.
func (l *outgoing) rest(pause time.Duration) bool {
	select {
	case <-time.After(redialAfter / 2): // the least, whoever pokes
	case <-l.ctx.Done():
		return false
	}
	select {
	case <-l.poke:
	case <-time.After(pause - redialAfter/2):
	case <-l.ctx.Done():
		return false
	}
	return true
}

// attempt dials and serves until a redial failed or the channel flaps. It reports whether a channel was stable.
func (l *outgoing) attempt() (stable bool) {
	p := l.pool
	conn, err := l.dial(dialWithin)
	if err != nil && l.dead() {
		return false // it was, and is
	}
	defer func() {
		if conn != nil { // dialed, but the link was dropped before it served
			_ = conn.CloseNow()
		}
	}()
	for flaps := 0; flaps < maxFlaps && l.ctx.Err() == nil; {
		if err != nil {
			p.config.Log.Warn().Err(err).Str(p.config.Kind, l.peer).Msg("control channel lost, dialing once more")
			if conn, err = l.dial(redialWithin); err != nil {
				p.config.Log.Warn().Err(err).Str(p.config.Kind, l.peer).Msg("peer does not answer")
				return stable
			}
		}
		since := time.Now()
		if err = l.serve(conn); time.Since(since) < stableAfter {
			flaps++
		} else {
			flaps, stable = 0, true
		}
	}
	return stable
}

func (l *outgoing) dead() bool {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	return l.state.Phase == Dead
}

// died notes that the peer counts as dead, and says so once.
func (l *outgoing) died() {
	p := l.pool
	p.mu.Lock()
	news := l.state.Phase != Dead
	l.state.Phase = Dead
	p.announce()
	p.mu.Unlock()
	if news {
		p.config.Events.LinkDead(l.peer)
	}
}

// dial opens a channel and exchanges hellos within the timeout: a peer that accepts connections but
// says nothing is not there.
func (l *outgoing) dial(timeout time.Duration) (*websocket.Conn, error) {
	p := l.pool
	ctx, cancel := context.WithTimeout(l.ctx, timeout)
	defer cancel()
	address, err := p.config.Resolve(ctx, l.peer)
	if err != nil {
		return nil, fmt.Errorf("find %s %s: %w", p.config.Kind, l.peer, err)
	}
	// A transport of its own: the channel is one connection, nothing is to be pooled.
	transport := &http.Transport{TLSClientConfig: p.config.TLS.Clone()}
	//nolint:bodyclose // coder/websocket closes the body of a failed handshake and owns that of a good one
	conn, _, err := websocket.Dial(ctx, "wss://"+address+Path, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, Subprotocols: []string{Subprotocol},
	})
	if err != nil {
		return nil, fmt.Errorf("dial %s %s at %s: %w", p.config.Kind, l.peer, address, err)
	}
	conn.SetReadLimit(signaling.MaxMessageBytes + 1024)
	if err := l.greet(ctx, conn); err != nil {
		_ = conn.CloseNow()
		return nil, err
	}
	return conn, nil
}

func (l *outgoing) greet(ctx context.Context, conn *websocket.Conn) error {
	hello := signaling.Hello{ID: l.pool.config.ID, Version: l.pool.config.Version}
	data, err := signaling.EncodeFrame(signaling.Frame{Message: hello})
	if err != nil {
		return err
	}
	if err := conn.Write(ctx, websocket.MessageText, data); err != nil {
		return fmt.Errorf("greet %s: %w", l.peer, err)
	}
	_, data, err = conn.Read(ctx)
	if err != nil {
		return fmt.Errorf("greeting of %s: %w", l.peer, err)
	}
	frame, err := signaling.DecodeFrame(data)
	if err != nil {
		return fmt.Errorf("greeting of %s: %w", l.peer, err)
	}
	answer, ok := frame.Message.(signaling.Hello)
	if !ok {
		return fmt.Errorf("greeting of %s: %s, must be hello", l.peer, frame.Message.Type())
	}
	if answer.ID != l.peer {
		return fmt.Errorf("greeting of %s: it calls itself %.64q", l.peer, answer.ID)
	}
	return nil
}

// serve carries frames until the channel is lost, and returns why.
func (l *outgoing) serve(conn *websocket.Conn) error {
	p := l.pool
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	queue := make(chan []byte, queueFrames)
	p.mu.Lock()
	l.queue, l.cut = queue, cancel
	l.state = State{Phase: Up, Generation: l.state.Generation + 1}
	l.load, l.heard = 0, false
	generation := l.state.Generation
	p.announce()
	p.mu.Unlock()
	p.config.Log.Info().Str(p.config.Kind, l.peer).Uint64("generation", generation).Msg("control channel up")
	p.config.Events.LinkUp(l.peer, generation)

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return l.read(ctx, conn) })
	group.Go(func() error { return l.write(ctx, conn, queue) })
	err := group.Wait()
	p.mu.Lock()
	l.state.Phase = Dialing
	p.announce()
	p.mu.Unlock()
	_ = conn.CloseNow()
	p.config.Events.LinkLost(l.peer)
	return err
}

func (l *outgoing) read(ctx context.Context, conn *websocket.Conn) error {
	for {
		data, err := readWithin(ctx, conn, silence)
		if err != nil {
			return err
		}
		frame, err := signaling.DecodeFrame(data)
		if errors.Is(err, signaling.ErrUnknownType) {
			continue // a newer peer may say more
		}
		if err != nil {
			return fmt.Errorf("frame of %s: %w", l.peer, err)
		}
		l.deliver(frame)
	}
}

func (l *outgoing) deliver(frame signaling.Frame) {
	switch m := frame.Message.(type) {
	case signaling.Hello:
		return
	case signaling.Heartbeat:
		l.pool.loaded(l, m.Load)
		return
	case signaling.Draining:
		l.pool.drains(l, m.On)
	}
	l.pool.config.Events.LinkFrame(l.peer, frame)
}

func readWithin(ctx context.Context, conn *websocket.Conn, limit time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_, data, err := conn.Read(ctx)
	return data, err
}

func writeWithin(ctx context.Context, conn *websocket.Conn, limit time.Duration, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return conn.Write(ctx, websocket.MessageText, data)
}

func (l *outgoing) write(ctx context.Context, conn *websocket.Conn, queue <-chan []byte) error {
	heartbeat, err := signaling.EncodeFrame(signaling.Frame{Message: signaling.Heartbeat{}})
	if err != nil {
		return err
	}
	ticker := time.NewTicker(beatEvery(signaling.GatewayHeartbeatEveryMs * time.Millisecond))
	defer ticker.Stop()
	for {
		data := heartbeat
		select {
		case data = <-queue:
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := writeWithin(ctx, conn, silence, data); err != nil {
			return err
		}
	}
}
