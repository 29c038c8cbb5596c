package sfulink

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

// Frames queued towards one SFU; more means that it does not read.
const queueFrames = 4096

// A channel that lived shorter than stableAfter was no success: after maxFlaps of them the SFU is dead.
const (
	stableAfter = 2 * time.Second
	maxFlaps    = 5
)

// A dead SFU is dialed again after redialAfter, then half as often each time, at least every redialAtMost.
const (
	redialAfter  = 250 * time.Millisecond
	redialAtMost = 2 * time.Second
)

// link is the channel to one SFU, kept up until it is dropped. The pool's lock guards its fields.
type link struct {
	pool   *Pool
	sfu    string
	ctx    context.Context //nolint:containedctx // the link's own lifetime
	cancel context.CancelFunc
	state  State
	// load is what the SFU said last over the channel that is up, heard whether it said anything.
	load  float64
	heard bool
	queue chan []byte
	cut   context.CancelFunc
	// wanted is when somebody needed the link last.
	wanted time.Time
	// poke ends a pause before the next dial.
	poke chan struct{}
}

func newLink(p *Pool, sfu string) *link {
	ctx, cancel := context.WithCancel(p.ctx)
	return &link{
		pool: p, sfu: sfu, ctx: ctx, cancel: cancel, state: State{Phase: Dialing}, wanted: time.Now(),
		poke: make(chan struct{}, 1),
	}
}

// run keeps the channel up until the link is dropped or the pool closed.
func (l *link) run() {
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
		// Half of it by chance, so that many gateways do not dial a returning SFU all at once.
		if !l.rest(pause/2 + rand.N(pause/2)) { //nolint:gosec // no secret
			return
		}
		pause = min(2*pause, redialAtMost)
	}
}

// rest waits for a while, or until somebody needs the link; false if the link is dropped.
func (l *link) rest(pause time.Duration) bool {
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
func (l *link) attempt() (stable bool) {
	p := l.pool
	conn, err := l.dial(p.config.Dial)
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
			p.config.Log.Warn().Err(err).Str("sfu", l.sfu).Msg("control channel lost, dialing once more")
			if conn, err = l.dial(p.config.Redial); err != nil {
				p.config.Log.Warn().Err(err).Str("sfu", l.sfu).Msg("media server does not answer")
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

func (l *link) dead() bool {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	return l.state.Phase == Dead
}

// died notes that the SFU counts as dead, and says so once.
func (l *link) died() {
	p := l.pool
	p.mu.Lock()
	news := l.state.Phase != Dead
	l.state.Phase = Dead
	p.announce()
	p.mu.Unlock()
	if news {
		p.config.Events.LinkDead(l.sfu)
	}
}

// dial opens a channel and exchanges hellos within the timeout: a peer that accepts connections but
// says nothing is not there.
func (l *link) dial(timeout time.Duration) (*websocket.Conn, error) {
	p := l.pool
	ctx, cancel := context.WithTimeout(l.ctx, timeout)
	defer cancel()
	address, err := p.config.Resolve(ctx, l.sfu)
	if err != nil {
		return nil, fmt.Errorf("find media server %s: %w", l.sfu, err)
	}
	// A transport of its own: the channel is one connection, nothing is to be pooled.
	transport := &http.Transport{TLSClientConfig: p.config.TLS.Clone()}
	//nolint:bodyclose // coder/websocket closes the body of a failed handshake and owns that of a good one
	conn, _, err := websocket.Dial(ctx, "wss://"+address+Path, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, Subprotocols: []string{Subprotocol},
	})
	if err != nil {
		return nil, fmt.Errorf("dial media server %s at %s: %w", l.sfu, address, err)
	}
	conn.SetReadLimit(signaling.MaxMessageBytes + 1024)
	if err := l.greet(ctx, conn); err != nil {
		_ = conn.CloseNow()
		return nil, err
	}
	return conn, nil
}

func (l *link) greet(ctx context.Context, conn *websocket.Conn) error {
	hello := signaling.Hello{ID: l.pool.config.ID, Version: l.pool.config.Version}
	data, err := signaling.EncodeFrame(signaling.Frame{Message: hello})
	if err != nil {
		return err
	}
	if err := conn.Write(ctx, websocket.MessageText, data); err != nil {
		return fmt.Errorf("greet media server %s: %w", l.sfu, err)
	}
	_, data, err = conn.Read(ctx)
	if err != nil {
		return fmt.Errorf("greeting of media server %s: %w", l.sfu, err)
	}
	frame, err := signaling.DecodeFrame(data)
	if err != nil {
		return fmt.Errorf("greeting of media server %s: %w", l.sfu, err)
	}
	answer, ok := frame.Message.(signaling.Hello)
	if !ok {
		return fmt.Errorf("greeting of media server %s: %s, must be hello", l.sfu, frame.Message.Type())
	}
	if answer.ID != l.sfu {
		return fmt.Errorf("greeting of media server %s: it calls itself %.64q", l.sfu, answer.ID)
	}
	return nil
}

// serve carries frames until the channel is lost, and returns why.
func (l *link) serve(conn *websocket.Conn) error {
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
	p.config.Log.Info().Str("sfu", l.sfu).Uint64("generation", generation).Msg("control channel up")
	p.config.Events.LinkUp(l.sfu, generation)

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return l.read(ctx, conn) })
	group.Go(func() error { return l.write(ctx, conn, queue) })
	err := group.Wait()
	p.mu.Lock()
	l.state.Phase = Dialing
	p.announce()
	p.mu.Unlock()
	_ = conn.CloseNow()
	p.lostReserves(l.sfu)
	return err
}

func (l *link) read(ctx context.Context, conn *websocket.Conn) error {
	for {
		data, err := readWithin(ctx, conn, l.pool.config.Silence)
		if err != nil {
			return err
		}
		frame, err := signaling.DecodeFrame(data)
		if errors.Is(err, signaling.ErrUnknownType) {
			continue // a newer SFU may say more
		}
		if err != nil {
			return fmt.Errorf("frame of media server %s: %w", l.sfu, err)
		}
		l.deliver(frame)
	}
}

func (l *link) deliver(frame signaling.Frame) {
	switch m := frame.Message.(type) {
	case signaling.Hello:
		return
	case signaling.Heartbeat:
		l.pool.loaded(l, m.Load)
		return
	case signaling.Draining:
		l.pool.drains(l, m.On)
	case signaling.Reserve:
		l.pool.reserved(l.sfu, m)
		return
	case signaling.Refused:
		if m.About == (signaling.Reserve{}).Type() {
			l.pool.refused(l.sfu, m)
			return
		}
	}
	l.pool.config.Events.LinkFrame(l.sfu, frame)
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

func (l *link) write(ctx context.Context, conn *websocket.Conn, queue <-chan []byte) error {
	heartbeat, err := signaling.EncodeFrame(signaling.Frame{Message: signaling.Heartbeat{}})
	if err != nil {
		return err
	}
	// Twice as often as allowed, so that a late timer is no silence.
	ticker := time.NewTicker(l.pool.config.Heartbeat / 2)
	defer ticker.Stop()
	for {
		data := heartbeat
		select {
		case data = <-queue:
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := writeWithin(ctx, conn, l.pool.config.Silence, data); err != nil {
			return err
		}
	}
}
