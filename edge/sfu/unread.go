package sfu

import (
	"slices"
	"time"

	"github.com/wardline/wardline/edge/udp"
)

// unread are the numbers of packets that only the one can be read by that begins their key frame, and that may come late.
type unread []int64

// add lets a packet wait, for as long as the ring has it.
func (u *unread) add(number int64) {
	if len(*u) == videoRing {
		*u = slices.Delete(*u, 0, 1)
	}
	*u = append(*u, number)
}

// readOn takes what waited for a packet that begins a key frame, each once. It reports whether one of them is the first since forward.
func (l *layer) readOn(from int64, out *udp.Batch) (first bool) {
	slices.Sort(l.unread)
	for _, number := range l.unread {
		if number < from {
			continue
		}
		p := l.room()
		raw, there := l.ring.Get(number, nil)
		if !there || !l.dialect.parse(raw, p) || !p.describe(l.scale.Load()) {
			l.came = l.came[:len(l.came)-1]
			continue
		}
		p.numbers.Number = number
		l.read(p, time.Since(l.since))
		begins, _ := l.accepted(out)
		first = first || begins
	}
	l.unread = l.unread[:0]
	return first
}
