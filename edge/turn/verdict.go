package turn

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/pion/stun/v3"
)

// protocolUDP is UDP's number in REQUESTED-TRANSPORT.
const protocolUDP = 17

// Address families in attributes (RFC 8656, section 18.8 and RFC 8489, section 14.1).
const (
	familyIPv4 = 1
	familyIPv6 = 2
)

// decide returns the error code for a request with valid credentials that must not have its way, 0 if it may.
func (g *guard) decide(m *stun.Message) stun.ErrorCode {
	if m.Type.Method == stun.MethodAllocate {
		return g.decideAllocate(m)
	}
	session, _ := g.sessions.get(g.current.source)
	switch {
	case !session.usable(g.current.received):
		return stun.CodeAllocMismatch
	case session.user() != g.current.verified.user():
		return stun.CodeWrongCredentials
	case m.Type.Method == stun.MethodRefresh:
		return g.decideFamily(m, stun.CodePeerAddrFamilyMismatch)
	default:
		return g.decidePeers(m)
	}
}

// decideAllocate leaves malformed transports to the engine, which answers 400. It refuses reserved ports, which
// the engine promises (EVEN-PORT) but does not keep.
func (g *guard) decideAllocate(m *stun.Message) stun.ErrorCode {
	if transport, err := m.Get(stun.AttrRequestedTransport); err == nil && len(transport) == 4 && transport[0] != protocolUDP {
		return stun.CodeUnsupportedTransProto
	}
	if m.Contains(stun.AttrReservationToken) {
		return stun.CodeInsufficientCapacity
	}
	return g.decideFamily(m, stun.CodeAddrFamilyNotSupported)
}

// decideFamily refuses any other family than the relay's. A client that asks for none gets the relay's.
func (g *guard) decideFamily(m *stun.Message, mismatch stun.ErrorCode) stun.ErrorCode {
	family, err := m.Get(stun.AttrRequestedAddressFamily)
	switch {
	case err != nil:
		return 0
	case len(family) != 4:
		return stun.CodeBadRequest
	case family[0] != familyIPv4 && family[0] != familyIPv6, (family[0] == familyIPv4) != g.relays.advertised.Is4():
		return mismatch
	default:
		return 0
	}
}

// decidePeers looks at all peers of a request: one that is refused refuses them all (RFC 8656, section 9.2).
func (g *guard) decidePeers(m *stun.Message) stun.ErrorCode {
	if !m.Contains(stun.AttrXORPeerAddress) || !wellFormedPeers(m) {
		return stun.CodeBadRequest
	}
	var verdict stun.ErrorCode
	err := m.ForEach(stun.AttrXORPeerAddress, func(m *stun.Message) error {
		var peer stun.XORMappedAddress
		if err := peer.GetFromAs(m, stun.AttrXORPeerAddress); err != nil {
			return err
		}
		address, _ := netip.AddrFromSlice(peer.IP)
		switch address = address.Unmap(); {
		case verdict != 0:
		case !g.peerAllowed(m.Type.Method, netip.AddrPortFrom(address, uint16(peer.Port))):
			verdict = stun.CodeForbidden
		case address.Is4() != g.relays.advertised.Is4():
			verdict = stun.CodePeerAddrFamilyMismatch
		}
		return nil
	})
	if err != nil {
		return stun.CodeBadRequest
	}
	return verdict
}

// peerAllowed looks at one peer. A permission covers every port of its address (RFC 8656, section 9), a channel
// one. Clients that come from RTP without multiplexing, coturn's among them, also bind the RTCP port after
// an allowed one: they may, although the relayed address drops what they send there.
func (g *guard) peerAllowed(method stun.Method, peer netip.AddrPort) bool {
	allow := g.relays.allowPeer
	if method == stun.MethodCreatePermission {
		return allow(netip.AddrPortFrom(peer.Addr(), 0))
	}
	return allow(peer) || peer.Port() > 1 && allow(netip.AddrPortFrom(peer.Addr(), peer.Port()-1))
}

// wellFormedPeers says whether every XOR-PEER-ADDRESS has the size of its family. The STUN decoder reads beyond
// one that is too short, and beyond the message if it is the last attribute.
func wellFormedPeers(m *stun.Message) bool {
	for _, attribute := range m.Attributes {
		if attribute.Type != stun.AttrXORPeerAddress {
			continue
		}
		value := attribute.Value
		if len(value) < 2 || value[1] == familyIPv4 && len(value) != 8 || value[1] != familyIPv4 && len(value) != 20 {
			return false
		}
	}
	return true
}

// answer returns what is sent for a packet of the engine: error responses get their code and their signature,
// which the engine leaves out of many, and lifetimes are noted. Only the reading goroutine writes responses.
func (g *guard) answer(packet []byte) []byte {
	if !isResponse(packet) {
		return packet
	}
	r := &g.response
	r.Raw = append(r.Raw[:0], packet...)
	if r.Decode() != nil {
		return packet
	}
	if r.Type.Class == stun.ClassSuccessResponse {
		g.noteLifetime(r)
		if r.Type.Method == stun.MethodChannelBind {
			g.noteChannel()
		}
		return packet
	}
	var code stun.ErrorCodeAttribute
	switch err := code.GetFrom(r); {
	case g.current.refused:
		return g.refusal(g.current.verdict)
	case err != nil:
		return g.refusal(stun.CodeBadRequest)
	case code.Code == stun.CodeUnauthorized, code.Code == stun.CodeStaleNonce:
		// A challenge, which always looks like an Allocate request to the engine, and is unsigned.
		r.Type.Method = g.current.message.Type.Method
		r.WriteType()
	case g.current.verified.key != nil && g.current.verified.key.AddTo(r) != nil:
		return packet
	}
	return r.Raw
}

// isResponse tells responses from indications and media by the first byte (RFC 8489, section 5).
func isResponse(packet []byte) bool {
	return len(packet) >= stunHeader && packet[0]>>6 == 0 && packet[0]&1 == 1
}

// noteLifetime keeps the session's end in step with the engine's, whose timer started after the request came.
func (g *guard) noteLifetime(r *stun.Message) {
	value, err := r.Get(stun.AttrLifetime)
	if err != nil || len(value) != 4 {
		return
	}
	ends := g.current.received.Add(time.Duration(binary.BigEndian.Uint32(value)) * time.Second)
	switch r.Type.Method {
	case stun.MethodAllocate:
		g.sessions.allocated(g.current.source, ends)
	case stun.MethodRefresh:
		g.sessions.refreshed(g.current.source, ends)
	default:
	}
}

// refusal builds a signed error response to the current request, nil if that fails.
func (g *guard) refusal(code stun.ErrorCode) []byte {
	c := &g.current
	response, err := stun.Build(stun.NewTransactionIDSetter(c.message.TransactionID),
		stun.NewType(c.message.Type.Method, stun.ClassErrorResponse), code)
	if err != nil || c.verified.key != nil && c.verified.key.AddTo(response) != nil {
		return nil
	}
	return response.Raw
}
