package turn

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestChannelsLeadToTheirPeersUntilTheyEnd(t *testing.T) {
	a, b := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.1:2")
	came := time.Now()
	late := came.Add(channelLife)
	var c channels
	_, ok := c.peer(0x4000, came)
	require.False(t, ok, "none is bound")

	c.bind(0x4000, a, came)
	c.bind(0x4001, b, came.Add(time.Minute))
	leads := func(number uint16, to netip.AddrPort, at time.Time) {
		t.Helper()
		peer, ok := c.peer(number, at)
		require.True(t, ok)
		require.Equal(t, to, peer)
		back, ok := c.number(to, at)
		require.True(t, ok)
		require.Equal(t, number, back)
	}
	leads(0x4000, a, came)
	leads(0x4001, b, late)
	_, ok = c.peer(0x4000, late)
	require.False(t, ok, "it ended")
	_, ok = c.number(a, late)
	require.False(t, ok)

	c.bind(0x4000, a, late)
	leads(0x4000, a, late)
	require.Len(t, c.all(), 2, "bound again it is the same")
	c.bind(0x4001, a, late.Add(channelLife))
	require.Len(t, c.all(), 1, "the engine lets a number and a peer be bound anew when what they had has ended")
}

func TestReadingChannelData(t *testing.T) {
	for name, c := range map[string]struct {
		packet []byte
		data   []byte
		ok     bool
	}{
		"data":            {[]byte{0x40, 0, 0, 3, 1, 2, 3}, []byte{1, 2, 3}, true},
		"padded":          {[]byte{0x40, 0, 0, 3, 1, 2, 3, 0}, []byte{1, 2, 3}, true},
		"empty":           {[]byte{0x40, 0, 0, 0}, []byte{}, true},
		"too short":       {packet: []byte{0x40, 0, 0, 4, 1, 2, 3}},
		"no whole header": {packet: []byte{0x40, 0, 0}},
		"STUN":            {packet: []byte{0, 1, 0, 0}},
		"neither":         {packet: []byte{0x80, 0, 0, 0}},
		"nothing":         {},
	} {
		t.Run(name, func(t *testing.T) {
			number, data, ok := readChannelData(c.packet)
			require.Equal(t, c.ok, ok)
			require.Equal(t, c.data, data)
			if ok {
				require.Equal(t, uint16(0x4000), number)
				require.True(t, bytes.HasPrefix(c.packet, appendChannelData(nil, number, data)))
			}
		})
	}
}

// Datagrams of all sizes that the client reads keep their bounds, over connections as well, where they share writes and are padded.
func TestChannelsCarryDataOfAnySize(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			r, peer := startRelay(t), echo(t)
			r.allow(peer.LocalAddr(), true)
			conn := r.allocate(transport)
			require.Eventually(t, func() bool { // the client binds a channel behind its first datagrams
				requireEcho(t, conn, peer.LocalAddr())
				return r.bound() == 1
			}, patience, tick)
			for _, size := range []int{5, 6, 7, 8, 99, 1100, 1101, 1200} {
				sent := bytes.Repeat([]byte{byte(size)}, size)
				const count = 5
				for range count {
					_, err := conn.WriteTo(sent, peer.LocalAddr())
					require.NoError(t, err)
				}
				for range count {
					datagram, from := nextDatagram(t, conn)
					require.Equal(t, sent, datagram)
					require.Equal(t, addrPort(peer.LocalAddr()), from)
				}
			}
		})
	}
}

// bound counts the channels of all relayed addresses.
func (r *relay) bound() (count int) {
	r.relays.mu.Lock()
	defer r.relays.mu.Unlock()
	for _, conns := range r.relays.live {
		for conn := range conns {
			count += len(conn.channels.all())
		}
	}
	return count
}
