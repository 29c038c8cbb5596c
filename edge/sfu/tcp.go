package sfu

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/pion/ice/v4"
	"github.com/rs/zerolog"

	"github.com/wardline/wardline/edge/dtlssrtp"
	"github.com/wardline/wardline/edge/udp"
)

// tcpMux lets a connection find its session by its ICE user name fragment alone, whichever of this
// machine's addresses it came in on: behind address translation none of them is an announced one.
type tcpMux struct{ inner *ice.TCPMuxDefault }

// Sizes of the TCP send queue of one client, and of the packets waiting to be read from it.
const (
	tcpWriteBuffer = 1 << 20
	tcpReadPackets = 64
)

func newTCPMux(listener net.Listener, log zerolog.Logger) *tcpMux {
	return &tcpMux{inner: ice.NewTCPMuxDefault(ice.TCPMuxParams{
		Listener:        newClientListener(listener, log),
		Logger:          pionLog{log}.NewLogger("tcp"),
		ReadBufferSize:  tcpReadPackets,
		WriteBufferSize: tcpWriteBuffer,
	})}
}

// Close closes the port and all connections.
func (m *tcpMux) Close() error { return m.inner.Close() }

// tcpView is the tcpMux as the ICE agents of one connection see it: media goes past them, to the connection's
// transport. It implements ice.TCPMux.
type tcpView struct {
	*tcpMux
	transport *transport

	mu   sync.Mutex
	last net.PacketConn
}

// GetConnByUfrag implements ice.TCPMux.
func (v *tcpView) GetConnByUfrag(ufrag string, isIPv6 bool, _ net.IP) (net.PacketConn, error) {
	conn, err := v.inner.GetConnByUfrag(ufrag, isIPv6, anonymous)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.last = conn
	return &tcpConn{PacketConn: conn, transport: v.transport, out: v.transport.port.NewBatch()}, nil
}

// current is the connection of the newest agent, nil if there is none.
func (v *tcpView) current() net.PacketConn {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.last
}

// RemoveConnByUfrag implements ice.TCPMux.
func (v *tcpView) RemoveConnByUfrag(ufrag string) { v.inner.RemoveConnByUfrag(ufrag) }

// Close implements ice.TCPMux: agents close what they got of it.
func (v *tcpView) Close() error { return nil }

// tcpConn takes media out of what an agent reads.
type tcpConn struct {
	net.PacketConn
	transport *transport

	reading sync.Mutex
	out     *udp.Batch
	packet  [1]udp.Datagram
}

// ReadFrom implements net.PacketConn.
func (c *tcpConn) ReadFrom(into []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.PacketConn.ReadFrom(into)
		if err != nil || !dtlssrtp.IsMedia(into[:n]) {
			return n, from, err
		}
		c.reading.Lock()
		c.packet[0].Payload = into[:n:n]
		c.transport.Receive(c.packet[:], c.out)
		c.out.Flush()
		c.reading.Unlock()
	}
}

// anonymous stands for every local address.
var anonymous = net.IPv4zero

// clientListener accepts clients whose local address is anonymous.
type clientListener struct {
	net.Listener
	log zerolog.Logger

	mu     sync.Mutex
	open   map[*clientConn]struct{}
	closed bool
}

func newClientListener(listener net.Listener, log zerolog.Logger) *clientListener {
	return &clientListener{Listener: listener, log: log, open: make(map[*clientConn]struct{})}
}

// acceptRetry paces accepting while the system has no descriptors left.
const acceptRetry = 50 * time.Millisecond

// Accept fails only when the listener is closed: pion gives up the port at the first error.
func (l *clientListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil, err
		case err != nil:
			l.log.Warn().Err(err).Msg("media port cannot accept connections")
			time.Sleep(acceptRetry)
		default:
			return l.admit(conn)
		}
	}
}

func (l *clientListener) admit(conn net.Conn) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	c := &clientConn{Conn: conn, listener: l}
	l.open[c] = struct{}{}
	return c, nil
}

// Close closes the connections as well: pion waits for those that have said nothing yet.
func (l *clientListener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for c := range l.open {
		_ = c.Conn.Close()
	}
	return l.Listener.Close()
}

type clientConn struct {
	net.Conn
	listener *clientListener
}

func (c *clientConn) LocalAddr() net.Addr {
	if local, ok := c.Conn.LocalAddr().(*net.TCPAddr); ok {
		return &net.TCPAddr{IP: anonymous, Port: local.Port}
	}
	return c.Conn.LocalAddr()
}

func (c *clientConn) Close() error {
	c.listener.mu.Lock()
	delete(c.listener.open, c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

var _ ice.TCPMux = (*tcpView)(nil)
