package sfu

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/edge/sfu/downtrack"
)

// TestASlotThatChangesHandsKeepsItsClock has a slot go from one publisher to another whose clock is ten minutes ahead. A receiver works the
// clock out from all reports of a stream: with two in it voice and picture would be shown far apart.
func TestASlotThatChangesHandsKeepsItsClock(t *testing.T) {
	const ahead = 600
	slot := &said{}
	d := newDownTrack("t", webrtc.RTPCodecTypeVideo, newFeedback(newPath(nil)), nil)
	d.way, d.bound, d.open, d.ssrc = slot, true, true, 7
	var voice []uint64 // of both publishers, as of the same time
	for i, clock := range []uint64{1000 << 32, (1000 + ahead) << 32} {
		in, begun, out := newSorter(t)
		receiveOne(in, rtpOf(t, 20, 96, 1, vp8, nil))
		receiveOne(in, rtpOf(t, 30, 111, 1, []byte{1}, nil))
		of := (*begun)[0]
		l := out.layerFor(t, in, of)
		l.id, d.metrics, d.dialect = downtrack.Source(1+i), l.metrics, dialect{formats: l.dialect.formats}
		in.began(of, l, nil)
		sound := out.layerFor(t, in, (*begun)[1])
		in.began((*begun)[1], sound, nil)
		in.receiveRTCP(marshaled(t, &rtcp.SenderReport{SSRC: 20, NTPTime: clock, RTPTime: 5}), nil)
		in.receiveRTCP(marshaled(t, &rtcp.SenderReport{SSRC: 30, NTPTime: clock + 1<<31, RTPTime: 5}), nil)
		require.Equal(t, uint64(1<<31), sound.report.Load().ntp-l.report.Load().ntp, "one clock for all of a publisher's")
		voice = append(voice, sound.report.Load().ntp)
		d.follow(l, time.Now(), false)
		receiveOne(in, rtpOf(t, 20, 96, 2, vp8, nil))
		block, ok := of.statistics.Report(20, time.Second)
		require.True(t, ok)
		require.Equal(t, uint32(clock>>16), block.LastSenderReport, "in the sender's own")
	}
	require.Len(t, slot.control, 2)
	var seconds [2]float64
	for i, each := range slot.control {
		report, ok := each.(*rtcp.SenderReport)
		require.True(t, ok)
		seconds[i] = float64(report.NTPTime) / (1 << 32)
	}
	require.InDelta(t, seconds[0], seconds[1], 5)
	require.InDelta(t, float64(voice[0])/(1<<32), float64(voice[1])/(1<<32), 5)
}

// TestCaptureTimesAreOnTheClockOfReports has a publisher whose clock is wrong say when pictures were captured. A receiver compares that
// with reports.
func TestCaptureTimesAreOnTheClockOfReports(t *testing.T) {
	const captureTime, second = 7, uint64(1 << 32)
	in, begun, out := newSorter(t)
	in.sections[1].dialect.captureTime = captureTime
	at := func(seconds uint64) map[uint8]string {
		return map[uint8]string{captureTime: string(binary.BigEndian.AppendUint64(nil, seconds*second))}
	}
	receiveOne(in, rtpOf(t, 20, 96, 1, vp8, at(5000)))
	l := out.layerFor(t, in, (*begun)[0])
	l.dialect.captureTime = captureTime
	in.began((*begun)[0], l, nil)
	in.receiveRTCP(marshaled(t, &rtcp.SenderReport{SSRC: 20, NTPTime: 5003 * second, RTPTime: 9}), nil)
	receiveOne(in, rtpOf(t, 20, 96, 3, vp8, at(5002)))
	repair := append([]byte{0, 2}, vp8...)
	receiveOne(in, rtpOf(t, 21, 97, 1, repair, at(5001)))
	reported := l.report.Load().ntp
	require.InDelta(t, 3, float64(reported-ntpOf(time.Now()))/float64(second), 1, "the server's")
	for sequence := range uint64(3) {
		raw, there := l.ring.Get(int64(1<<16+1+sequence), nil)
		require.True(t, there)
		var p packet
		require.True(t, l.dialect.parse(raw, &p))
		require.Equal(t, reported-(3-sequence)*second, binary.BigEndian.Uint64(p.capture))
	}
}
