// Package doors limits the connections of a port: those that nobody has vouched for more strictly and each network on its
// own, and those of each owner, so that nobody can keep others out.
package doors

import (
	"net/netip"
	"sync"
)

// Limits are how many connections there may be.
type Limits struct {
	// Total is of all, Pending of those that have no owner yet, PendingPerNetwork of those among them that come from one network.
	Total, Pending, PendingPerNetwork int
	// PerOwner is of one owner.
	PerOwner int
}

// Doors are those of a port. They are safe for concurrent use.
type Doors struct {
	limits Limits

	mu      sync.Mutex
	total   int
	waiting int
	pending map[netip.Prefix]int
	owners  map[any]int
}

// New makes doors that nobody has entered.
func New(limits Limits) *Doors {
	return &Doors{limits: limits, pending: make(map[netip.Prefix]int), owners: make(map[any]int)}
}

// Door is one connection's way in and out.
type Door struct {
	doors   *Doors
	network netip.Prefix
	pending bool // guarded by doors.mu, as is owner
	owner   any  // nil while it is pending, and where that has too many
}

// networkOf is what one subscriber has: an IPv4 address, or as many IPv6 addresses as it likes, in a /64.
func networkOf(address netip.Addr) netip.Prefix {
	address = address.Unmap().WithZone("")
	network, _ := address.Prefix(min(address.BitLen(), 64)) // fails for no address, which is one network then
	return network
}

// Enter counts a connection without an owner; ok is false if there are too many.
func (d *Doors) Enter(address netip.Addr) (_ *Door, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	network := networkOf(address)
	if d.total >= d.limits.Total || d.waiting >= d.limits.Pending || d.pending[network] >= d.limits.PendingPerNetwork {
		return nil, false
	}
	d.total++
	d.waiting++
	d.pending[network]++
	return &Door{doors: d, network: network, pending: true}, true
}

// Settle makes the connection an owner's until it leaves, and lifts the stricter limits. It reports false if the owner has too
// many. Once settled it stays so, whoever is named.
func (o *Door) Settle(owner any) bool {
	o.doors.mu.Lock()
	defer o.doors.mu.Unlock()
	if !o.pending {
		return o.owner != nil
	}
	o.settle()
	if o.doors.owners[owner] >= o.doors.limits.PerOwner {
		return false
	}
	o.owner = owner
	o.doors.owners[owner]++
	return true
}

// Leave ends the connection's count. To be called once.
func (o *Door) Leave() {
	o.doors.mu.Lock()
	defer o.doors.mu.Unlock()
	o.settle()
	o.doors.total--
	if o.owner == nil {
		return
	}
	o.doors.owners[o.owner]--
	if o.doors.owners[o.owner] == 0 {
		delete(o.doors.owners, o.owner)
	}
}

func (o *Door) settle() {
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
