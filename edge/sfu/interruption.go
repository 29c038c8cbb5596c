package sfu

import (
	"time"

	"github.com/pion/webrtc/v4"
)

// stuckFor is for how long the packets of a picture may be stuck somewhere on their way, all at once.
const stuckFor = time.Second

// broken says that packets are lost for good. Whoever gets the layer sees nothing more of it before a key frame: browsers ask for
// one only after seconds, and pictures that refer to what is lost are of no use to them.
func (l *layer) broken(now time.Time) {
	downs := l.downs.Load()
	if downs == nil || len(*downs) == 0 || l.track.kind != webrtc.RTPCodecTypeVideo {
		return
	}
	for _, down := range *downs {
		down.restart(l)
	}
	l.requestKeyFrame(now)
}

// stuck reports whether a packet waited while there was no network: it was not captured as long ago as nothing came. A browser that
// is given such pictures expects all others to be as late, and shows those that are not only then. Padding is of no picture.
func (l *layer) stuck(p *packet, arrival time.Duration) bool {
	silent := arrival - time.Duration(l.lastPacket.Load())
	if silent < stuckFor || p.numbers.Start || len(p.Payload) == 0 || l.track.kind != webrtc.RTPCodecTypeVideo {
		return false
	}
	captured := time.Duration(int32(p.Timestamp-l.timestamp)) * time.Second / videoClockRate
	return silent-captured > stuckFor
}

// restart holds a source back until its next key frame. What was sent of it before is not sent again.
func (d *downTrack) restart(l *layer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.layer == l && d.stream.Current() == l.id {
		d.stream.Restart()
		d.history.Forget()
	}
}

// resume goes on after the way to the subscriber was gone for a while, at a key frame.
func (d *downTrack) resume(now time.Time) {
	d.mu.Lock()
	l := d.layer
	d.mu.Unlock()
	if l != nil {
		d.restart(l)
		l.requestKeyFrame(now)
	}
}
