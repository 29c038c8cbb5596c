package udp

import (
	"net"
	"time"
)

// Reader reads a socket: one of many in a process, all of which share the room for what comes.
type Reader struct{ source source }

// Arrival is a datagram, and when it came: as the system says, which is before it is read, or where that does not say, when it
// is.
type Arrival struct {
	Datagram
	At time.Time
}

// source is the system's part of a Reader.
type source interface {
	read(handle func([]Arrival) (more bool)) error
}

// NewReader reads a socket that somebody else opened and sends on, and that nobody else reads then. It fails for one that is closed.
func NewReader(conn *net.UDPConn) (*Reader, error) {
	s, err := systemSource(conn)
	if err != nil {
		return nil, err
	}
	return &Reader{s}, nil
}

// Read gives what comes to handle until handle wants no more, for which it returns nil, or the socket is closed or past its
// deadline. Datagrams are not coalesced. One goroutine reads.
func (r *Reader) Read(handle func([]Arrival) (more bool)) error { return r.source.read(handle) }

// single is a source that makes one system call a datagram.
type single struct {
	conn     *net.UDPConn
	counters *counters
	buffer   []byte
}

func newSingle(conn *net.UDPConn, counters *counters) *single {
	return &single{conn: conn, counters: counters, buffer: make([]byte, MaxPayload)}
}

func (s *single) read(handle func([]Arrival) bool) error {
	for {
		n, peer, err := s.conn.ReadFromUDPAddrPort(s.buffer)
		if err != nil {
			return err
		}
		s.counters.receivedOne(n)
		if !handle([]Arrival{{Datagram{Payload: s.buffer[:n], Peer: unmapped(peer)}, time.Now()}}) {
			return nil
		}
	}
}
