package descriptor

import "math/bits"

// reader reads bits, from the highest of each byte down. Beyond the end it reads zeros and says so in short.
type reader struct {
	data  []byte
	next  int    // byte
	held  uint64 // bits of those before it
	count int    // of held, that have not been read
	short bool
}

// read takes at most 32 bits.
func (r *reader) read(count int) uint32 {
	for ; r.count < count; r.count += 8 {
		if r.next == len(r.data) {
			r.short = true
			return 0
		}
		r.held = r.held<<8 | uint64(r.data[r.next])
		r.next++
	}
	r.count -= count
	return uint32(r.held >> r.count & (1<<count - 1))
}

// at is how many bits have been read.
func (r *reader) at() int { return 8*r.next - r.count }

func (r *reader) flag() bool { return r.read(1) == 1 }

// below reads a number below n, in as few bits as that takes: ns(n) of the specification.
func (r *reader) below(n uint32) uint32 {
	width := bits.Len32(n)
	few := uint32(1)<<width - n
	value := r.read(width - 1)
	if value < few {
		return value
	}
	return value<<1 - few + r.read(1)
}

// writer writes bits behind data, where the last byte is filled up with zeros.
type writer struct {
	data []byte
	free int // bits of the last byte
}

// write takes at most 32 bits.
func (w *writer) write(value uint32, count int) {
	for count > 0 {
		if w.free == 0 {
			w.data, w.free = append(w.data, 0), 8
		}
		put := min(w.free, count)
		part := byte(value>>(count-put)) & (1<<put - 1)
		w.data[len(w.data)-1] |= part << (w.free - put)
		w.free -= put
		count -= put
	}
}

// copyBits takes over what r has up to a place.
func (w *writer) copyBits(r *reader, end int) {
	for r.at() < end {
		count := min(end-r.at(), 8)
		w.write(r.read(count), count)
	}
}
