package turn

import (
	"net/netip"
	"sync"
)

// doors limits connections, those without valid credentials more strictly and each address on its own, so
// that nobody who has none can keep others out.
type doors struct {
	maxTotal, maxPending, maxPendingPerAddress int

	mu      sync.Mutex
	total   int
	waiting int
	pending map[netip.Addr]int
}

func newDoors(total, pending, pendingPerAddress int) *doors {
	return &doors{
		maxTotal: total, maxPending: pending, maxPendingPerAddress: pendingPerAddress,
		pending: make(map[netip.Addr]int),
	}
}

// door is one connection's way in and out.
type door struct {
	doors   *doors
	address netip.Addr
	pending bool // guarded by doors.mu
}

// enter counts a connection without credentials; ok is false if there are too many.
func (d *doors) enter(address netip.Addr) (_ *door, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.total >= d.maxTotal || d.waiting >= d.maxPending || d.pending[address] >= d.maxPendingPerAddress {
		return nil, false
	}
	d.total++
	d.waiting++
	d.pending[address]++
	return &door{doors: d, address: address, pending: true}, true
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
	o.doors.pending[o.address]--
	if o.doors.pending[o.address] == 0 {
		delete(o.doors.pending, o.address)
	}
}
