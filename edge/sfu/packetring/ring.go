// Package packetring keeps the most recent packets of one RTP stream, so that lost ones can be sent again.
package packetring

import "sync"

// Ring holds the last packets of one RTP stream by sequence number (RFC 3550). It is written by one
// goroutine and read by many.
type Ring struct {
	mu      sync.Mutex
	slots   []slot
	highest uint64 // extended sequence number of the newest packet
	started bool
}

type slot struct {
	sequence uint64
	data     []byte
	used     bool
}

// New returns a ring for size packets; size must be a power of two of at most 32768, so that a slot
// keeps its sequence numbers when they wrap.
func New(size int) *Ring {
	return &Ring{slots: make([]slot, size)}
}

// Put copies a packet into the ring. It reports false, and keeps nothing, for a packet that is already
// there or older than the ring reaches: sending it on would repeat an SRTP packet index.
func (r *Ring) Put(sequence uint16, data []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	extended := r.extend(sequence)
	if r.started && extended+uint64(len(r.slots)) <= r.highest {
		return false
	}
	s := &r.slots[extended%uint64(len(r.slots))]
	if s.used && s.sequence == extended {
		return false
	}
	s.sequence, s.used = extended, true
	s.data = append(s.data[:0], data...)
	if !r.started || extended > r.highest {
		r.highest, r.started = extended, true
	}
	return true
}

// Get appends the packet with that sequence number to dst and returns it. It reports false if the
// packet never came or was overwritten.
func (r *Ring) Get(sequence uint16, dst []byte) ([]byte, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	extended := r.extend(sequence)
	s := &r.slots[extended%uint64(len(r.slots))]
	if !s.used || s.sequence != extended || extended+uint64(len(r.slots)) <= r.highest {
		return dst, false
	}
	return append(dst, s.data...), true
}

// extend unwraps a sequence number to the one nearest to the newest packet. Counting starts one cycle
// up, so that a packet before the first one is no negative number; the signed distance wraps as
// two's complement does.
func (r *Ring) extend(sequence uint16) uint64 {
	if !r.started {
		return 1<<16 + uint64(sequence)
	}
	return r.highest + uint64(int64(int16(sequence-uint16(r.highest))))
}
