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

	window  *synthetic.Window
	latency *histogram

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

// Packet takes an RTP packet as it came. It is safe for concurrent use and keeps nothing of the packet.
func (g *Guest) Packet(packet []byte, at time.Time) {
	const fixedHeader = 12
	if len(packet) < fixedHeader {
		return
	}
	sequence, ssrc := binary.BigEndian.Uint16(packet[2:]), binary.BigEndian.Uint32(packet[8:])
	stamp, stamped := synthetic.ReadStamp(packet)
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
		s.filling++
		return
	}
	if s.track != stamp.Track || s.received == 0 {
		s.track = stamp.Track
		g.tracks[stamp.Track] = true
	}
	if !g.window.Has(stamp.Sent) {
		s.filling = 0
		return
	}
	s.count()
	g.latency.add(synthetic.At(at) - stamp.Sent)
}

// history is how far back a repeated packet is known as one.
const history = 1024

// stream counts the packets of one SSRC.
type stream struct {
	track uint32

	begun   bool
	highest uint32 // extended sequence number
	seen    [history / 64]uint64

	received   int64 // within the window
	duplicates int64
	filling    int64 // packets of the server's own since the last of ours
	fillers    int64 // the same, between two of ours within the window
	from, to   uint32
	last       uint32 // the extended sequence number of the packet at hand
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

// count counts the packet at hand as one within the window.
func (s *stream) count() {
	if s.received == 0 {
		s.from, s.to = s.last, s.last
	} else {
		s.from, s.to = min(s.from, s.last), max(s.to, s.last)
		s.fillers += s.filling
	}
	s.filling = 0
	s.received++
}

// lost is how many packets within the window did not come, by their sequence numbers.
func (s *stream) lost() int64 {
	if s.received == 0 {
		return 0
	}
	return max(0, int64(s.to-s.from)+1-s.received-s.fillers)
}
