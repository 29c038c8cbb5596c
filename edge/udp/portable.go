package udp

import (
	"errors"
	"net"
	"time"
)

// portable is a socket that makes one system call a datagram, as every system can.
type portable struct {
	conn     *net.UDPConn
	counters *counters
}

// maxFailures is how many reads may fail in a row.
const maxFailures = 100

func openPortable(conn *net.UDPConn, _ Config, counters *counters) (socket, error) {
	return &portable{conn: conn, counters: counters}, nil
}

func (s *portable) receive(deliver func([]Datagram) time.Duration) error {
	buffer := make([]byte, MaxPayload+1)
	batch := make([]Datagram, 1)
	failures := 0
	for {
		n, peer, err := s.conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			// An error may be about a datagram that was sent; many in a row are about the socket.
			failures++
			if errors.Is(err, net.ErrClosed) || failures > maxFailures {
				return err
			}
			continue
		}
		failures = 0
		s.counters.receivedOne(n)
		batch[0] = Datagram{Payload: buffer[:n], Peer: unmapped(peer)}
		if deliver(batch) > 0 {
			deliver(nil) // sends go one by one: nothing is won by waiting
		}
	}
}

func (s *portable) source() source { return newSingle(s.conn, s.counters) }

func (s *portable) send(packets []*packet, _ bool) []*packet {
	for _, p := range packets {
		s.counters.sendCalls.Add(1)
		if _, err := s.conn.WriteToUDPAddrPort(p.data, p.to); err != nil {
			s.counters.refused.Add(1)
			continue
		}
		s.counters.sent.Add(1)
		s.counters.sentBytes.Add(uint64(len(p.data)))
	}
	return nil
}
