package bandwidth

import (
	"encoding/binary"
	"errors"
	"time"
)

// Layout of a feedback message behind the RTCP header of 4 bytes and two SSRCs.
const (
	baseAt, countAt, referenceAt, chunksAt = 12, 14, 16, 20
	referenceUnit                          = 64 * time.Millisecond
	deltaUnit                              = 250 * time.Microsecond
)

// Symbols of a packet's status.
const (
	notReceived = iota
	smallDelta
	largeDelta
)

var errFeedback = errors.New("malformed transport feedback")

// IsFeedback reports whether an RTCP packet is transport-wide feedback: transport layer feedback (RFC 4585,
// 205) of format 15.
func IsFeedback(raw []byte) bool { return len(raw) >= 2 && raw[0]&0x1f == 15 && raw[1] == 205 }

// Results reads one feedback message and appends what it says of packets that are remembered to into. It may be about many more:
// whoever comes back after an outage says of all that was sent meanwhile that it is lost.
func (s *Sent) Results(raw []byte, now time.Duration, into []Result) ([]Result, error) {
	if len(raw) < chunksAt {
		return into, errFeedback
	}
	base, count := binary.BigEndian.Uint16(raw[baseAt:]), int(binary.BigEndian.Uint16(raw[countAt:]))
	if count == 0 {
		return into, errFeedback
	}
	deltasAt, ok := endOfChunks(raw[chunksAt:], count)
	if !ok {
		return into, errFeedback
	}
	chunks, deltas := raw[chunksAt:chunksAt+deltasAt], raw[chunksAt+deltasAt:]
	reference := uint32(raw[referenceAt])<<16 | uint32(raw[referenceAt+1])<<8 | uint32(raw[referenceAt+2])
	arrival := time.Duration(int32(reference<<8)>>8) * referenceUnit
	first := len(into)
	for i := 0; i < count; chunks = chunks[2:] {
		chunk, j := binary.BigEndian.Uint16(chunks), 0
		if chunk>>13 == notReceived { // a run: what is forgotten of it is not counted, however long it is
			j = min(max(0, count-sentSize-i), symbolsOf(chunk))
			i += j
		}
		for ; j < symbolsOf(chunk) && i < count; i, j = i+1, j+1 {
			symbol := symbolOf(chunk, j)
			if arrival, deltas, ok = advance(arrival, symbol, deltas); !ok {
				return into[:first], errFeedback
			}
			if result, known := s.take(base+uint16(i), now, symbol != notReceived); known {
				result.Arrived, result.Lost = arrival, symbol == notReceived
				into = append(into, result)
			}
		}
	}
	return into, nil
}

// endOfChunks is where the chunks for count packets end; false if they are cut short.
func endOfChunks(chunks []byte, count int) (end int, ok bool) {
	for count > 0 {
		if end+2 > len(chunks) {
			return 0, false
		}
		n := symbolsOf(binary.BigEndian.Uint16(chunks[end:]))
		if n == 0 {
			return 0, false
		}
		count -= n
		end += 2
	}
	return end, true
}

// symbolsOf is how many packets a chunk is about: a run length, 14 of one bit or 7 of two bits.
func symbolsOf(chunk uint16) int {
	switch {
	case chunk&0x8000 == 0:
		return int(chunk & 0x1fff)
	case chunk&0x4000 == 0:
		return 14
	default:
		return 7
	}
}

func symbolOf(chunk uint16, index int) uint16 {
	switch {
	case chunk&0x8000 == 0:
		return chunk >> 13 & 3
	case chunk&0x4000 == 0:
		return chunk >> (13 - index) & 1
	default:
		return chunk >> (12 - 2*index) & 3
	}
}

// advance goes on to the arrival of a packet that has arrived, by its delta.
func advance(arrival time.Duration, symbol uint16, deltas []byte) (time.Duration, []byte, bool) {
	switch symbol {
	case notReceived:
		return arrival, deltas, true
	case smallDelta:
		if len(deltas) < 1 {
			return 0, nil, false
		}
		return arrival + time.Duration(deltas[0])*deltaUnit, deltas[1:], true
	case largeDelta:
		if len(deltas) < 2 {
			return 0, nil, false
		}
		return arrival + time.Duration(int16(binary.BigEndian.Uint16(deltas)))*deltaUnit, deltas[2:], true
	default: // reserved
		return 0, nil, false
	}
}
