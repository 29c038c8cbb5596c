package sfu

import (
	"encoding/binary"

	"github.com/wardline/wardline/edge/sfu/packetring"
)

// parameters remembers the parameter sets of an H.264 stream. A key frame can have several packets that a decoder could start at, but
// not without those, and all but the first are in vain without the ones before.
type parameters struct {
	sent    bool
	picture uint32 // RTP timestamp of the latest
	// known is the picture of which all packets between two numbers are there: each is looked for once.
	known    uint32
	from, to int64
}

// begins reports whether a packet that could be the first of a key frame is.
func (s *parameters) begins(p *packet, ring *packetring.Ring) bool {
	switch {
	case p.parameters:
		s.sent, s.picture = true, p.Timestamp
		return true
	case !s.sent:
		return true
	case p.Timestamp == s.picture:
		return false
	default:
		return s.whole(p, ring)
	}
}

// whole reports whether all that a picture has before a packet is there.
func (s *parameters) whole(p *packet, ring *packetring.Ring) bool {
	const timestamp, end = 4, 8 // RFC 3550, section 5.1
	for number := p.numbers.Number - 1; ; number-- {
		if s.known == p.Timestamp && s.from <= number && number <= s.to {
			number = s.from - 1
		}
		raw, there := ring.Get(number, nil)
		if !there || binary.BigEndian.Uint32(raw[timestamp:end]) != p.Timestamp {
			s.known, s.from, s.to = p.Timestamp, number+1, p.numbers.Number
			return there
		}
	}
}
