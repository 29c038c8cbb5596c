package peer

import (
	"context"
	"time"

	"github.com/pion/rtcp"
)

// Pace of what is reported.
const (
	feedbackEvery = 100 * time.Millisecond
	reportEvery   = 10 // feedbacks
	// feedbackSSRC is the sender of reports: somebody who sends no media has to have some.
	feedbackSSRC = 1
	// maxReports is how many streams one receiver report has room for (RFC 3550 section 6.4.1).
	maxReports = 31
)

// Sender sends RTCP; a *webrtc.PeerConnection does.
type Sender interface {
	WriteRTCP(packets []rtcp.Packet) error
}

// Run reports back until ctx ends. What cannot be sent is lost, as on a network without a path.
func (r *Receiver) Run(ctx context.Context, to Sender) {
	ticker := time.NewTicker(feedbackEvery)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			if packets := r.due(now, n%reportEvery == 0); len(packets) > 0 {
				_ = to.WriteRTCP(packets)
			}
		}
	}
}

// due are the packets to send.
func (r *Receiver) due(now time.Time, report bool) []rtcp.Packet {
	r.mu.Lock()
	defer r.mu.Unlock()
	var packets []rtcp.Packet
	if report {
		full := &rtcp.ReceiverReport{SSRC: feedbackSSRC}
		for ssrc, s := range r.sinks {
			if s.received.begun && len(full.Reports) < maxReports {
				full.Reports = append(full.Reports, s.received.report(ssrc, now))
			}
		}
		if len(full.Reports) > 0 {
			packets = append(packets, full)
		}
	}
	if r.feedbackID.Load() != 0 {
		packets = append(packets, r.arrived.BuildFeedbackPacket()...)
	}
	return packets
}

// control takes the sender reports out of RTCP packets.
func (r *Receiver) control(packet []byte, at time.Time) {
	packets, err := rtcp.Unmarshal(packet)
	if err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, each := range packets {
		if sent, ok := each.(*rtcp.SenderReport); ok {
			if s := r.sinks[sent.SSRC]; s != nil {
				s.received.sent, s.received.sentAt = uint32(sent.NTPTime>>16), at
			}
		}
	}
}

// reception counts the packets of one stream as RFC 3550 appendix A.3 does.
type reception struct {
	begun                bool
	first, highest       uint32 // extended sequence numbers
	packets              uint32
	priorExpected, prior uint32 // at the last report
	sent                 uint32 // the middle of the last sender report's NTP time
	sentAt               time.Time
}

func (c *reception) packet(sequence uint16) {
	c.packets++
	if !c.begun {
		c.begun, c.first, c.highest = true, uint32(sequence), uint32(sequence)
		return
	}
	// Modular: what is up to half the range ahead is newer.
	if ahead := sequence - uint16(c.highest); ahead < 1<<15 {
		c.highest += uint32(ahead)
	}
}

func (c *reception) report(ssrc uint32, now time.Time) rtcp.ReceptionReport {
	expected := c.highest - c.first + 1
	r := rtcp.ReceptionReport{SSRC: ssrc, LastSequenceNumber: c.highest}
	if expected > c.packets {
		r.TotalLost = min(expected-c.packets, 1<<23-1)
	}
	interval, came := expected-c.priorExpected, c.packets-c.prior
	if interval > came {
		r.FractionLost = uint8(min(uint64(interval-came)<<8/uint64(interval), 255))
	}
	c.priorExpected, c.prior = expected, c.packets
	if !c.sentAt.IsZero() {
		r.LastSenderReport = c.sent
		r.Delay = uint32(now.Sub(c.sentAt).Seconds() * 65536)
	}
	return r
}
