package downtrack

// skips is what a stream has left out of its current source.
type skips struct {
	any       bool // else the rest means nothing
	sequences skipped
	pictures  skipped
	picture   int64 // extended number of the newest picture
}

func (s *skips) some() bool { return s != nil && s.any }

func (s *skips) forget() {
	if s != nil {
		s.any = false
	}
}

// Skip takes note that a packet does not go out, which the current source may begin with: those behind it close up, so that nobody
// takes it for lost. For one that comes when those have gone out, and each once, a number has been kept; with that it has to go out,
// without content.
func (s *Stream) Skip(from Source, p *Packet) (kept Rewritten, late bool) {
	switch {
	case from == 0:
		return Rewritten{}, false
	case from == s.pending && p.Start:
		s.begin(from, p)
		s.newest--
	case from != s.current:
		return Rewritten{}, false
	default:
		s.mend(p)
	}
	if p.Number < s.first || p.Number <= s.newest-maxLate {
		return Rewritten{}, false
	}
	if !s.skips.some() {
		s.skips = &skips{any: true, picture: int64((s.last.PictureID - s.offset.PictureID) & pictureMask)}
	}
	if p.Number > s.newest {
		s.skips.sequences.advance(s.newest, p.Number)
		s.skips.sequences.add(p.Number)
		s.newest = p.Number
		s.offset.Sequence--
		s.skipPicture(p)
		return Rewritten{}, false
	}
	if s.skips.sequences.has(p.Number) {
		return Rewritten{}, false
	}
	if kept = s.number(p); int16(kept.Sequence-s.last.Sequence) <= 0 {
		return kept, true
	}
	s.skips.sequences.add(p.Number)
	s.offset.Sequence--
	return Rewritten{}, false
}

// skipPicture lets the numbers of pictures close up as well.
func (s *Stream) skipPicture(p *Packet) {
	if !p.Consecutive {
		return
	}
	if picture := s.skips.extend(p.PictureID); picture > s.skips.picture {
		s.skips.pictures.advance(s.skips.picture, picture)
		s.skips.pictures.add(picture)
		s.skips.picture = picture
		s.offset.PictureID--
	}
}

// closeUp takes note of a packet that goes out while some have not; false for one of those.
func (s *Stream) closeUp(p *Packet) bool {
	if p.Number > s.newest {
		s.skips.sequences.advance(s.newest, p.Number)
	} else if s.skips.sequences.has(p.Number) {
		return false
	}
	if p.Consecutive {
		if picture := s.skips.extend(p.PictureID); picture > s.skips.picture {
			s.skips.pictures.advance(s.skips.picture, picture)
			s.skips.picture = picture
		}
	}
	return true
}

// number is what a packet of the current source goes out with. The offsets are those of the newest packets; those before a
// packet that was left out are by one further along.
func (s *Stream) number(p *Packet) Rewritten {
	out := Rewritten{
		Sequence:  uint16(p.Number) + s.offset.Sequence,
		Timestamp: p.Timestamp + s.offset.Timestamp,
		PictureID: (p.PictureID + s.offset.PictureID) & pictureMask,
		TL0:       p.TL0 + s.offset.TL0,
	}
	if s.skips.some() && p.Number < s.newest {
		out.Sequence += uint16(s.skips.sequences.between(p.Number, s.newest))
		if p.Consecutive {
			after := s.skips.pictures.between(s.skips.extend(p.PictureID), s.skips.picture)
			out.PictureID = (out.PictureID + uint16(after)) & pictureMask
		}
	}
	return out
}

// pictureMask is of numbers of 15 bits.
const pictureMask = 0x7fff

// extend unwraps the number of a picture to the one nearest to the newest.
func (s *skips) extend(picture uint16) int64 {
	return s.picture + int64(int16((picture-uint16(s.picture))<<1)>>1)
}
