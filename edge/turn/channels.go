package turn

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/pion/stun/v3"
)

// channelLife is how long a channel lasts unless it is bound again (RFC 8656, section 12.2).
const channelLife = 10 * time.Minute

// channels are those of one relayed address. The engine binds them; what belongs to one need not pass the engine then, which
// would cost more than all the rest. The zero value has none.
type channels struct {
	list atomic.Pointer[[]binding] // replaced, never changed
}

type binding struct {
	number uint16
	peer   netip.AddrPort
	ends   time.Time // not after the engine's end
}

// bind notes a channel that the engine bound for a request that came then.
func (c *channels) bind(number uint16, peer netip.AddrPort, came time.Time) {
	list := []binding{{number: number, peer: peer, ends: came.Add(channelLife)}}
	for _, other := range c.all() {
		if other.number != number && other.ends.After(came) {
			list = append(list, other)
		}
	}
	c.list.Store(&list)
}

func (c *channels) all() []binding {
	if list := c.list.Load(); list != nil {
		return *list
	}
	return nil
}

// peer is who a channel leads to.
func (c *channels) peer(number uint16, now time.Time) (peer netip.AddrPort, ok bool) {
	for _, each := range c.all() {
		if each.number == number {
			return each.peer, each.ends.After(now)
		}
	}
	return peer, false
}

// number is that of the channel to a peer.
func (c *channels) number(peer netip.AddrPort, now time.Time) (number uint16, ok bool) {
	for _, each := range c.all() {
		if each.peer == peer {
			return each.number, each.ends.After(now)
		}
	}
	return 0, false
}

// noteChannel takes in that the engine bound the channel of the current request.
func (g *guard) noteChannel() {
	m, relayed := &g.current.message, g.sessions.relayed(g.current.source)
	number, err := m.Get(stun.AttrChannelNumber)
	var peer stun.XORMappedAddress
	if relayed == nil || err != nil || len(number) < 2 || peer.GetFromAs(m, stun.AttrXORPeerAddress) != nil {
		return
	}
	address, _ := netip.AddrFromSlice(peer.IP)
	relayed.channels.bind(binary.BigEndian.Uint16(number), netip.AddrPortFrom(address.Unmap(), uint16(peer.Port)), g.current.received)
}

// toPeer sends a client's ChannelData on. It reports false for what the engine has to look at.
func (g *guard) toPeer(packet []byte, source netip.AddrPort) bool {
	relayed := g.sessions.relayed(source)
	if relayed == nil {
		return false
	}
	number, data, ok := readChannelData(packet)
	if !ok {
		return false
	}
	peer, ok := relayed.channels.peer(number, g.current.received)
	if ok {
		_, _ = relayed.send(data, peer) // lost like any other
	}
	return ok
}

// readChannelData reads a ChannelData message (RFC 8656, section 12.4); what follows the data is padding.
func readChannelData(packet []byte) (number uint16, data []byte, ok bool) {
	if len(packet) < channelDataHeader || packet[0]>>6 != 1 {
		return 0, nil, false
	}
	size := int(binary.BigEndian.Uint16(packet[2:]))
	data = packet[channelDataHeader:]
	if size > len(data) {
		return 0, nil, false
	}
	return binary.BigEndian.Uint16(packet), data[:size], true
}

// appendChannelData appends a ChannelData message without padding.
func appendChannelData(to []byte, number uint16, data []byte) []byte {
	to = binary.BigEndian.AppendUint16(to, number)
	to = binary.BigEndian.AppendUint16(to, uint16(len(data)))
	return append(to, data...)
}
