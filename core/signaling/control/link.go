package control

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/rs/zerolog"

	"github.com/wardline/wardline/core/signaling"
)

// How many frames, and bytes of them, may wait for a slow gateway before its link is cut.
const (
	queueLength = 4096
	queueBytes  = 16 << 20
)

var (
	errNoHello = errors.New("first frame was not hello")
	errFrame   = errors.New("frame not understood")
	errGarbage = errors.New("too many frames that make no sense")
)

// Link is one gateway's control channel.
type Link struct {
	conn   *websocket.Conn
	hangUp func() // closes the connection under conn
	queue  chan []byte
	queued atomic.Int64 // bytes in queue
	peer   atomic.Value // string
	load   func() float64
	log    zerolog.Logger

	ctx    context.Context //nolint:containedctx // the lifetime of the connection itself, which websocket calls take
	cancel context.CancelFunc

	finishing chan struct{}
	finished  sync.Once
}

func newLink(conn *websocket.Conn, hangUp func(), load func() float64, log zerolog.Logger) *Link {
	ctx, cancel := context.WithCancel(context.Background())
	return &Link{
		conn: conn, hangUp: hangUp, load: load, log: log, ctx: ctx, cancel: cancel,
		queue:     make(chan []byte, queueLength),
		finishing: make(chan struct{}),
	}
}

// Peer is the service id of the gateway, empty before it introduced itself.
func (l *Link) Peer() string {
	peer, _ := l.peer.Load().(string)
	return peer
}

func (l *Link) setPeer(id string) { l.peer.Store(id) }

// Send queues a frame and never blocks: a gateway that does not read fast enough is cut, and comes back
// on a new link. A frame that nobody would accept is left out.
func (l *Link) Send(frame signaling.Frame) {
	data, err := signaling.EncodeFrame(frame)
	if err != nil {
		l.log.Error().Str("gateway", l.Peer()).Str("session", frame.Session).Err(err).Msg("frame not sent")
		return
	}
	if l.queued.Add(int64(len(data))) > queueBytes {
		l.cut()
		return
	}
	select {
	case l.queue <- data:
	default:
		l.cut()
	}
}

// cut ends the link at once.
func (l *Link) cut() { l.cancel() }

// finish ends the link after what is queued has been sent.
func (l *Link) finish() { l.finished.Do(func() { close(l.finishing) }) }

// receive reads one frame. An error that wraps errFrame concerns that frame only.
func (l *Link) receive(timeout time.Duration) (signaling.Frame, error) {
	ctx, cancel := context.WithTimeout(l.ctx, timeout)
	defer cancel()
	kind, data, err := l.conn.Read(ctx)
	if err != nil {
		return signaling.Frame{}, fmt.Errorf("control channel: %w", err)
	}
	if kind != websocket.MessageText {
		return signaling.Frame{}, fmt.Errorf("%w: binary", errFrame)
	}
	frame, err := signaling.DecodeFrame(data)
	if err != nil {
		return signaling.Frame{}, fmt.Errorf("%w: %w", errFrame, err)
	}
	return frame, nil
}

// write sends queued frames, and heartbeats, until the link ends.
func (l *Link) write() {
	defer l.cut()
	beat := time.NewTicker(beatEvery(heartbeatEvery))
	defer beat.Stop()
	for {
		var err error
		select {
		case <-l.ctx.Done():
			return
		case <-l.finishing:
			l.flush()
			l.part()
			return
		case data := <-l.queue:
			err = l.sendQueued(data, silence)
		case <-beat.C:
			err = l.heartbeat()
		}
		if err != nil {
			return
		}
	}
}

// beatEvery is a little sooner than promised, so that a late timer is no silence. Four in a row have to get lost for one.
func beatEvery(promised time.Duration) time.Duration { return promised * 4 / 5 }

func (l *Link) heartbeat() error {
	data, err := signaling.EncodeFrame(signaling.Frame{Message: signaling.Heartbeat{Load: l.load()}})
	if err != nil {
		return err
	}
	return l.send(data, silence)
}

func (l *Link) flush() {
	deadline := time.Now().Add(flushTimeout)
	for time.Now().Before(deadline) {
		select {
		case data := <-l.queue:
			if l.sendQueued(data, time.Until(deadline)) != nil {
				return
			}
		default:
			return
		}
	}
}

// part closes the channel with a handshake: closed with something unread, TCP would reset it and lose what was
// flushed.
func (l *Link) part() {
	defer time.AfterFunc(flushTimeout, l.hangUp).Stop() // the handshake itself can take longer than a shutdown may
	_ = l.conn.Close(websocket.StatusGoingAway, "shutting down")
}

func (l *Link) sendQueued(data []byte, timeout time.Duration) error {
	l.queued.Add(-int64(len(data)))
	return l.send(data, timeout)
}

func (l *Link) send(data []byte, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(l.ctx, timeout)
	defer cancel()
	return l.conn.Write(ctx, websocket.MessageText, data)
}
