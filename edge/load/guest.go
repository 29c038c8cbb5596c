package load

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/wardline/wardline/edge/load/synthetic"
)

// Guest is one synthetic participant: what it sends, and what it noted of what it received.
type Guest struct {
	// Visit and Number say who it is, both from 1. The first Publishers of each visit publish.
	Visit, Number, Publishers int
	// Source is what it publishes; nil for who only receives.
	Source *synthetic.Source

	window           *synthetic.Window
	latency, reading *histogram

	mu       sync.Mutex
	begun    time.Time
	first    time.Time // packet of somebody else
	attended bool      // has ended
	err      error
	streams  map[uint32]*stream // by SSRC
	tracks   map[uint32]bool    // that have come
}

// begin notes that the guest begins to join.
func (g *Guest) begin(at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.begun, g.streams, g.tracks = at, make(map[uint32]*stream), make(map[uint32]bool)
}

// end notes how the visit ended for the guest.
func (g *Guest) end(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.attended, g.err = true, err
}

// receives counts the tracks that have come, and says whether no more will.
func (g *Guest) receives() (tracks int, failed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.tracks), g.attended
}

// Packet takes an RTP packet and when it came. It is safe for concurrent use and keeps nothing of the packet.
func (g *Guest) Packet(packet []byte, at time.Time) {
	size, ok := payloadSize(packet)
	if !ok {
		return
	}
	unpadded := packet
	if packet[0]&paddingBit != 0 {
		unpadded = packet[:len(packet)-int(packet[len(packet)-1])]
	}
	sequence, ssrc := binary.BigEndian.Uint16(packet[2:]), binary.BigEndian.Uint32(packet[8:])
	stamp, stamped := synthetic.ReadStamp(unpadded)
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.streams[ssrc]
	if s == nil {
		if !stamped {
			return // nothing of ours
		}
		s = &stream{}
		g.streams[ssrc] = s
		if g.first.IsZero() {
			g.first = at
		}
	}
	if !s.fresh(sequence) {
		return
	}
	if !stamped {
		s.pend(size)
		return
	}
	if s.track != stamp.Track || s.received == 0 {
		s.track = stamp.Track
		g.tracks[stamp.Track] = true
	}
	if !g.window.Has(stamp.Sent) {
		s.pending, s.pendingBytes, s.pendingPadding = 0, 0, 0
		return
	}
	s.count(size)
	came := synthetic.At(at)
	g.latency.add(came - stamp.Sent)
	g.reading.add(synthetic.Now() - came)
}

// history is how far back a repeated packet is known as one.
const history = 1024

// stream counts the packets of one SSRC.
type stream struct {
	track uint32

	begun   bool
	highest uint32 // extended sequence number
	seen    [history / 64]uint64

	// What came within the window: packets with media, the bytes of their payloads, and packets of padding alone.
	received, bytes, padding int64
	duplicates               int64
	// The same since the last stamp: the next one says whether they are within the window. A server that cuts pictures into
	// packets of its own leaves the stamp at the end of the picture only.
	pending, pendingBytes, pendingPadding int64

	from, to uint32 // sequence numbers within the window
	last     uint32 // the extended sequence number of the packet at hand
}

// fresh notes a sequence number and reports whether it is there for the first time.
func (s *stream) fresh(sequence uint16) bool {
	if !s.begun {
		s.begun, s.highest = true, 1<<16|uint32(sequence) // so that one before it has a number
		s.seen[sequence%history/64] |= 1 << (sequence % 64)
		s.last = s.highest
		return true
	}
	s.last = s.highest + uint32(int32(int16(sequence-uint16(s.highest))))
	switch {
	case s.last > s.highest:
		for n := s.highest + 1; n != s.last && s.last-n < history; n++ {
			s.seen[n%history/64] &^= 1 << (n % 64)
		}
		if s.last-s.highest > history {
			clear(s.seen[:])
		}
		s.highest = s.last
	case s.highest-s.last >= history:
		return false
	case s.seen[s.last%history/64]&(1<<(s.last%64)) != 0:
		s.duplicates++
		return false
	}
	s.seen[s.last%history/64] |= 1 << (s.last % 64)
	return true
}

// pend keeps the packet at hand, which has no stamp.
func (s *stream) pend(size int) {
	if size == 0 {
		s.pendingPadding++
		return
	}
	s.pending++
	s.pendingBytes += int64(size)
}

// count counts the packet at hand, and what came since the last stamp, as within the window.
func (s *stream) count(size int) {
	if s.received == 0 {
		s.from = s.last - uint32(s.pending+s.pendingPadding)
		s.to = s.last
	} else {
		s.from, s.to = min(s.from, s.last), max(s.to, s.last)
	}
	s.received += 1 + s.pending
	s.bytes += int64(size) + s.pendingBytes
	s.padding += s.pendingPadding
	s.pending, s.pendingBytes, s.pendingPadding = 0, 0, 0
}

// lost is how many packets within the window did not come, by their sequence numbers.
func (s *stream) lost() int64 {
	if s.received == 0 {
		return 0
	}
	return max(0, int64(s.to-s.from)+1-s.received-s.padding)
}

// paddingBit is set in the first byte of an RTP packet that ends with padding.
const paddingBit = 0x20

// payloadSize is how many bytes of media an RTP packet has (RFC 3550 section 5.1), 0 for one of padding alone; false if it is
// none.
func payloadSize(packet []byte) (int, bool) {
	const fixed = 12
	if len(packet) < fixed || packet[0]>>6 != 2 {
		return 0, false
	}
	begin, end := fixed+4*int(packet[0]&0x0f), len(packet)
	if packet[0]&0x10 != 0 {
		if len(packet) < begin+4 {
			return 0, false
		}
		begin += 4 + 4*int(binary.BigEndian.Uint16(packet[begin+2:]))
	}
	if packet[0]&paddingBit != 0 {
		end -= int(packet[len(packet)-1])
	}
	return end - begin, end >= begin
}
