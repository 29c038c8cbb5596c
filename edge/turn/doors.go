package turn

import (
	"net/netip"
	"sync"
)

// doors limits connections, those without valid credentials more strictly and each network on its own, so
// that nobody who has none can keep others out.
type doors struct {
	maxTotal, maxPending, maxPendingPerNetwork int

	mu      sync.Mutex
	total   int
	waiting int
	pending map[netip.Prefix]int
}

func newDoors(total, pending, pendingPerNetwork int) *doors {
	return &doors{
		maxTotal: total, maxPending: pending, maxPendingPerNetwork: pendingPerNetwork,
		pending: make(map[netip.Prefix]int),
	}
}

// door is one connection's way in and out.
type door struct {
	doors   *doors
	network netip.Prefix
	pending bool // guarded by doors.mu
}

// networkOf is what one subscriber has: an IPv4 address, or as many IPv6 addresses as it likes, in a /64.
func networkOf(address netip.Addr) netip.Prefix {
	address = address.Unmap().WithZone("")
	network, _ := address.Prefix(min(address.BitLen(), 64)) // fails for no address, which is one network then
	return network
}

// enter counts a connection without credentials; ok is false if there are too many.
func (d *doors) enter(address netip.Addr) (_ *door, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	network := networkOf(address)
	if d.total >= d.maxTotal || d.waiting >= d.maxPending || d.pending[network] >= d.maxPendingPerNetwork {
		return nil, false
	}
	d.total++
	d.waiting++
	d.pending[network]++
	return &door{doors: d, network: network, pending: true}, true
}

// authenticated lifts the stricter limits from the connection. It may be called again.
func (o *door) authenticated() {
	o.doors.mu.Lock()
	defer o.doors.mu.Unlock()
	o.settle()
}

// leave ends the connection's count.
func (o *door) leave() {
	o.doors.mu.Lock()
	defer o.doors.mu.Unlock()
	o.settle()
	o.doors.total--
}

func (o *door) settle() {
	if !o.pending {
		return
	}
	o.pending = false
	o.doors.waiting--
	o.doors.pending[o.network]--
	if o.doors.pending[o.network] == 0 {
		delete(o.doors.pending, o.network)
	}
}
