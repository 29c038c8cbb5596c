package sfu

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
	"github.com/rs/zerolog"

	"github.com/wardline/wardline/edge/dtlssrtp"
	"github.com/wardline/wardline/edge/sfu/mux"
	"github.com/wardline/wardline/edge/udp"
)

// handler takes what a client sends, one packet at a time. Packets may be changed, and are valid until handled; out takes what is
// sent in answer.
type handler interface {
	receiveRTP(raw []byte, out *udp.Batch)
	receiveRTCP(raw []byte, out *udp.Batch)
	// handled says that there are no more packets at hand.
	handled(out *udp.Batch)
}

// transport is the way of media from and to one client. pion does ICE and DTLS on it; media passes pion by: it is opened
// where it is received, and sealed into the batch that it leaves in.
type transport struct {
	port      *mux.Mux
	view      *mux.View
	handler   handler
	log       zerolog.Logger
	handshake dtlssrtp.Handshake
	tcp       *tcpView

	session atomic.Pointer[dtlssrtp.Session] // nil until the handshake is complete
	target  atomic.Pointer[target]           // nil until ICE has chosen a pair
	hidden  atomic.Bool                      // the client takes encrypted header extensions
	over    atomic.Bool

	receiving sync.Mutex // held while a packet is handled
	early     [][]byte   // came before the handshake was complete
}

// target is where a client is: at a UDP address, or behind a TCP connection.
type target struct {
	udp netip.AddrPort
	// back is where genuine media came from last: what it tells of goes there. That is less than came, as one may send to an address that
	// is not known to want it (RFC 9000, section 8 has the same rule for QUIC).
	back netip.AddrPort
	tcp  net.PacketConn
	peer net.Addr // at the other end of tcp
}

// maxEarly is how many packets can come between the client's last word of the handshake and ours.
const maxEarly = 64

// Receive implements mux.Receiver.
func (t *transport) Receive(packets []udp.Datagram, out *udp.Batch) {
	if t.over.Load() {
		return
	}
	t.receiving.Lock()
	defer t.receiving.Unlock()
	session := t.session.Load()
	for _, packet := range packets {
		if session != nil {
			if t.open(session, packet.Payload, out) {
				t.cameFrom(packet.Peer)
			}
		} else if len(t.early) < maxEarly && len(packet.Payload) <= receiveMTU {
			t.early = append(t.early, bytes.Clone(packet.Payload))
		}
	}
	t.handler.handled(out)
}

// open hands a packet on if it is genuine, and reports whether it is media. Whatever else comes is no news: anybody can send it.
func (t *transport) open(session *dtlssrtp.Session, packet []byte, out *udp.Batch) (media bool) {
	if dtlssrtp.IsControl(packet) {
		if raw, err := session.OpenRTCP(packet, packet); err == nil {
			t.handler.receiveRTCP(raw, out)
		}
		return false
	}
	raw, err := session.OpenRTP(packet, packet)
	if err == nil {
		t.handler.receiveRTP(raw, out)
	}
	return err == nil
}

// cameFrom takes note of where genuine media came from. What comes over TCP says no address.
func (t *transport) cameFrom(peer netip.AddrPort) {
	to := t.target.Load()
	if to == nil || to.tcp != nil || to.back == peer || !peer.IsValid() {
		return
	}
	elsewhere := *to
	elsewhere.back = peer
	t.target.CompareAndSwap(to, &elsewhere) // if ICE has just chosen another, that is as good
}

// exclusive runs f while no packet is handled.
func (t *transport) exclusive(f func()) {
	t.receiving.Lock()
	defer t.receiving.Unlock()
	f()
}

// follow takes over keys and addresses as pion comes to know them.
func (t *transport) follow(pc *webrtc.PeerConnection) {
	dtls := pc.SCTP().Transport()
	dtls.OnStateChange(func(state webrtc.DTLSTransportState) {
		if state == webrtc.DTLSTransportStateConnected {
			t.connected()
		}
	})
	dtls.ICETransport().OnSelectedCandidatePairChange(t.selected)
}

// connected begins once both sides have proved who they are.
func (t *transport) connected() {
	session, err := t.handshake.Session(t.hidden.Load())
	if err != nil {
		t.log.Error().Err(err).Msg("no media on this connection")
		return
	}
	out := t.port.NewBatch()
	t.exclusive(func() {
		t.session.Store(session)
		for _, packet := range t.early {
			t.open(session, packet, out)
		}
		t.handler.handled(out)
		t.early = nil
	})
	out.Flush()
}

// selected sends to where ICE found the client.
func (t *transport) selected(pair *webrtc.ICECandidatePair) {
	if pair == nil || pair.Local == nil || pair.Remote == nil {
		return
	}
	address, err := netip.ParseAddr(pair.Remote.Address)
	if err != nil {
		return
	}
	peer := netip.AddrPortFrom(address.Unmap(), pair.Remote.Port)
	if pair.Local.Protocol != webrtc.ICEProtocolTCP {
		t.target.Store(&target{udp: peer, back: peer})
		return
	}
	if conn := t.tcp.current(); conn != nil {
		t.target.Store(&target{tcp: conn, peer: net.TCPAddrFromAddrPort(peer)})
	}
}

var errNotConnected = errors.New("not connected")

// send seals a packet and adds it to out, or queues it without one. The packet is changed; with room behind it, from
// out.Room, nothing is copied. An error says that it was lost, as any packet may be.
func (t *transport) send(packet []byte, out *udp.Batch, class udp.Class) error {
	session, to := t.session.Load(), t.target.Load()
	if session == nil || to == nil {
		return errNotConnected
	}
	sealed, err := session.SealRTP(packet)
	if err != nil {
		return err
	}
	return t.pass(sealed, to, to.udp, out, class)
}

// sendControl sends control packets, with out or, without one, by themselves. They are lost if the connection is not up, as any
// packet may be.
func (t *transport) sendControl(out *udp.Batch, packets ...rtcp.Packet) {
	session, to := t.session.Load(), t.target.Load()
	if session == nil || to == nil {
		return
	}
	raw, err := rtcp.Marshal(packets)
	if err != nil {
		return
	}
	if sealed, err := session.SealRTCP(raw); err == nil {
		_ = t.pass(sealed, to, to.back, out, udp.Other)
	}
}

// pass sends what is sealed, to an address if it is not over TCP.
func (t *transport) pass(sealed []byte, to *target, address netip.AddrPort, out *udp.Batch, class udp.Class) error {
	switch {
	case to.tcp != nil:
		_, err := to.tcp.WriteTo(sealed, to.peer)
		return err
	case out != nil:
		return out.Add(sealed, address, class)
	default:
		return t.port.Send(sealed, address, class)
	}
}

// close ends what comes in.
func (t *transport) close() {
	t.over.Store(true)
	t.view.Forget()
}
