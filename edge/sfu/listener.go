package sfu

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/wardline/wardline/edge/doors"
)

// Limits of what a client may do over TCP before one of its connectivity checks was answered, as only one who knows the password
// gets: until then pion keeps what comes, for whoever it names.
const (
	// settleWithin is how long that may take: an answer of the client may still be on its way to us.
	settleWithin = 10 * time.Second
	// maxUnsettled is how many bytes may come: some dozens of checks.
	maxUnsettled = 8 << 10
)

// connectionLimits are those of the TCP port. Where UDP is shut out, everybody of a hospital may come from one address at once.
func connectionLimits(capacity int) doors.Limits {
	const perParticipant = 8 // of two peer connections, over some networks
	limits := doors.Limits{Pending: 4096, PendingPerNetwork: 512, PerOwner: 16}
	limits.Total = limits.Pending + perParticipant*int(overload*float64(capacity))
	return limits
}

// clientListener accepts clients whose local address is anonymous.
type clientListener struct {
	net.Listener
	log          zerolog.Logger
	doors        *doors.Doors
	settleWithin time.Duration
	refused      atomic.Uint64

	mu     sync.Mutex
	open   map[string]*clientConn // by remote address
	closed bool
}

func newClientListener(listener net.Listener, limits doors.Limits, log zerolog.Logger) *clientListener {
	return &clientListener{
		Listener: listener, log: log, doors: doors.New(limits), settleWithin: settleWithin, open: make(map[string]*clientConn),
	}
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
			if c := l.admit(conn); c != nil {
				return c, nil
			}
			_ = conn.Close()
		}
	}
}

// admit takes a connection in, nil if there are too many.
func (l *clientListener) admit(conn net.Conn) *clientConn {
	remote, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return nil
	}
	door, ok := l.doors.Enter(remote.AddrPort().Addr())
	if !ok {
		l.refused.Add(1)
		return nil
	}
	c := &clientConn{Conn: conn, listener: l, door: door, key: remote.String()}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		door.Leave()
		return nil
	}
	l.open[c.key] = c
	c.unsettled = time.AfterFunc(l.settleWithin, c.cut)
	return c
}

// settle makes the connection from an address a client's. It reports false if the client has too many, and cuts it.
func (l *clientListener) settle(from net.Addr, client any) bool {
	l.mu.Lock()
	c := l.open[from.String()]
	l.mu.Unlock()
	if c == nil || c.settled.Load() {
		return true // pion knows if it is gone
	}
	if !c.door.Settle(client) {
		c.cut()
		return false
	}
	c.unsettled.Stop()
	c.settled.Store(true)
	return true
}

// Close closes the connections as well: pion waits for those that have said nothing yet.
func (l *clientListener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, c := range l.open {
		_ = c.Conn.Close()
	}
	return l.Listener.Close()
}

// anonymous stands for every local address.
var anonymous = net.IPv4zero

// clientConn is the connection of a client, who may not be known yet.
type clientConn struct {
	net.Conn
	listener *clientListener
	door     *doors.Door
	key      string

	came      int // bytes, while it is not settled
	settled   atomic.Bool
	unsettled *time.Timer
	leaving   sync.Once
}

func (c *clientConn) LocalAddr() net.Addr {
	if local, ok := c.Conn.LocalAddr().(*net.TCPAddr); ok {
		return &net.TCPAddr{IP: anonymous, Port: local.Port}
	}
	return c.Conn.LocalAddr()
}

var errUnsettled = errors.New("too much came before a check was answered")

// Read fails when too much comes before the client is known.
func (c *clientConn) Read(into []byte) (int, error) {
	n, err := c.Conn.Read(into)
	if c.settled.Load() {
		return n, err
	}
	if c.came += n; c.came > maxUnsettled {
		c.cut()
		return 0, errUnsettled
	}
	return n, err
}

// cut ends a connection of which too much is asked.
func (c *clientConn) cut() {
	c.listener.refused.Add(1)
	_ = c.Conn.Close()
}

// Close implements net.Conn; pion calls it more than once.
func (c *clientConn) Close() error {
	c.leaving.Do(func() {
		c.unsettled.Stop()
		c.door.Leave()
		c.listener.mu.Lock()
		defer c.listener.mu.Unlock()
		if c.listener.open[c.key] == c {
			delete(c.listener.open, c.key)
		}
	})
	return c.Conn.Close()
}
