package peer

import (
	"net"
	"net/netip"

	"github.com/pion/ice/v4"
	"github.com/pion/transport/v5"

	"github.com/wardline/wardline/edge/dtlssrtp"
	"github.com/wardline/wardline/edge/udp"
)

// network is the system's, but what comes to its UDP sockets passes a receiver first.
type network struct {
	transport.Net
	receiver *Receiver
}

// ListenUDP implements transport.Net.
func (n network) ListenUDP(kind string, at *net.UDPAddr) (transport.UDPConn, error) {
	conn, err := net.ListenUDP(kind, at)
	if err != nil {
		return nil, err
	}
	if at != nil && at.IP.IsMulticast() {
		return conn, nil // no agent's: names of hosts are asked for on it
	}
	reader, err := udp.NewReader(conn)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &socket{UDPConn: conn, reader: reader, receiver: n.receiver}, nil
}

// socket is one of an ICE agent, which reads what the receiver leaves to it.
type socket struct {
	*net.UDPConn
	reader   *udp.Reader
	receiver *Receiver
	left     []datagram
}

// datagram is one that waits for the agent.
type datagram struct {
	payload []byte
	from    netip.AddrPort
}

var _ ice.AddrPortReaderWriter = (*socket)(nil)

// ReadFromAddrPort implements ice.AddrPortReaderWriter. Media is received meanwhile, on this goroutine.
func (s *socket) ReadFromAddrPort(into []byte) (int, netip.AddrPort, error) {
	for len(s.left) == 0 {
		if err := s.reader.Read(s.sort); err != nil {
			return 0, netip.AddrPort{}, err
		}
	}
	first := s.left[0]
	s.left = s.left[1:]
	return copy(into, first.payload), first.from, nil
}

// sort hands media to the receiver, and keeps the rest until there is any.
func (s *socket) sort(batch []udp.Arrival) (more bool) {
	for _, each := range batch {
		if dtlssrtp.IsMedia(each.Payload) && s.receiver.media(each.Payload, each.At) {
			continue
		}
		s.receiver.pass(each.Payload, true)
		s.left = append(s.left, datagram{append([]byte(nil), each.Payload...), each.Peer})
	}
	return len(s.left) == 0
}

// WriteToAddrPort implements ice.AddrPortReaderWriter.
func (s *socket) WriteToAddrPort(payload []byte, to netip.AddrPort) (int, error) {
	s.receiver.pass(payload, false)
	return s.WriteToUDPAddrPort(payload, to)
}
