package doors

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOneSubscriberIsOneNetwork(t *testing.T) {
	d := New(Limits{Total: 10, Pending: 10, PendingPerNetwork: 1})
	for _, test := range []struct {
		address string
		enters  bool
	}{
		{"2001:db8:0:1::1", true},
		{"2001:db8:0:1::2", false},
		{"2001:db8:0:1:ffff::%eth0", false},
		{"2001:db8:0:2::1", true},
		{"192.0.2.1", true},
		{"::ffff:192.0.2.1", false},
		{"192.0.2.2", true},
	} {
		_, ok := d.Enter(netip.MustParseAddr(test.address))
		require.Equal(t, test.enters, ok, test.address)
	}
}

func TestDoors(t *testing.T) {
	one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	d := New(Limits{Total: 3, Pending: 2, PendingPerNetwork: 1, PerOwner: 2})
	first, ok := d.Enter(one)
	require.True(t, ok)
	_, ok = d.Enter(one)
	require.False(t, ok, "one address, one connection")
	require.True(t, first.Settle("one"))
	require.True(t, first.Settle("one"))
	second, ok := d.Enter(one)
	require.True(t, ok, "the first has an owner")
	third, ok := d.Enter(two)
	require.True(t, ok)
	require.True(t, third.Settle("one"))
	_, ok = d.Enter(two)
	require.False(t, ok, "three in all")
	require.False(t, second.Settle("one"), "two of one owner")
	require.False(t, second.Settle("two"), "it was refused")
	for _, door := range []*Door{first, second, third} {
		door.Leave()
	}
	require.Zero(t, d.total)
	require.Zero(t, d.waiting)
	require.Empty(t, d.pending)
	require.Empty(t, d.owners)
}
