package sfu

import (
	"time"

	"github.com/pion/webrtc/v4"
)

// What one layer may send in bit/s, several times what any of our clients does, and for how long it may
// exceed that at once: key frames, and what a broken network held back.
const (
	maxVideoRate, maxAudioRate = 12_000_000, 640_000
	policeBurst                = time.Second
)

// police lets a stream through up to a rate, with bursts, and keeps the rest from everybody else (a token
// bucket). One goroutine uses it.
type police struct {
	rate  int64 // bytes a second
	spent int64 // bytes in the bucket
	last  time.Duration
}

func newPolice(kind webrtc.RTPCodecType) police {
	if kind == webrtc.RTPCodecTypeAudio {
		return police{rate: maxAudioRate / 8}
	}
	return police{rate: maxVideoRate / 8}
}

// passes takes a packet of that many bytes that arrived at now, and reports whether it may go on. Small
// packets count as what they cost to forward.
func (p *police) passes(now time.Duration, bytes int) bool {
	elapsed := min(max(now-p.last, 0), policeBurst)
	p.last = now
	p.spent = max(0, p.spent-int64(elapsed)*p.rate/int64(time.Second))
	spent := p.spent + int64(bytes+wireOverhead)
	if spent > p.rate*int64(policeBurst)/int64(time.Second) {
		return false
	}
	p.spent = spent
	return true
}
