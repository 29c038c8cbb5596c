package sfu

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/pion/ice/v4"
	"github.com/rs/zerolog"

	"github.com/wardline/wardline/edge/dtlssrtp"
	"github.com/wardline/wardline/edge/sfu/mux"
	"github.com/wardline/wardline/edge/udp"
)

// tcpMux lets a connection find its session by its ICE user name fragment alone, whichever of this
// machine's addresses it came in on: behind address translation none of them is an announced one.
type tcpMux struct {
	inner   *ice.TCPMuxDefault
	clients *clientListener
}

const (
	// Sizes of the TCP send queue of one client, and of the packets waiting to be read from it.
	tcpWriteBuffer = 1 << 20
	tcpReadPackets = 64
	// tcpStrangers is how long pion keeps what comes for an agent that is not there: clients hear of theirs when it is.
	tcpStrangers = time.Second
)

func newTCPMux(clients *clientListener, log zerolog.Logger) *tcpMux {
	return &tcpMux{clients: clients, inner: ice.NewTCPMuxDefault(ice.TCPMuxParams{
		Listener:        clients,
		Logger:          pionLog{log}.NewLogger("tcp"),
		ReadBufferSize:  tcpReadPackets,
		WriteBufferSize: tcpWriteBuffer,

		AliveDurationForConnFromStun: tcpStrangers,
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
	return &tcpConn{PacketConn: conn, clients: v.clients, transport: v.transport, out: v.transport.port.NewBatch()}, nil
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
	clients   *clientListener
	transport *transport

	reading sync.Mutex
	out     *udp.Batch
	packet  [1]udp.Datagram
}

var errTooManyConnections = errors.New("too many connections of one client")

// ReadFrom implements net.PacketConn. It fails only when the agent has closed it: at an error the agent would read no more, though
// one that names an address is about the connection from there alone.
func (c *tcpConn) ReadFrom(into []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.PacketConn.ReadFrom(into)
		switch {
		case err != nil && from != nil:
			continue
		case err != nil || !dtlssrtp.IsMedia(into[:n]):
			return n, from, err
		}
		c.reading.Lock()
		c.packet[0].Payload = into[:n:n]
		c.transport.Receive(c.packet[:], c.out)
		c.out.Flush()
		c.reading.Unlock()
	}
}

// WriteTo implements net.PacketConn. Whose check the agent answers is its client.
func (c *tcpConn) WriteTo(packet []byte, to net.Addr) (int, error) {
	if mux.AnswersCheck(packet) && !c.clients.settle(to, c.transport) {
		return 0, errTooManyConnections
	}
	return c.PacketConn.WriteTo(packet, to)
}

var _ ice.TCPMux = (*tcpView)(nil)
