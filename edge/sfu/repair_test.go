package sfu

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"
)

// newRepairedFeed is a feed whose subscriber takes retransmissions on SSRC 9 and gives transport feedback.
func newRepairedFeed(t *testing.T) (l *layer, d *downTrack, out *wire) {
	t.Helper()
	l, d, out = newFeed(t, rate.NewLimiter(rate.Inf, 0))
	d.repair.ssrc, d.dialect.transport = 9, 3
	d.dialect.repairs = map[uint8]uint8{111: 112}
	d.path.reports.Store(true)
	d.feedback.about(7, d)
	return l, d, out
}

func transportNumber(p rtp.Packet) uint16 { return binary.BigEndian.Uint16(p.GetExtension(3)) }

func TestLostPacketsAreRepairedOnAStreamOfTheirOwn(t *testing.T) {
	l, d, out := newRepairedFeed(t)
	feed(t, l, 100, 10, 1)
	raw, err := nackOf(7, 103, 105).Marshal()
	require.NoError(t, err)
	d.feedback.receiveRTCP(raw, nil)
	require.Len(t, out.packets, 12)
	for i, lost := range []int{3, 5} {
		original, again := out.packets[lost], out.packets[10+i]
		require.Equal(t, uint32(9), again.SSRC)
		require.Equal(t, uint8(112), again.PayloadType)
		require.Equal(t, uint16(i+1), again.SequenceNumber, "numbers of its own")
		require.Equal(t, original.Timestamp, again.Timestamp)
		require.Equal(t, original.Marker, again.Marker)
		require.Equal(t, original.SequenceNumber, binary.BigEndian.Uint16(again.Payload), "RFC 4588, section 4")
		require.Equal(t, original.Payload, again.Payload[2:])
	}
	for i, p := range out.packets {
		require.Equal(t, uint16(i+1), transportNumber(p), "one count for everything that leaves")
	}
}

func TestPaddingLeavesMediaAlone(t *testing.T) {
	l, d, out := newRepairedFeed(t)
	feed(t, l, 100, 5, 1)
	before := d.path.sent.Bytes()
	require.True(t, d.pads())
	d.pad(1000)
	sent := d.path.sent.Bytes() - before
	require.GreaterOrEqual(t, sent, int64(1000))
	require.Less(t, sent, int64(1000+maxPadding+wireOverhead))
	for _, p := range out.packets[5:] {
		require.Equal(t, uint32(9), p.SSRC)
		require.Empty(t, p.Payload)
		require.Equal(t, byte(maxPadding), p.Header.PaddingSize)
	}
	feed(t, l, 105, 1, 1)
	last := out.packets[len(out.packets)-1]
	require.Equal(t, out.packets[4].SequenceNumber+1, last.SequenceNumber, "media has no hole")
	require.Equal(t, uint16(len(out.packets)), transportNumber(last))

	d.repair.ssrc = 0
	require.False(t, d.pads())
	d.pad(1000)
	require.Equal(t, last, out.packets[len(out.packets)-1])
}

func TestFeedbackThatMakesNoSenseIsSkipped(t *testing.T) {
	l, d, out := newRepairedFeed(t)
	feed(t, l, 100, 5, 1)
	pli, err := (&rtcp.PictureLossIndication{MediaSSRC: 1234}).Marshal()
	require.NoError(t, err)
	for _, raw := range [][]byte{nil, {0}, {0x8f, 205}, {0x81, 205, 0, 9}, pli, make([]byte, 1500)} {
		d.feedback.receiveRTCP(raw, nil)
	}
	require.Len(t, out.packets, 5)
	require.Equal(t, startRate, d.path.rate())
}

// TestFeedbackIsHeardAmongOtherReports is about receivers that send it in compound packets (RFC 3550, section 6.1), beside something
// that cannot be read.
func TestFeedbackIsHeardAmongOtherReports(t *testing.T) {
	l, d, out := newRepairedFeed(t)
	feed(t, l, 100, 5, 1)
	arrived := &rtcp.TransportLayerCC{
		Header:             rtcp.Header{Count: rtcp.FormatTCC, Type: rtcp.TypeTransportSpecificFeedback, Length: 5, Padding: true},
		BaseSequenceNumber: 1, PacketStatusCount: 1,
		PacketChunks: []rtcp.PacketStatusChunk{
			&rtcp.RunLengthChunk{PacketStatusSymbol: rtcp.TypeTCCPacketReceivedSmallDelta, RunLength: 1},
		},
		RecvDeltas: []*rtcp.RecvDelta{{Type: rtcp.TypeTCCPacketReceivedSmallDelta}},
	}
	next := *arrived
	next.BaseSequenceNumber = 2
	odd := rtcp.RawPacket{0x9f, 205, 0, 1, 0, 0, 0, 0} // feedback of the reserved kind, without a media source
	raw, err := rtcp.Marshal([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: 1}, &odd, arrived, &next, nackOf(7, 103)})
	require.NoError(t, err)
	d.feedback.receiveRTCP(raw, nil)
	require.True(t, d.path.estimator.Heard())
	require.Len(t, d.path.results, 1)
	require.Equal(t, uint16(2), d.path.results[0].Number, "both messages")
	require.Len(t, out.packets, 6, "and the request")
}

// arrive has a subscriber say that packets have arrived, by their transport-wide numbers.
func arrive(tb testing.TB, d *downTrack, from, count uint16) {
	tb.Helper()
	m := &rtcp.TransportLayerCC{
		Header:             rtcp.Header{Count: rtcp.FormatTCC, Type: rtcp.TypeTransportSpecificFeedback},
		BaseSequenceNumber: from, PacketStatusCount: count,
		PacketChunks: []rtcp.PacketStatusChunk{
			&rtcp.RunLengthChunk{PacketStatusSymbol: rtcp.TypeTCCPacketReceivedSmallDelta, RunLength: count},
		},
	}
	for range count {
		m.RecvDeltas = append(m.RecvDeltas, &rtcp.RecvDelta{Type: rtcp.TypeTCCPacketReceivedSmallDelta})
	}
	m.Header.Length, m.Header.Padding = uint16(m.MarshalSize()/4-1), m.MarshalSize()%4 != 0
	raw, err := m.Marshal()
	require.NoError(tb, err)
	d.feedback.receiveRTCP(raw, nil)
}

// TestALostEndOfAPictureIsSentAgain is about a screen that stands still: no next picture shows a subscriber that something is missing.
func TestALostEndOfAPictureIsSentAgain(t *testing.T) {
	l, d, out := newRepairedFeed(t)
	wait := func() (again []uint16) {
		before := len(out.packets)
		for range 3 * tailTicks {
			d.sendTail()
		}
		for _, p := range out.packets[before:] {
			require.Equal(t, uint32(9), p.SSRC)
			again = append(again, binary.BigEndian.Uint16(p.Payload))
		}
		return again
	}
	require.Empty(t, wait(), "nothing was sent")
	d.kind = webrtc.RTPCodecTypeVideo
	feed(t, l, 100, 10, 1)
	arrive(t, d, 1, 3)
	arrive(t, d, 5, 4)
	first := out.packets[0].SequenceNumber
	require.Equal(t, []uint16{first + 8, first + 9}, wait(), "it knows what is missing before those")
	require.Empty(t, wait(), "once")
	feed(t, l, 110, 1, 1)
	arrive(t, d, 13, 1)
	require.Empty(t, wait(), "it arrived")
	feed(t, l, 111, 40, 1)
	require.Len(t, wait(), maxTail)
	feed(t, l, 151, 1, 1)
	d.kind = webrtc.RTPCodecTypeAudio
	require.Empty(t, wait(), "of a voice it is late by then")
}

func TestSubscriberThatPromisedFeedbackAndGivesNone(t *testing.T) {
	l, d, _ := newRepairedFeed(t)
	require.Equal(t, startRate, d.path.rate())
	feed(t, l, 100, 5, 1)
	require.Equal(t, startRate, d.path.rate())
	d.path.began = d.path.began.Add(-mute - time.Second)
	require.Equal(t, unlimited, d.path.rate(), "it is served as one that cannot be measured")
}

// FuzzFeedback gives a subscriber's control packets to its path: whatever they say, an answer to a request for
// lost packets is all that leaves, and the estimate stays within its limits.
func FuzzFeedback(f *testing.F) {
	for _, m := range []rtcp.Packet{
		nackOf(7, 1, 2, 3), &rtcp.PictureLossIndication{MediaSSRC: 7},
		&rtcp.FullIntraRequest{FIR: []rtcp.FIREntry{{SSRC: 7}}}, &rtcp.ReceiverReport{Reports: []rtcp.ReceptionReport{{SSRC: 7}}},
	} {
		raw, err := m.Marshal()
		require.NoError(f, err)
		f.Add(raw)
	}
	f.Add([]byte{0x8f, 205, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 8, 0, 0, 1, 0, 0x20, 8, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, d, out := newRepairedFeed(t)
		feed(t, l, 0, 20, 1)
		d.feedback.receiveRTCP(raw, nil)
		require.LessOrEqual(t, len(out.packets), 20+maxResend)
		for _, p := range out.packets[20:] {
			require.Equal(t, uint32(9), p.SSRC)
		}
		require.GreaterOrEqual(t, d.path.rate(), floorRate)
		require.LessOrEqual(t, d.path.rate(), ceilingRate)
	})
}
