package gateway

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLobbyEvictsWhoWaitedLongest(t *testing.T) {
	l := newLobby(2, 3)
	var evicted []string
	enter := func(name, addr string) func() {
		return l.enter(netip.MustParseAddr(addr), func() { evicted = append(evicted, name) })
	}
	leave := enter("a", "192.0.2.1")
	enter("b", "192.0.2.1")
	leave()
	leave()
	enter("c", "192.0.2.1")
	require.Empty(t, evicted, "who left needs no room")
	enter("d", "192.0.2.1")
	require.Equal(t, []string{"b"}, evicted, "an address makes room for itself")
	enter("e", "2001:db8::1")
	enter("f", "2001:db8::2")
	require.Equal(t, []string{"b", "c"}, evicted, "all together have room for three")
	enter("g", "2001:db8::3")
	require.Equal(t, []string{"b", "c", "e"}, evicted, "a /64 counts as one")
	require.Equal(t, 3, l.seats.Len())
	require.Len(t, l.counts, 2)
}
