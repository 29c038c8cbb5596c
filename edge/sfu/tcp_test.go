package sfu

import (
	"encoding/binary"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/pion/stun/v3"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/edge/doors"
)

func TestSilentConnectionHoldsNoShutdownUp(t *testing.T) {
	w := newWorld(t)
	conn := dial(t, net.TCPAddrFromAddrPort(w.server.MediaAddr()), []byte{0}) // half a length
	w.stop()
	requireCut(t, conn)
}

// failing is a listener that has no descriptors left, once.
type failing struct {
	net.Listener
	errs chan error
}

func (f failing) Accept() (net.Conn, error) {
	select {
	case err := <-f.errs:
		return nil, err
	default:
		return f.Listener.Accept()
	}
}

func listenTCP(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return listener
}

// serveTCP has a port take clients; with changes to what it allows.
func serveTCP(t *testing.T, clients *clientListener) {
	t.Helper()
	m := newTCPMux(clients, zerolog.Nop())
	t.Cleanup(func() { _ = m.Close() })
}

// dial connects to a port and says something.
func dial(t *testing.T, to net.Addr, says []byte) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", to.String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = conn.Write(says)
	require.NoError(t, err)
	return conn
}

func requireCut(t *testing.T, conn net.Conn) {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	_, err := conn.Read(make([]byte, 1))
	var timeout net.Error
	require.Error(t, err)
	require.False(t, errors.As(err, &timeout) && timeout.Timeout(), "the server keeps the connection")
}

func TestPortOutlivesAFailureToAccept(t *testing.T) {
	errs := make(chan error, 1)
	errs <- errors.New("accept: too many open files")
	clients := newClientListener(failing{listenTCP(t), errs}, connectionLimits(1), zerolog.Nop())
	serveTCP(t, clients)
	requireCut(t, dial(t, clients.Addr(), []byte{0, 1, 'x'})) // whoever takes what is no check hangs up
}

// check is one as a client sends it over TCP, for an agent that is not there, with so many bytes behind it.
func check(t *testing.T, more int) []byte {
	t.Helper()
	m, err := stun.Build(stun.TransactionID, stun.BindingRequest, stun.NewUsername("nobody:here"))
	require.NoError(t, err)
	framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(m.Raw))), m.Raw...)
	return append(framed, make([]byte, more)...)
}

func TestWhoIsNoClientIsCut(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		says   []byte
		within time.Duration
	}{
		"says nothing":       {nil, 10 * time.Millisecond},
		"half a length":      {[]byte{0}, 10 * time.Millisecond},
		"a check":            {check(t, 0), 10 * time.Millisecond},
		"a check for nobody": {check(t, 0), time.Hour},
		"a check, and much":  {check(t, maxUnsettled), time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clients := newClientListener(listenTCP(t), connectionLimits(1), zerolog.Nop())
			clients.settleWithin = test.within
			serveTCP(t, clients)
			requireCut(t, dial(t, clients.Addr(), test.says))
			require.Eventually(t, func() bool {
				clients.mu.Lock()
				defer clients.mu.Unlock()
				return len(clients.open) == 0
			}, patience, time.Millisecond)
		})
	}
}

// TestOneConnectionEndsNoOther has connections of one agent end in odd ways, while another one goes on.
func TestOneConnectionEndsNoOther(t *testing.T) {
	ways, _ := onPort(t)
	connected, ok := ways().(*transport)
	require.True(t, ok)
	clients := newClientListener(listenTCP(t), connectionLimits(1), zerolog.Nop())
	m := newTCPMux(clients, zerolog.Nop())
	agent, err := (&tcpView{tcpMux: m, transport: connected}).GetConnByUfrag("nobody", false, nil)
	require.NoError(t, err)
	got := make(chan string)
	go func() {
		defer close(got)
		buffer := make([]byte, 8<<10)
		for {
			_, from, err := agent.ReadFrom(buffer)
			if err != nil {
				return
			}
			got <- from.String()
		}
	}()
	requireHeard := func(conn net.Conn) {
		select {
		case from := <-got:
			require.Equal(t, conn.LocalAddr().String(), from)
		case <-time.After(patience):
			require.Fail(t, "nothing comes any more")
		}
	}
	goesOn := dial(t, clients.Addr(), check(t, 0))
	requireHeard(goesOn)
	for name, end := range map[string]func(*net.TCPConn) error{
		"reset":    func(c *net.TCPConn) error { return errors.Join(c.SetLinger(0), c.Close()) },
		"too long": func(c *net.TCPConn) error { _, err := c.Write([]byte{0xff, 0xff, 0}); return err },
		"end":      func(c *net.TCPConn) error { return c.Close() },
	} {
		conn := dial(t, clients.Addr(), check(t, 0))
		requireHeard(conn)
		ends, ok := conn.(*net.TCPConn)
		require.True(t, ok)
		require.NoError(t, end(ends))
		require.Eventually(t, func() bool {
			clients.mu.Lock()
			defer clients.mu.Unlock()
			return len(clients.open) == 1
		}, patience, time.Millisecond, name)
		_, err := goesOn.Write(check(t, 0))
		require.NoError(t, err)
		requireHeard(goesOn)
	}
	require.NoError(t, goesOn.Close())
	requireHeard(dial(t, clients.Addr(), check(t, 0))) // the client is back
	require.NoError(t, errors.Join(agent.Close(), m.Close()))
	_, open := <-got
	require.False(t, open)
}

func TestConnectionsAreLimited(t *testing.T) {
	clients := newClientListener(listenTCP(t), doors.Limits{Total: 9, Pending: 9, PendingPerNetwork: 3, PerOwner: 1}, zerolog.Nop())
	serveTCP(t, clients)
	first, second := dial(t, clients.Addr(), nil), dial(t, clients.Addr(), nil)
	require.Eventually(t, func() bool {
		clients.mu.Lock()
		defer clients.mu.Unlock()
		return len(clients.open) == 2
	}, patience, time.Millisecond)
	require.True(t, clients.settle(first.LocalAddr(), "alice"))
	require.True(t, clients.settle(first.LocalAddr(), "alice"))
	require.False(t, clients.settle(second.LocalAddr(), "alice"))
	requireCut(t, second)
	for range 3 {
		dial(t, clients.Addr(), nil)
	}
	requireCut(t, dial(t, clients.Addr(), nil))
	require.EqualValues(t, 2, clients.refused.Load())
}
