package sfu

import (
	"time"

	"github.com/wardline/wardline/edge/sfu/downtrack"
	"github.com/wardline/wardline/edge/sfu/scalability"
	"github.com/wardline/wardline/edge/udp"
)

// limit says how many layers of a scalable source are forwarded. With atOnce those beyond stop now, even if nothing can be
// forwarded until a key frame.
func (d *downTrack) limit(layers scalability.Layers, now time.Time, atOnce bool) {
	d.mu.Lock()
	var waits *layer
	if d.chooser.Wanted() != layers {
		d.chooser.Want(layers, atOnce)
		if d.chooser.Waits() {
			waits = d.layer
		}
	}
	d.mu.Unlock()
	if waits != nil {
		waits.requestKeyFrame(now)
	}
}

// judgeLocked decides whether a frame of a scalable source goes out.
func (d *downTrack) judgeLocked(from *layer, p *packet, by *udp.Batch) scalability.Verdict {
	switch {
	case from.id == d.stream.Pending() && p.numbers.Start:
		d.chooser.Reset()
	case from.id != d.stream.Current():
		return scalability.Verdict{}
	}
	verdict := d.chooser.Choose(p.Timestamp, &p.frame, p.fresh)
	if !verdict.Pass {
		d.metrics.packetsLeftOut.Inc()
		if kept, late := d.stream.Skip(from.id, &p.numbers); late {
			d.sendEmptyLocked(p, kept, by)
		}
	}
	return verdict
}

// sendEmptyLocked sends a packet without content, for a number that the subscriber would ask for forever.
func (d *downTrack) sendEmptyLocked(p *packet, out downtrack.Rewritten, by *udp.Batch) {
	payloadType, _, ok := d.translate(p)
	if !ok {
		return
	}
	header := outHeader{payloadType: payloadType, sequence: out.Sequence, timestamp: out.Timestamp, ssrc: uint32(d.ssrc)}
	raw := d.beginLocked(&header, d.numberLocked(0, p.numbers.Arrival-d.path.epoch), by)
	_ = d.way.send(raw, by, d.class()) // lost like any other
}

// readAlikeLocked reports whether the descriptor of a packet that is to go out again is read as the first time: by another structure
// it would be another packet, and that under the same SRTP index.
func (d *downTrack) readAlikeLocked(p *packet, out downtrack.Rewritten) bool {
	return !p.described || p.frame.Attached || p.structure == d.history.Described(out.Sequence).Structure
}

// describeLocked gives a packet its dependency descriptor, which is good until the next call, and the end of its picture.
func (d *downTrack) describeLocked(p *packet, out downtrack.Rewritten, header *outHeader) {
	frame := d.history.Described(out.Sequence)
	header.marker = header.marker || frame.Last
	if d.dialect.dependency == 0 {
		return
	}
	d.described = p.frame.AppendTo(d.described[:0], p.dependency, frame.Number, frame.Active)
	header.described = extension{d.dialect.dependency, d.described}
}
