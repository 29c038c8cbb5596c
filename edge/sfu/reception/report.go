// Package reception says what a receiver of RTP owes its sender: how well a stream arrives, and what of it is missing.
// It is pure: no clock, no I/O. Times are those of any one monotonic clock.
package reception

import (
	"time"

	"github.com/pion/rtcp"
)

// Statistics are those of one received stream (RFC 3550, sections 6.4.1 and A.3, A.8). The zero value needs ClockRate.
type Statistics struct {
	// ClockRate is that of the RTP timestamps, in Hz.
	ClockRate uint32

	started  bool
	base     uint32 // extended sequence number of the first packet
	highest  uint32
	received uint32

	expectedBefore, receivedBefore uint32 // as of the last report

	transit uint32
	jitter  float64 // in units of the clock

	reported   uint64 // NTP time of the last sender report
	reportedAt time.Duration
}

// maxJump is how far sequence numbers may jump: beyond it the stream begins anew (RFC 3550, section A.1, MAX_DROPOUT).
const maxJump = 3000

// Received counts a packet that was not received before.
func (s *Statistics) Received(sequence uint16, timestamp uint32, arrival time.Duration) {
	ahead := int(int16(sequence - uint16(s.highest)))
	if !s.started || ahead > maxJump || ahead < -maxJump {
		*s = Statistics{ClockRate: s.ClockRate, started: true, reported: s.reported, reportedAt: s.reportedAt}
		s.base = 1<<16 + uint32(sequence) // so that a packet before the first is no negative number
		s.highest = s.base
		s.transit = s.ticks(arrival) - timestamp
	} else if ahead > 0 {
		s.highest += uint32(ahead)
	}
	s.received++
	transit := s.ticks(arrival) - timestamp
	late := int32(transit - s.transit)
	s.transit = transit
	if late < 0 {
		late = -late
	}
	s.jitter += (float64(late) - s.jitter) / 16
}

func (s *Statistics) ticks(at time.Duration) uint32 {
	return uint32(uint64(at.Microseconds()) * uint64(s.ClockRate) / uint64(time.Second.Microseconds()))
}

// Reported takes note of a sender report that came at that time.
func (s *Statistics) Reported(ntp uint64, arrival time.Duration) {
	s.reported, s.reportedAt = ntp, arrival
}

// Report is the report block about the stream since the last one; false if nothing of it has come yet.
func (s *Statistics) Report(ssrc uint32, now time.Duration) (rtcp.ReceptionReport, bool) {
	if !s.started {
		return rtcp.ReceptionReport{}, false
	}
	expected := s.highest - s.base + 1
	due, came := expected-s.expectedBefore, s.received-s.receivedBefore
	s.expectedBefore, s.receivedBefore = expected, s.received
	report := rtcp.ReceptionReport{
		SSRC: ssrc, LastSequenceNumber: s.highest - 1<<16, Jitter: uint32(s.jitter), TotalLost: lost(expected, s.received),
	}
	if due > came && due < 1<<24 {
		report.FractionLost = uint8(min((due-came)*256/due, 255))
	}
	if s.reported != 0 {
		report.LastSenderReport = uint32(s.reported >> 16)
		report.Delay = uint32((now - s.reportedAt).Seconds() * 65536)
	}
	return report, true
}

// lost is a count of 24 bits; what came twice makes it no less than none.
func lost(expected, received uint32) uint32 {
	if received >= expected {
		return 0
	}
	return min(expected-received, 1<<23-1)
}
