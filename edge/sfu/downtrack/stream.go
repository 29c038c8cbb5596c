// Package downtrack makes one continuous RTP stream out of several: a subscriber sees a single
// sequence of packets while the source behind it changes, at a key frame, between simulcast layers or
// between publishers. It is pure: no clock, no I/O.
package downtrack

import "time"

// Source identifies one received RTP stream. Zero is no source.
type Source uint64

// Packet is what the stream needs to know of a packet it may forward.
type Packet struct {
	// Number is the extended sequence number at the source: no two packets of a source have the same, however few of them
	// get here.
	Number    int64
	Timestamp uint32
	// Start says that a decoder can begin here: the first packet of a key frame, any packet of audio.
	Start bool
	// Arrival is when the packet came, on any monotonic clock.
	Arrival time.Duration
	// Capture is when its content was captured on the clock called CaptureClock. An empty clock name
	// means that the instant is not known.
	Capture      time.Duration
	CaptureClock string
	// Numbered says that the packet has VP8 frame numbers, PictureID and TL0.
	Numbered  bool
	PictureID uint16
	TL0       uint8
	// Framed says that the packet has the number of its frame in a dependency descriptor, Frame.
	Framed bool
	Frame  uint16
	// Consecutive says that a receiver takes a gap in PictureID for a loss, as of VP8.
	Consecutive bool
}

// Rewritten holds the numbers a packet goes out with.
type Rewritten struct {
	Timestamp uint32
	Sequence  uint16
	PictureID uint16
	TL0       uint8
}

// Stream rewrites packets of its current source. The zero value is not usable: see New.
type Stream struct {
	clockRate uint32
	current   Source
	pending   Source

	started bool
	first   int64 // number of the current source's first packet
	newest  int64 // and of its newest
	offset  Rewritten
	frames  uint16 // likewise, of frame numbers

	last        Rewritten // highest numbers sent so far
	lastFrame   uint16
	lastArrival time.Duration
	lastCapture time.Duration
	lastClock   string

	skips *skips // nil before the first
}

// New returns a stream without a source; clockRate is that of its RTP timestamps, in Hz.
func New(clockRate uint32) *Stream { return &Stream{clockRate: clockRate} }

// Switch asks for another source. The current one goes on until the new one sends a packet that a
// decoder can start at. Switching to the current source gives up a switch that has not happened yet.
func (s *Stream) Switch(to Source) {
	s.pending = to
	if to == s.current {
		s.pending = 0
	}
}

// Stop drops current and pending source; numbers continue after them with the next one.
func (s *Stream) Stop() { s.current, s.pending = 0, 0 }

// Restart holds the current source back until a packet that a decoder can start at, unless another one is waited for already.
func (s *Stream) Restart() {
	if s.pending == 0 {
		s.pending = s.current
	}
	s.current = 0
}

// Current is the source being forwarded, Pending the one being waited for; zero if there is none.
func (s *Stream) Current() Source { return s.current }

// Pending is the source being waited for, zero if none is.
func (s *Stream) Pending() Source { return s.pending }

// First is the number that the current source was begun with, or went on with after a jump.
func (s *Stream) First() int64 { return s.first }

// Last holds the highest numbers that went out.
func (s *Stream) Last() Rewritten { return s.last }

// TimestampOffset is what is added to the current source's RTP timestamps.
func (s *Stream) TimestampOffset() uint32 { return s.offset.Timestamp }

// Frame is the number that a frame of the current source goes out with.
func (s *Stream) Frame(number uint16) uint16 { return number + s.frames }

// Forward decides whether a packet goes out and with which numbers. Packets of one source keep their
// order and their gaps, so that a late packet fits where it was missing.
func (s *Stream) Forward(from Source, p *Packet) (Rewritten, bool) {
	begins := false
	switch {
	case from == 0:
		return Rewritten{}, false
	case from == s.pending && p.Start:
		s.begin(from, p)
		begins = true
	case from != s.current:
		return Rewritten{}, false
	default:
		s.mend(p)
	}
	if p.Number < s.first || p.Number <= s.newest-maxLate {
		return Rewritten{}, false
	}
	if s.skips.some() && !begins && !s.closeUp(p) {
		return Rewritten{}, false
	}
	out := s.number(p)
	s.newest = max(s.newest, p.Number)
	if begins {
		s.remember(out, p)
		return out, true
	}
	return s.sent(out, p), true
}

// sent takes note of a packet of the current source that goes out, and returns its numbers.
func (s *Stream) sent(out Rewritten, p *Packet) Rewritten {
	if int16(out.Sequence-s.last.Sequence) > 0 {
		out.Timestamp = s.mendTime(p)
		s.remember(out, p)
	}
	return out
}

// upperHalf is the bit that sequence numbers have that go around soon.
const upperHalf = 1 << 15

// begin makes a source current, with offsets that continue behind what was sent last.
func (s *Stream) begin(from Source, p *Packet) {
	s.current, s.pending = from, 0
	s.first, s.newest = p.Number, p.Number
	s.skips.forget()
	if !s.started {
		s.started = true
		// A receiver counts the rounds of numbers from the first packet it gets (RFC 3711, section 3.3.1): one that missed those before
		// the numbers went around could open nothing, ever.
		s.offset.Sequence = -(uint16(p.Number) & upperHalf)
		return
	}
	s.offset = Rewritten{
		Sequence:  s.last.Sequence + 1 - uint16(p.Number),
		Timestamp: s.last.Timestamp + s.step(p) - p.Timestamp,
		PictureID: (s.last.PictureID + 1 - p.PictureID) & 0x7fff,
		TL0:       s.last.TL0 + 1 - p.TL0,
	}
	if p.Framed {
		s.frames = s.lastFrame + 1 - p.Frame
	}
}

const (
	// maxLate is how many packets one may come late; its number may have gone out for another otherwise.
	maxLate = 1024
	// maxGap is how many packets in a row can be lost; a greater jump is made up.
	maxGap = 4096
	// maxJump is how far timestamps may be off the time that passed.
	maxJump = 10 * time.Second
)

// mend keeps what goes out whole when the numbers of the current source jump, as a broken or hostile sender's
// do: receivers would ask for thousands of packets, or wait for hours. It leaves a hole of one packet, so that
// the receiver notices.
func (s *Stream) mend(p *Packet) {
	// What is left out behind a gap leaves the gap, so that many small ones could be a large one.
	gap := uint16(p.Number) + s.offset.Sequence - s.last.Sequence
	if p.Number-s.newest > maxGap || p.Number > s.newest && gap > maxGap {
		s.first, s.newest = p.Number, p.Number-1
		s.skips.forget()
		s.offset.Sequence = s.last.Sequence + 2 - uint16(p.Number)
	}
}

// mendTime does the same for the timestamp of a packet that is newer than all that went out, and returns it.
func (s *Stream) mendTime(p *Packet) uint32 {
	passed := s.ticks(min(max(p.Arrival-s.lastArrival, 0), maxStep))
	jump, most := int64(int32(p.Timestamp+s.offset.Timestamp-s.last.Timestamp)), int64(s.ticks(maxJump))
	if jump < -most || jump > int64(passed)+most {
		s.offset.Timestamp = s.last.Timestamp + max(passed, 1) - p.Timestamp
	}
	return p.Timestamp + s.offset.Timestamp
}

func (s *Stream) remember(out Rewritten, p *Packet) {
	if !p.Numbered {
		out.PictureID, out.TL0 = s.last.PictureID, s.last.TL0
	}
	if p.Framed {
		s.lastFrame = s.Frame(p.Frame)
	}
	s.last = out
	s.lastArrival, s.lastCapture, s.lastClock = p.Arrival, p.Capture, p.CaptureClock
}

// maxStep bounds the jump of a switch to what still is a later timestamp modulo 2^32 at 90 kHz.
const maxStep = time.Hour

// step is how far the timestamp advances over a switch: by the time between the two captures if both
// are known on one clock, unless that was set in between, else between arrivals, and by at least one tick,
// because packets of equal timestamp would be taken for one frame.
func (s *Stream) step(p *Packet) uint32 {
	elapsed := p.Arrival - s.lastArrival
	if captured := p.Capture - s.lastCapture; p.CaptureClock != "" && p.CaptureClock == s.lastClock && captured-elapsed <= maxJump {
		elapsed = captured
	}
	return max(s.ticks(min(max(elapsed, 0), maxStep)), 1)
}

// ticks is a time in units of the RTP clock.
func (s *Stream) ticks(d time.Duration) uint32 {
	return uint32(uint64(d.Microseconds()) * uint64(s.clockRate) / uint64(time.Second.Microseconds()))
}
