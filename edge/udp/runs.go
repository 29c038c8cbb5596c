package udp

import "net/netip"

// Bounds of a run that goes out as one message and is cut into datagrams by the system.
const (
	maxSegments = 64      // what every kernel with the feature takes
	maxSegment  = 1472    // longer ones would be fragmented, which the kernel refuses for runs
	maxRunBytes = 61_440  // below what one message may have, headers included
	noSegments  = 1 << 16 // a segment size that no datagram reaches: runs of any size are allowed
)

// run is a number of packets to one peer that go out as one message: all of the size of the first, but
// the last, which may be shorter.
type run struct {
	to          netip.AddrPort
	class       Class
	first, last int32 // index of packet
	count       int
	bytes       int
	segment     int // size of the first
	closed      bool
}

// runs groups packets by peer. The zero value is usable; its memory is used again.
type runs struct {
	list []run
	next []int32 // by packet: the one after it in its run, -1 for none

	// table finds the open run of a peer, by open addressing. A slot whose round is not the current one is empty.
	table []tableSlot
	round uint32
}

type tableSlot struct {
	round uint32
	run   int32
}

// plan groups packets into runs, in an order that every peer sees as that of the packets. Datagrams of at
// least limit bytes are not put together.
func (r *runs) plan(packets []*packet, limit int) {
	r.list, r.next = r.list[:0], r.next[:0]
	if limit == 0 || len(packets) == 1 {
		for i, p := range packets {
			r.next = append(r.next, -1)
			r.list = append(r.list, newRun(p, int32(i)))
		}
		return
	}
	r.reset(len(packets))
	for i, p := range packets {
		r.next = append(r.next, -1)
		slot := r.find(p.to)
		if slot.round == r.round && r.list[slot.run].takes(p, limit) {
			open := &r.list[slot.run]
			r.next[open.last] = int32(i)
			open.add(p, int32(i))
			continue
		}
		slot.round, slot.run = r.round, int32(len(r.list))
		r.list = append(r.list, newRun(p, int32(i)))
	}
}

func newRun(p *packet, index int32) run {
	return run{to: p.to, class: p.class, first: index, last: index, count: 1, bytes: len(p.data), segment: len(p.data)}
}

func (r *run) takes(p *packet, limit int) bool {
	size := len(p.data)
	return !r.closed && size > 0 && size <= r.segment && r.segment < limit && r.segment <= maxSegment &&
		p.class == r.class && r.count < maxSegments && r.bytes+size <= maxRunBytes
}

func (r *run) add(p *packet, index int32) {
	r.last = index
	r.count++
	r.bytes += len(p.data)
	r.closed = len(p.data) < r.segment
}

// reset empties the table and makes it large enough to be at most half full.
func (r *runs) reset(packets int) {
	size := max(len(r.table), 64)
	for size < 2*packets {
		size *= 2
	}
	r.round++
	if size != len(r.table) || r.round == 0 {
		r.table, r.round = make([]tableSlot, size), 1
	}
}

// find returns the slot of a peer, or the empty one where it belongs.
func (r *runs) find(peer netip.AddrPort) *tableSlot {
	mask := uint64(len(r.table) - 1)
	for i := hash(peer); ; i++ {
		slot := &r.table[i&mask]
		if slot.round != r.round || r.list[slot.run].to == peer {
			return slot
		}
	}
}
