package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/wardline/wardline/core/signaling"
)

// subprotocol and signalPath are those of docs/protocol.md.
const (
	subprotocol = "wardline.v1"
	signalPath  = "/v1/signal"
)

// WebSocket close codes of the protocol.
const (
	closedToken     = websocket.StatusCode(4401)
	closedRefused   = websocket.StatusCode(4403)
	closedThrottled = websocket.StatusCode(4429)
)

// socket is one connection to a gateway, from the first packet to its end. It belongs to the participant's loop.
type socket struct {
	url    string
	hangUp context.CancelFunc
	conn   *websocket.Conn // nil until it is open
	begun  time.Time

	welcomed  bool
	refusal   string // the code of an error before the welcome
	pings     uint32
	pingEvery time.Duration
	pingAt    time.Time
	pongDue   time.Time // zero when no ping is unanswered
}

// overdue reports how a silent gateway counts at this time, "" while there is still time.
func (s *socket) overdue(now time.Time) string {
	switch {
	case !s.welcomed && now.Sub(s.begun) >= dialTimeout+welcomeTimeout:
		return LossTimeout
	case !s.pongDue.IsZero() && !now.Before(s.pongDue):
		return LossSilence
	}
	return ""
}

// newHTTP makes a client of gateways. It knows no proxy: media does not pass one either.
func newHTTP(config Config) *http.Client {
	dialer := &net.Dialer{Timeout: dialTimeout}
	return &http.Client{Transport: &http.Transport{
		DialContext: dialer.DialContext, TLSClientConfig: config.TLS, TLSHandshakeTimeout: dialTimeout,
	}}
}

// dial connects to a gateway.
func dial(ctx context.Context, client *http.Client, base string) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, response, err := websocket.Dial(ctx, base+signalPath, &websocket.DialOptions{
		HTTPClient: client, Subprotocols: []string{subprotocol},
	})
	if response != nil && response.Body != nil {
		_ = response.Body.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	conn.SetReadLimit(signaling.MaxMessageBytes)
	return conn, nil
}

// write sends one message.
func write(ctx context.Context, conn *websocket.Conn, m signaling.Message) error {
	data, err := signaling.Encode(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return conn.Write(ctx, websocket.MessageText, data)
}

// read passes messages on until the connection ends. What a newer gateway may say and this participant does not
// understand goes to skipped.
func read(ctx context.Context, conn *websocket.Conn, receive func(signaling.Message), skipped func(error)) error {
	for {
		_, data, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		m, err := signaling.Decode(data)
		if err != nil {
			skipped(err)
			continue
		}
		receive(m)
	}
}

// lossOf names the error that ended a connection, or kept it from being made.
func lossOf(err error, opened bool) string {
	var timeout net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout(),
		strings.Contains(err.Error(), "TLS handshake timeout"):
		return LossTimeout
	case opened:
		return LossClosed
	default:
		return LossUnreachable
	}
}
