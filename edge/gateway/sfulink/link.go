package sfulink

import (
	"context"
	"errors"
	"fmt"
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

// link is the channel to one SFU, dialed again when it breaks. The pool's lock guards its fields.
type link struct {
	pool    *Pool
	sfu     string
	state   State
	queue   chan []byte
	cut     context.CancelFunc
	running bool
}

// run dials, serves and redials until a redial failed or the pool is closed.
func (l *link) run() {
	p := l.pool
	defer l.ended()
	conn, err := l.dial(p.config.Dial)
	defer func() {
		if conn != nil { // dialed, but the pool was closed before it served
			_ = conn.CloseNow()
		}
	}()
	for flaps := 0; flaps < maxFlaps && p.ctx.Err() == nil; {
		if err != nil {
			p.config.Log.Warn().Err(err).Str("sfu", l.sfu).Msg("control channel lost, dialing once more")
			if conn, err = l.dial(p.config.Redial); err != nil {
				p.config.Log.Warn().Err(err).Str("sfu", l.sfu).Msg("media server does not answer")
				return
			}
		}
		since := time.Now()
		if err = l.serve(conn); time.Since(since) < stableAfter {
			flaps++
		} else {
			flaps = 0
		}
	}
}

// ended leaves the link dead, for Ensure to try again.
func (l *link) ended() {
	p := l.pool
	p.mu.Lock()
	l.running = false
	l.state.Phase = Dead
	p.announce()
	p.mu.Unlock()
	if p.ctx.Err() == nil {
		p.config.Events.LinkDead(l.sfu)
	}
}

// dial opens a channel and exchanges hellos within the timeout: a peer that accepts connections but
// says nothing is not there.
func (l *link) dial(timeout time.Duration) (*websocket.Conn, error) {
	p := l.pool
	ctx, cancel := context.WithTimeout(p.ctx, timeout)
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
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	queue := make(chan []byte, queueFrames)
	p.mu.Lock()
	l.queue, l.cut = queue, cancel
	l.state = State{Phase: Up, Generation: l.state.Generation + 1}
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
	case signaling.Hello, signaling.Heartbeat:
		return
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
