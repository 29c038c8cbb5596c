package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/coder/websocket"
	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/signaling"
)

// What a client may send: far above what a page needs, far below what hurts.
const (
	messagesPerSecond = 50
	messagesAtOnce    = 200
	// A message too many, or one that makes no sense, is a strike.
	strikesPerSecond = 1
	strikesAtOnce    = 20
	// Large messages are rare: a full offer is some 30 KiB. What a client may send in bytes keeps one client from
	// filling the channel to its SFU, which it shares with everybody there.
	bytesPerSecond = 128 << 10
	bytesAtOnce    = 2 << 20
	// maxJoinBytes bounds messages before the join: a token and a round-trip time for each region.
	maxJoinBytes = 32 << 10
	// maxCandidates bounds the candidates of one peer connection (docs/protocol.md).
	maxCandidates = 64
)

// Codes the WebSocket closes with (docs/protocol.md).
const (
	closeToken     websocket.StatusCode = 4401
	closeRefused   websocket.StatusCode = 4403
	closeNoJoin    websocket.StatusCode = 4408
	closeThrottled websocket.StatusCode = 4429
)

// lingerFor is how long a client may take to read its last message.
const lingerFor = time.Second

// errCandidates says that a peer connection has had all its candidates.
var errCandidates = fmt.Errorf("%w: more than %d candidates for one peer connection", errRate, maxCandidates)

// client is one browser's socket.
type client struct {
	server  *Server
	conn    *websocket.Conn
	out     *outbox
	log     zerolog.Logger
	remote  netip.Addr
	rate    *rate.Limiter
	bytes   *rate.Limiter
	strikes *rate.Limiter
	// leaveLobby is called once the token is good.
	leaveLobby func()
	// Set by the join, before anybody else sees the client.
	session string
	grant   access.Grant
	view    *view
	// rtt is what the join said of the round-trip time to each region, in milliseconds: it orders the client's own gateways.
	rtt map[string]float64
	// knownLeg is the newest leg of a session that the join resumed.
	knownLeg uint32
	// gateways are those the client was told of; the view's lock guards them.
	gateways []signaling.Gateway
	// hangUp breaks the socket: reads and writes end at once.
	hangUp context.CancelFunc
}

func newClient(s *Server, conn *websocket.Conn, remote netip.Addr, hangUp context.CancelFunc) *client {
	return &client{
		hangUp: hangUp, server: s, conn: conn, out: newOutbox(), log: s.Log, remote: remote,
		rate:    rate.NewLimiter(messagesPerSecond, messagesAtOnce),
		bytes:   rate.NewLimiter(bytesPerSecond, bytesAtOnce),
		strikes: rate.NewLimiter(strikesPerSecond, strikesAtOnce),
	}
}

// calm bounds the pings and pongs of a socket, which never become messages, as if they were: too many cut it.
func (s *Server) calm(cut func()) func() bool {
	limit := rate.NewLimiter(messagesPerSecond, messagesAtOnce)
	return func() bool {
		if limit.Allow() {
			return true
		}
		s.metrics.cut.WithLabelValues(codeThrottled).Inc()
		cut()
		return false
	}
}

// send queues a message and never blocks; a client with too many unread ones is cut.
func (c *client) send(m signaling.Message) {
	data, err := signaling.Encode(m)
	if err != nil {
		c.log.Error().Err(err).Str("type", m.Type()).Msg("message not sent")
		return
	}
	c.push(data, m.Type())
}

// push is send for a message that is encoded already.
func (c *client) push(data []byte, kind string) {
	c.server.metrics.toClient.WithLabelValues(kind).Inc()
	if c.out.push(data) {
		return
	}
	c.server.metrics.cut.WithLabelValues(signaling.ByeSlow).Inc()
	c.server.remark(personOf(c.grant), func() { c.log.Warn().Msg("client reads too slowly, cut") })
	c.finish(signaling.Bye{Code: signaling.ByeSlow, Retry: true}, true, websocket.StatusNormalClosure)
}

// bye ends the socket after what is queued and the bye are out.
func (c *client) bye(b signaling.Bye) { c.finish(b, false, websocket.StatusNormalClosure) }

// refuse ends the socket after an error.
func (c *client) refuse(e signaling.Error, code websocket.StatusCode) { c.finish(e, false, code) }

func (c *client) finish(last signaling.Message, drop bool, code websocket.StatusCode) {
	data, err := signaling.Encode(last)
	if err != nil {
		data = nil
	}
	if !c.out.finish(data, drop, code, last.Type()) {
		return
	}
	// A client that does not read its last message does not keep the socket open either.
	time.AfterFunc(c.server.Linger, c.hangUp)
}

// write sends what is queued until the outbox ends or the socket breaks, and closes the socket.
func (c *client) write(ctx context.Context) {
	defer func() { _ = c.conn.CloseNow() }()
	for {
		data, ended := c.out.pop()
		switch {
		case ended:
			code, reason := c.out.status()
			_ = c.conn.Close(code, reason)
			return
		case data == nil:
			select {
			case <-c.out.ready:
			case <-ctx.Done():
				return
			}
			continue
		}
		if err := c.writeOne(ctx, data); err != nil {
			return
		}
	}
}

func (c *client) writeOne(ctx context.Context, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return c.conn.Write(ctx, websocket.MessageText, data)
}

// drain reads what the client still says until its close frame, or until it is hung up.
func (c *client) drain(ctx context.Context) {
	for {
		if _, _, err := c.conn.Read(ctx); err != nil {
			return
		}
	}
}

// readOne returns the next message that makes sense. It answers those that do not, and fails when there
// were too many of them, nothing came for too long, or the socket is gone.
func (c *client) readOne(ctx context.Context, silence time.Duration) (signaling.Message, error) {
	for {
		m, err := c.receive(ctx, silence)
		if err == nil {
			c.server.metrics.fromClient.WithLabelValues(m.Type()).Inc()
			return m, nil
		}
		if !errors.Is(err, errMessage) {
			return nil, err
		}
		c.server.metrics.fromClient.WithLabelValues("refused").Inc()
		if err := c.strike(err, ""); err != nil {
			return nil, err
		}
	}
}

// errMessage marks what is wrong with one message, not with the socket; errRate and errStrikes say that
// there were too many, of any kind or wrong ones.
var (
	errMessage = errors.New("message refused")
	errRate    = errors.New("too many messages")
	errStrikes = errors.New("too many refused messages")
)

func (c *client) receive(ctx context.Context, silence time.Duration) (signaling.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	kind, data, err := c.conn.Read(ctx)
	switch {
	case err != nil:
		return nil, err
	case !c.rate.Allow(), !c.bytes.AllowN(time.Now(), len(data)):
		return nil, fmt.Errorf("%w: %w", errMessage, errRate)
	case kind != websocket.MessageText:
		return nil, fmt.Errorf("%w: %w: messages are text", errMessage, signaling.ErrMalformed)
	}
	m, err := signaling.Decode(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMessage, err)
	}
	return m, nil
}

// strike answers a message with an error. Too many end the socket: the returned error is then errStrikes.
func (c *client) strike(cause error, about string) error {
	problem := signaling.Error{Code: codeOf(cause), Message: explain(cause), About: about}
	if c.strikes.Allow() {
		c.send(problem)
		return nil
	}
	c.server.metrics.cut.WithLabelValues(problem.Code).Inc()
	c.server.remark(personOf(c.grant), func() {
		c.log.Warn().Str("code", problem.Code).Stringer("remote", c.remote).Msg("client sends garbage, cut")
	})
	c.refuse(problem, websocket.StatusPolicyViolation)
	return errStrikes
}
