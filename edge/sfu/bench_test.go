package sfu

import (
	"fmt"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/wardline/wardline/edge/sfu/packetring"
)

// nowhere takes packets as pion does, by copying them.
type nowhere struct{ buffer [1500]byte }

func (n *nowhere) WriteRTP(header *rtp.Header, payload []byte) (int, error) {
	size, err := header.MarshalTo(n.buffer[:])
	if err != nil {
		return 0, err
	}
	return copy(n.buffer[size:], payload), nil
}

func (n *nowhere) Write([]byte) (int, error) { return 0, nil }

// BenchmarkForward is a received packet's way to its subscribers, up to sealing.
func BenchmarkForward(b *testing.B) {
	for _, subscribers := range []int{1, 3, 20} {
		for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
			b.Run(fmt.Sprintf("%s/subscribers=%d", kind, subscribers), func(b *testing.B) {
				benchmarkForward(b, kind, subscribers)
			})
		}
	}
}

func benchmarkForward(b *testing.B, kind webrtc.RTPCodecType, subscribers int) {
	b.Helper()
	receive := fanOutTo(b, kind, subscribers)
	b.ReportAllocs()
	for b.Loop() {
		receive()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*subscribers), "ns/packet")
}

func TestForwardingAllocatesNothing(t *testing.T) {
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		receive := fanOutTo(t, kind, 20)
		for range 2 * videoRing {
			receive() // the ring takes its room
		}
		require.Zero(t, testing.AllocsPerRun(1000, receive), "%s", kind)
	}
}

// fanOutTo returns a function that has a layer receive one more packet and forward it to its subscribers.
func fanOutTo(tb testing.TB, kind webrtc.RTPCodecType, subscribers int) func() {
	tb.Helper()
	l, raw := layerOf(tb, kind)
	for range subscribers {
		d := newDownTrack("t", kind, newFeedback(newPath(rate.NewLimiter(rate.Inf, 1)), func() {}), l.metrics)
		d.writer, d.ssrc, d.dialect = &nowhere{}, 1, l.dialect
		d.dialect.transport = 3
		d.connected(time.Now())
		d.follow(l, time.Now(), true)
	}
	var p packet
	sequence := uint16(0)
	receive := func() {
		sequence++
		raw[2], raw[3] = byte(sequence>>8), byte(sequence)
		l.receive(raw, &p, func(uint8) {})
	}
	receive()
	for _, d := range *l.downs.Load() {
		require.Equal(tb, uint32(1), d.packets)
	}
	return receive
}

// layerOf makes a layer and a packet of it that anybody can start at.
func layerOf(tb testing.TB, kind webrtc.RTPCodecType) (*layer, []byte) {
	tb.Helper()
	m, err := newMetrics(prometheus.NewRegistry(), nil)
	require.NoError(tb, err)
	l := &layer{
		id: 1, track: &track{kind: kind}, remote: &webrtc.TrackRemote{}, ring: packetring.New(videoRing), metrics: m,
		keyFrame: throttle{every: keyFrameEvery}, request: func(webrtc.SSRC) {}, since: time.Now(),
		police: police{rate: 1 << 30}, overran: func() {},
		dialect: dialect{
			audioLevel: 1, captureTime: 2,
			formats: map[uint8]format{96: {mime: "video/vp8"}, 102: {mime: "video/h264"}, 111: {mime: "audio/opus"}, 63: {mime: mimeRED}},
		},
	}
	header := rtp.Header{Version: 2, PayloadType: 111}
	payload := make([]byte, 80)
	if kind == webrtc.RTPCodecTypeVideo {
		// A key frame's first packet, with a picture id of 15 bits (RFC 7741, section 4.2).
		header.PayloadType, payload = 96, make([]byte, 1150)
		copy(payload, []byte{0x90, 0x80, 0x80, 1, 0, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0xe0, 0x01})
		require.NoError(tb, header.SetExtension(2, make([]byte, 8)))
	} else {
		require.NoError(tb, header.SetExtension(1, []byte{0x30}))
	}
	raw, err := (&rtp.Packet{Header: header, Payload: payload}).Marshal()
	require.NoError(tb, err)
	return l, raw
}
