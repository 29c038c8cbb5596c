package sfu

import (
	"time"

	"github.com/wardline/wardline/edge/udp"
)

// caughtUp is how much may have come of a stream before the first packet of its key frame: of more, another key frame is there as soon.
const caughtUp = 300 * time.Millisecond

// overdue reports whether a packet that begins a key frame is of no use to who waited for it any more.
func (l *layer) overdue(p *packet) bool {
	const ticks = int32(caughtUp * videoClockRate / time.Second)
	return p.late && int32(l.timestamp-p.Timestamp) > ticks
}

// catchUp sends, to whom a late key frame begins for, also what came before its first packet and belongs behind it.
func (l *layer) catchUp(first int64, out *udp.Batch) {
	l.forward(out)
	downs := l.downs.Load()
	if downs == nil {
		return
	}
	var behind []*downTrack
	for _, down := range *downs {
		if down.beganWith(l, first) {
			behind = append(behind, down)
		}
	}
	if len(behind) == 0 {
		return
	}
	arrival := time.Since(l.since)
	for number := first + 1; number <= l.newest; number++ {
		p := l.room()
		raw, there := l.ring.Get(number, nil)
		if !there || !l.dialect.parse(raw, p) || !p.describe(l.scale.Load()) {
			l.came = l.came[:len(l.came)-1]
			continue
		}
		p.numbers.Number, p.fresh = number, false
		l.time(p, arrival)
		if len(l.came) == maxCame {
			l.forwardTo(behind, out)
		}
	}
	l.forwardTo(behind, out)
}

// beganWith reports whether a layer is forwarded from that packet on.
func (d *downTrack) beganWith(l *layer, number int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stream.Current() == l.id && d.stream.First() == number
}
