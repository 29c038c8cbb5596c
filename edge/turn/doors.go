package turn

import (
	"net/netip"
	"sync"
)

// doors limits connections, those without valid credentials more strictly and each network on its own, and those of
// each user, so that nobody can keep others out.
type doors struct {
	limits doorLimits

	mu      sync.Mutex
	total   int
	waiting int
	pending map[netip.Prefix]int
	users   map[string]int
}

// doorLimits are how many connections there may be, how many of them without valid credentials, and of one user.
type doorLimits struct{ total, pending, pendingPerNetwork, perUser int }

func newDoors(limits doorLimits) *doors {
	return &doors{limits: limits, pending: make(map[netip.Prefix]int), users: make(map[string]int)}
}

// door is one connection's way in and out.
type door struct {
	doors   *doors
	network netip.Prefix
	pending bool   // guarded by doors.mu, as is user
	user    string // empty while it is pending, and where that has too many
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
	if d.total >= d.limits.total || d.waiting >= d.limits.pending || d.pending[network] >= d.limits.pendingPerNetwork {
		return nil, false
	}
	d.total++
	d.waiting++
	d.pending[network]++
	return &door{doors: d, network: network, pending: true}, true
}

// authenticated lifts the stricter limits from the connection of a user, whose it is until it leaves. It reports false if the
// user has too many.
func (o *door) authenticated(user string) bool {
	o.doors.mu.Lock()
	defer o.doors.mu.Unlock()
	if !o.pending {
		return o.user != ""
	}
	o.settle()
	if o.doors.users[user] >= o.doors.limits.perUser {
		return false
	}
	o.user = user
	o.doors.users[user]++
	return true
}

// leave ends the connection's count.
func (o *door) leave() {
	o.doors.mu.Lock()
	defer o.doors.mu.Unlock()
	o.settle()
	o.doors.total--
	if o.user == "" {
		return
	}
	o.doors.users[o.user]--
	if o.doors.users[o.user] == 0 {
		delete(o.doors.users, o.user)
	}
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
