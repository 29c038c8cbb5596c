package mux

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

// mediaOf is a packet of a source.
func mediaOf(ssrc uint32, text string) []byte {
	packet := make([]byte, 12, 64)
	packet[0], packet[1] = 0x80, 96
	binary.BigEndian.PutUint32(packet[8:], ssrc)
	return append(packet, text...)
}

func TestMediaFromAnUnknownAddressGoesToWhoseSourceItIs(t *testing.T) {
	m := newMux(t, 1)
	first, second := make(chan string, 16), make(chan string, 16)
	alice, bob := m.For(media(first)), m.For(media(second))
	alice.Sends(1)
	bob.Sends(2)
	bob.Sends(1) // alice keeps it
	from, _ := peer(t)
	report := append([]byte{0x80, 200, 0, 1, 0, 0, 0, 1}, mediaOf(1, "report")...)
	for _, packet := range [][]byte{
		mediaOf(3, "nobody's"), report, {0x80, 96, 0}, check(t, "nobody:x"), mediaOf(1, "alice's"), mediaOf(2, "bob's"),
	} {
		sendTo(t, m, from, packet)
	}
	require.Equal(t, string(mediaOf(1, "alice's")), await(t, first))
	require.Equal(t, string(mediaOf(2, "bob's")), await(t, second))
	require.Equal(t, uint64(4), m.Unrouted())

	alice.Forget()
	for _, packet := range [][]byte{mediaOf(1, "over"), mediaOf(2, "still")} {
		sendTo(t, m, from, packet)
	}
	require.Equal(t, string(mediaOf(2, "still")), await(t, second))
	require.Empty(t, first)
	require.Equal(t, uint64(5), m.Unrouted())
}

func TestSourcesOfOneConnectionAreBounded(t *testing.T) {
	m := newMux(t, 1)
	v := m.For(media(make(chan string)))
	for ssrc := range uint32(10 * maxSources) {
		v.Sends(ssrc)
	}
	require.Len(t, m.sources, maxSources)
	v.Forget()
	require.Empty(t, m.sources)
}
