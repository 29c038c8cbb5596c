package sfu

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/wardline/wardline/edge/sfu/bandwidth"
	"github.com/wardline/wardline/edge/sfu/downtrack"
	"github.com/wardline/wardline/edge/sfu/packetring"
	"github.com/wardline/wardline/edge/udp"
)

const (
	// keyFrameEvery is how often a publisher is asked for key frames of one layer at most.
	keyFrameEvery = 500 * time.Millisecond
	// layerSilence is how long a simulcast layer may pause before it counts as stopped.
	layerSilence = 700 * time.Millisecond

	// maxCame is how many packets are forwarded at once.
	maxCame = 64

	// Packets kept to be sent again: about two seconds of a large video.
	videoRing, audioRing = 512, 256
)

func ringSize(kind webrtc.RTPCodecType) int {
	if kind == webrtc.RTPCodecTypeAudio {
		return audioRing
	}
	return videoRing
}

// layer is one received RTP stream: a track, or one simulcast encoding of it. It keeps each packet in the ring and
// hands it to the down tracks: to each of them all packets that came at once, since what a down track needs is soon out of the
// processor's caches.
type layer struct {
	id        downtrack.Source
	rid       string
	ssrc      uint32
	track     *track
	dialect   dialect
	ring      *packetring.Ring
	keyFrames keyFrames
	request   func(ssrc uint32) // sends a picture loss indication to the publisher
	metrics   *metrics
	meter     meter
	police    police
	burst     burst
	came      []packet          // to be forwarded
	onLevel   func(level uint8) // told the audio level of each packet, in -dBov
	overran   func()            // told when the stream sends more than it may
	since     time.Time         // arrival times count from here

	wantedAt time.Time      // guarded by the room's lock: when somebody last wanted it
	took     bandwidth.Rate // likewise: what it costs, or did before it was idle
	idle     bool           // likewise: the client was told that nobody does

	timestamp  uint32       // of the last packet
	lastPacket atomic.Int64 // time since since, in nanoseconds
	report     atomic.Pointer[senderReport]
	pixels     atomic.Int32           // of the latest key frame that said, else zero
	scale      atomic.Pointer[scale]  // nil before a key frame with a dependency descriptor
	latest     uint16                 // sequence number of a packet with one
	foreign    atomic.Pointer[string] // codec that a subscriber cannot decode, nil while all can

	newest     int64 // number of the newest packet
	unread     unread
	parameters parameters

	mu    sync.Mutex
	downs atomic.Pointer[[]*downTrack] // copied on write, so that the reader takes no lock
}

// receive takes a packet, which must not change until forward. It reports whether it is the first since then, and whether a key
// frame starts with it.
func (l *layer) receive(raw []byte, out *udp.Batch) (first, starts bool) {
	p := l.room()
	if !l.accept(raw, p) {
		l.came = l.came[:len(l.came)-1]
		return false, false
	}
	attached, number := p.described && p.frame.Attached, p.numbers.Number
	late := p.late && !p.overdue && len(l.unread) == 0
	first, starts = l.accepted(out)
	switch {
	case starts && late:
		l.catchUp(number, out)
	case attached:
		first = l.readOn(number, out) || first
	}
	return first, starts
}

// room is that of one more packet that came, which has to be accepted.
func (l *layer) room() *packet {
	count := len(l.came)
	if count == cap(l.came) {
		l.came = append(l.came, packet{})
	}
	l.came = l.came[:count+1]
	return &l.came[count]
}

// accepted goes on with the newest packet that came, as receive does.
func (l *layer) accepted(out *udp.Batch) (first, starts bool) {
	count := len(l.came)
	starts = l.track.kind == webrtc.RTPCodecTypeVideo && l.came[count-1].numbers.Start
	if starts && (!l.came[count-1].overdue || len(l.unread) > 0) { // else who waited for it does not get the packets behind it
		l.keyFrames.came()
	}
	if count == maxCame {
		l.forward(out)
	}
	return count == 1, starts
}

// accept reads a packet and keeps it in the ring. It reports whether to forward it.
func (l *layer) accept(raw []byte, p *packet) bool {
	l.metrics.packetsReceived.Inc()
	arrival := time.Since(l.since)
	if !l.police.passes(arrival, len(raw)) {
		l.metrics.packetsPoliced.Inc()
		l.overran()
		return false
	}
	if !l.dialect.parse(raw, p) {
		return false
	}
	var fits bool
	if p.numbers.Number, fits = l.ring.Put(p.SequenceNumber, raw); !fits {
		return false
	}
	p.late, l.newest = p.numbers.Number < l.newest, max(l.newest, p.numbers.Number)
	p.numbers.Start = p.numbers.Start && l.parameters.begins(p, l.ring)
	if !p.describe(l.scale.Load()) {
		l.unread.add(p.numbers.Number)
		return false
	}
	p.overdue = l.overdue(p)
	l.read(p, arrival)
	return true
}

// read takes note of what a packet says.
func (l *layer) read(p *packet, arrival time.Duration) {
	if p.described {
		p.fresh = l.scale.Load() == nil || int16(p.SequenceNumber-l.latest) > 0
		l.note(p)
	}
	l.metrics.bytesReceived.Add(float64(len(p.Payload)))
	l.meter.add(len(p.Payload) + wireOverhead)
	if p.picture.Width > 0 {
		l.pixels.Store(int32(p.picture.Width) * int32(p.picture.Height))
	}
	if l.stuck(p, arrival) {
		l.broken(l.since.Add(arrival))
	}
	l.timestamp = p.Timestamp
	l.lastPacket.Store(int64(arrival))
	l.time(p, arrival)
	if len(p.level) > 0 {
		l.onLevel(p.level[0] & 0x7f)
	}
}

// time notes when a packet came, and when its content was captured.
func (l *layer) time(p *packet, arrival time.Duration) {
	p.numbers.Arrival = arrival
	if report := l.report.Load(); report != nil && report.ntp != 0 {
		p.numbers.Capture, p.numbers.CaptureClock = report.captureAt(p.Timestamp, l.track.clockRate()), l.track.clock
	}
}

// forward sends what came to all down tracks.
func (l *layer) forward(out *udp.Batch) {
	var all []*downTrack
	if downs := l.downs.Load(); downs != nil {
		all = *downs
	}
	l.forwardTo(all, out)
}

// forwardTo sends what came to some down tracks, and counts once for all of them since counters are shared by all layers.
func (l *layer) forwardTo(downs []*downTrack, out *udp.Batch) {
	packets, bytes := 0, 0
	for _, down := range downs {
		sent, size := down.forward(l, l.came, out)
		packets += sent
		bytes += size
		if out != nil && out.Ample() {
			out.Flush()
		}
	}
	l.metrics.packetsForwarded.Add(float64(packets))
	l.metrics.bytesForwarded.Add(float64(bytes))
	if l.track.kind == webrtc.RTPCodecTypeVideo {
		if l.burst.goesOn(l.came) && out != nil {
			out.Hold()
		}
		l.burst.done = time.Since(l.since)
	}
	l.came = l.came[:0]
}

// again calls send with the packet that has this number, if it is still there.
func (l *layer) again(number int64, send func(*packet)) bool {
	raw, ok := l.ring.Get(number, nil)
	if !ok {
		return false
	}
	var p packet
	if !l.dialect.parse(raw, &p) || !p.describe(l.scale.Load()) {
		return false
	}
	send(&p)
	return true
}

// reported passes a sender report on.
func (l *layer) reported(out *udp.Batch, report *senderReport) {
	l.report.Store(report)
	if downs := l.downs.Load(); downs != nil {
		for _, down := range *downs {
			down.report(l, out)
		}
	}
}

// alive reports whether packets came lately. A track without simulcast has no other layer to fall to
// and counts as alive: a screen may stand still for long.
func (l *layer) alive(now time.Time) bool {
	return l.rid == "" || now.Sub(l.heard()) < layerSilence
}

// heard is when the last packet came.
func (l *layer) heard() time.Time { return l.since.Add(time.Duration(l.lastPacket.Load())) }

// requestKeyFrame asks the publisher for a key frame, now or as soon as the last request is long enough ago, until one comes.
func (l *layer) requestKeyFrame(now time.Time) {
	if l.track.kind != webrtc.RTPCodecTypeVideo {
		return
	}
	if !l.keyFrames.request(now) {
		l.metrics.plisThrottled.Inc()
		return
	}
	l.sendRequest()
}

// tick measures, and asks for the key frame that is still wanted.
func (l *layer) tick(now time.Time) {
	l.meter.tick()
	if s := l.scale.Load(); s != nil {
		s.tick()
	}
	if l.keyFrames.due(now, l.heard()) {
		l.sendRequest()
	}
}

func (l *layer) sendRequest() {
	l.metrics.plisSent.Inc()
	l.request(l.ssrc)
}

func (l *layer) add(down *downTrack) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var downs []*downTrack
	if old := l.downs.Load(); old != nil {
		if slices.Contains(*old, down) {
			return
		}
		downs = append(downs, *old...)
	}
	downs = append(downs, down)
	l.downs.Store(&downs)
}

func (l *layer) remove(down *downTrack) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.downs.Load()
	if old == nil {
		return
	}
	downs := slices.DeleteFunc(slices.Clone(*old), func(each *downTrack) bool { return each == down })
	l.downs.Store(&downs)
}
