package turn

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wardline/wardline/core/revocation"
)

// Errors of readFrame.
var (
	errNotTURN  = errors.New("neither STUN nor ChannelData")
	errTooLarge = errors.New("message too large")
)

const (
	stunHeader        = 20
	stunMagicCookie   = 0x2112A442
	channelDataHeader = 4
)

// readFrame reads one STUN message or ChannelData with its padding into p (RFC 8656, section 12.5: over TCP
// both have a multiple of four bytes). It fails with errNotTURN as soon as the header cannot be either.
func readFrame(r *bufio.Reader, p []byte) (int, error) {
	header, err := r.Peek(channelDataHeader)
	if err != nil {
		return 0, err
	}
	length := int(binary.BigEndian.Uint16(header[2:]))
	var size int
	switch header[0] >> 6 {
	case 0:
		if header, err = r.Peek(8); err != nil {
			return 0, err
		}
		if length%4 != 0 || binary.BigEndian.Uint32(header[4:]) != stunMagicCookie {
			return 0, errNotTURN
		}
		size = stunHeader + length
	case 1:
		size = channelDataHeader + (length+3)/4*4
	default:
		return 0, errNotTURN
	}
	if size >= len(p) {
		return 0, fmt.Errorf("%w: %d bytes, at most %d", errTooLarge, size, len(p)-1)
	}
	return io.ReadFull(r, p[:size])
}

// streamConn is a TCP or TLS connection as a packet connection, a message a packet.
type streamConn struct {
	net.Conn          // TLS, or the same as raw
	raw      net.Conn // closing it never blocks, unlike TLS which says goodbye first
	reader   *bufio.Reader
	limits   limits
	opened   time.Time
	// authenticated is set once valid credentials were shown.
	authenticated atomic.Bool
}

// ReadFrom returns the next message. Until credentials were shown all of them share one deadline.
func (c *streamConn) ReadFrom(p []byte) (int, net.Addr, error) {
	deadline := c.opened.Add(c.limits.authentication)
	if c.authenticated.Load() {
		deadline = time.Now().Add(c.limits.idle)
	}
	if err := c.SetReadDeadline(deadline); err != nil {
		return 0, nil, err
	}
	n, err := readFrame(c.reader, p)
	return n, c.RemoteAddr(), err
}

// WriteTo sends one message; the address is the client's. A client that does not read is cut.
func (c *streamConn) WriteTo(p []byte, _ net.Addr) (int, error) {
	err := c.SetWriteDeadline(time.Now().Add(c.limits.write))
	if err != nil {
		return 0, err
	}
	n, err := c.Write(p)
	if err != nil {
		_ = c.Close()
	}
	return n, err
}

// Close ends the connection without waiting for the client.
func (c *streamConn) Close() error { return c.raw.Close() }

// acceptRetry paces accepting while the system has no descriptors left.
const acceptRetry = 50 * time.Millisecond

// serveStreams accepts connections until the listener is closed, and returns when all of them ended.
func (s *Server) serveStreams(ctx context.Context, listener net.Listener, config *tls.Config, transport string) error {
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		raw, err := listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			s.config.Log.Warn().Err(err).Str("transport", transport).Msg("relay cannot accept connections")
			select {
			case <-ctx.Done():
			case <-time.After(acceptRetry):
			}
			continue
		}
		connections.Go(func() { s.serveStream(ctx, raw, config, transport) })
	}
}

func (s *Server) serveStream(ctx context.Context, raw net.Conn, config *tls.Config, transport string) {
	defer func() { _ = raw.Close() }()
	door, ok := s.doors.Enter(addrPort(raw.RemoteAddr()).Addr())
	if !ok {
		s.metrics.refusedConnections.WithLabelValues(transport).Inc()
		return
	}
	defer door.Leave()
	connections := s.metrics.connections.WithLabelValues(transport)
	connections.Inc()
	defer connections.Dec()
	defer context.AfterFunc(ctx, func() { _ = raw.Close() })()

	conn := &streamConn{Conn: raw, raw: raw, limits: s.limits, opened: time.Now()}
	if config != nil {
		secured := tls.Server(raw, config)
		handshake, cancel := context.WithTimeout(ctx, s.limits.authentication)
		defer cancel()
		if err := secured.HandshakeContext(handshake); err != nil {
			s.metrics.handshakeFailures.Inc()
			return
		}
		conn.Conn = secured
	}
	conn.reader = bufio.NewReaderSize(conn.Conn, 2*maxDatagram)
	g := newGuard(s, transport, func(user string) bool {
		if !door.Settle(revocation.Holder(user)) {
			s.metrics.refusedConnections.WithLabelValues(transport).Inc()
			_ = raw.Close()
			return false
		}
		conn.authenticated.Store(true)
		return true
	})
	g.hangUp = func() { _ = raw.Close() }
	g.outbox = func(netip.AddrPort) outbox { return &streamOutbox{conn: conn} }
	if err := s.serve(ctx, conn, g); err != nil {
		s.config.Log.Error().Err(err).Str("transport", transport).Msg("relay cannot serve a connection")
	}
}
