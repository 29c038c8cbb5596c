package sfu

import (
	"slices"

	"github.com/pion/webrtc/v4"
)

const (
	// tailTicks is for how many ticks nothing leaves behind a packet until feedback that it arrived would have come.
	tailTicks = 5
	// maxTail is how many packets without such feedback are sent again.
	maxTail = 16
)

// tail is the last packet that left.
type tail struct {
	sequence uint16
	ticks    int // that it was that
}

// sendTail sends the last packets of a video again that did not arrive as far as the subscriber says, once, if nothing leaves behind
// them for a while. It would miss them only when the next picture comes, and those of a screen that stands still are far apart.
func (d *downTrack) sendTail() {
	ssrc, lost := d.lostTail()
	for _, sequence := range slices.Backward(lost) {
		if !d.path.resends.Allow() || !d.resendOne(ssrc, sequence, nil) {
			return
		}
	}
}

// lostTail lists them, from the last back.
func (d *downTrack) lostTail() (ssrc uint32, lost []uint16) {
	d.mu.Lock()
	defer d.mu.Unlock()
	last := d.stream.Last().Sequence
	if last != d.tail.sequence {
		d.tail = tail{sequence: last}
	}
	d.tail.ticks++
	if d.tail.ticks != tailTicks || d.kind != webrtc.RTPCodecTypeVideo || d.repair.ssrc == 0 || !d.path.reports.Load() {
		return 0, nil
	}
	for sequence := last; len(lost) < maxTail; sequence-- {
		sent, ok := d.history.Lookup(sequence)
		if !ok || !d.path.sent.Awaits(sent.Transport) {
			break
		}
		lost = append(lost, sequence)
	}
	return uint32(d.ssrc), lost
}
