package sfu

import (
	"time"

	"github.com/wardline/wardline/edge/udp"
)

// burst follows whether the packets of a stream's pictures come at once, as browsers send them when nothing on the way spreads
// them, or one by one. The zero value expects the latter.
type burst struct {
	picture uint32        // RTP timestamp
	done    time.Duration // when the last packet had been handled: until then nobody could have read the next
	dense   bool
}

// goesOn reports whether the next packet is worth waiting for before those that came are sent on.
func (b *burst) goesOn(came []packet) bool {
	var p *packet
	for i := range came {
		p = &came[i]
		if p.Timestamp == b.picture {
			b.dense = i > 0 || p.numbers.Arrival-b.done < udp.MaxHold
		}
		b.picture = p.Timestamp
	}
	return p != nil && b.dense && !p.Marker
}
