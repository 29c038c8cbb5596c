package turn

import (
	"errors"
	"iter"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/wardline/wardline/edge/udp"
)

// inbox gives what a socket receives to the engine, which asks for one datagram at a time, though they are read in batches.
type inbox struct {
	next func() (udp.Arrival, bool)
	// peer and address are the same, of the last datagram: the next one is mostly from there, too.
	peer    netip.AddrPort
	address *net.UDPAddr
}

// newInbox makes an inbox. After each batch it calls settle, while who asks for the next datagram waits. One that may take long
// is called apart, when the room that all sockets are read into is given back.
func newInbox(reader *udp.Reader, settle func(), apart bool) *inbox {
	next, _ := iter.Pull(func(yield func(udp.Arrival) bool) { // it ends with the socket
		for more := true; more; {
			err := reader.Read(func(received []udp.Arrival) bool {
				for _, each := range received {
					if more = yield(each); !more {
						return false
					}
				}
				if !apart {
					settle()
				}
				return !apart
			})
			switch {
			case err == nil:
				settle()
			case errors.Is(err, net.ErrClosed):
				return
			default:
				pause(err)
			}
		}
	})
	return &inbox{next: next}
}

// from is the peer's address as the engine wants it, which never changes what it was given.
func (b *inbox) from(peer netip.AddrPort) net.Addr {
	if b.address == nil || b.peer != peer {
		b.peer, b.address = peer, net.UDPAddrFromAddrPort(peer)
	}
	return b.address
}

// port is the UDP port as an engine sees it: of the sockets that share it the one that the datagrams of some clients come to.
type port struct {
	conn    *udp.Conn
	address net.Addr
	inbox   *inbox
	batches sync.Pool // of outboxes
}

func newPort(conn *udp.Conn, shard udp.Shard) *port {
	return &port{
		conn: conn, address: net.UDPAddrFromAddrPort(conn.LocalAddr()),
		inbox:   newInbox(&shard.Reader, func() {}, false),
		batches: sync.Pool{New: func() any { return shard.NewBatch() }},
	}
}

// ReadFrom fails only when the port is closed: the engine gives up a socket at the first error.
func (p *port) ReadFrom(b []byte) (int, net.Addr, error) {
	d, ok := p.inbox.next()
	if !ok {
		return 0, nil, net.ErrClosed
	}
	return copy(b, d.Payload), p.inbox.from(d.Peer), nil
}

// WriteTo sends to a client at once.
func (p *port) WriteTo(b []byte, client net.Addr) (int, error) {
	return len(b), p.conn.Send(b, addrPort(client), udp.Other)
}

// outbox is one for a client.
func (p *port) outbox(client netip.AddrPort) outbox { return &datagramOutbox{port: p, client: client} }

func (p *port) Close() error        { return p.conn.Close() }
func (p *port) LocalAddr() net.Addr { return p.address }

// The engine sets no deadlines.

func (p *port) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (p *port) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (p *port) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
