// Package packetring keeps the most recent packets of one RTP stream, so that lost ones can be sent again.
package packetring

import "sync"

// Ring holds the last packets of one RTP stream by sequence number (RFC 3550). It is written by one
// goroutine and read by many.
type Ring struct {
	mu      sync.Mutex
	slots   []slot
	highest int64 // number of the newest packet
	started bool
}

type slot struct {
	number int64
	data   []byte
	used   bool
}

// New returns a ring for size packets; size must be a power of two of at most 32768, so that a slot
// keeps its sequence numbers when they wrap.
func New(size int) *Ring {
	return &Ring{slots: make([]slot, size)}
}

// Put copies a packet into the ring and returns its number, the extended sequence number, which no other packet of the stream
// has. It reports false, and keeps nothing, for a packet that is already there or older than the ring reaches: sending it on would
// repeat an SRTP packet index.
func (r *Ring) Put(sequence uint16, data []byte) (number int64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	number = r.extend(sequence)
	if r.started && number+int64(len(r.slots)) <= r.highest {
		return number, false
	}
	s := r.slot(number)
	if s.used && s.number == number {
		return number, false
	}
	s.number, s.used = number, true
	s.data = append(s.data[:0], data...)
	if !r.started || number > r.highest {
		r.highest, r.started = number, true
	}
	return number, true
}

// Get appends the packet with that number to dst and returns it. It reports false if the packet never came or was overwritten.
func (r *Ring) Get(number int64, dst []byte) ([]byte, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.slot(number)
	if !s.used || s.number != number || number+int64(len(r.slots)) <= r.highest {
		return dst, false
	}
	return append(dst, s.data...), true
}

func (r *Ring) slot(number int64) *slot { return &r.slots[uint64(number)%uint64(len(r.slots))] }

// extend unwraps a sequence number to the one nearest to the newest packet. Counting starts one cycle
// up, so that a packet before the first one is no negative number.
func (r *Ring) extend(sequence uint16) int64 {
	if !r.started {
		return 1<<16 + int64(sequence)
	}
	return r.highest + int64(int16(sequence-uint16(r.highest)))
}
