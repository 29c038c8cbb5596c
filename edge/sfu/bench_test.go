package sfu

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	dtlsextension "github.com/pion/dtls/v3/pkg/protocol/extension"
	"github.com/pion/dtls/v3/pkg/protocol/handshake"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/wardline/wardline/edge/sfu/mux"
	"github.com/wardline/wardline/edge/sfu/packetring"
	"github.com/wardline/wardline/edge/udp"
)

// nowhere takes packets as a transport does, but does not seal them.
type nowhere struct{ room [1500]byte }

func (n *nowhere) send(packet []byte, _ *udp.Batch, _ udp.Class) error {
	copy(n.room[:], packet)
	return nil
}

func (n *nowhere) sendControl(*udp.Batch, ...rtcp.Packet) {}

// hello and keyLog are what a handshake makes known.
var (
	hello = handshake.MessageServerHello{Extensions: []dtlsextension.Extension{
		&dtlsextension.UseSRTP{ProtectionProfiles: []dtlsextension.SRTPProtectionProfile{dtlsextension.SRTP_AEAD_AES_128_GCM}},
	}}
	keyLog = fmt.Sprintf("CLIENT_RANDOM %064x %096x\n", 1, 2)
)

// connectedTo is a transport with keys, to a socket that nobody reads.
func connectedTo(tb testing.TB, port *mux.Mux) *transport {
	tb.Helper()
	peer, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = peer.Close() })
	t := &transport{port: port}
	t.handshake.ServerHello(hello)
	_, err = t.handshake.Write([]byte(keyLog))
	require.NoError(tb, err)
	session, err := t.handshake.Session(false)
	require.NoError(tb, err)
	t.session.Store(session)
	address := netip.MustParseAddrPort(peer.LocalAddr().String())
	t.target.Store(&target{udp: address, back: address})
	return t
}

// onPort returns ways to peers of one port, and its batch.
func onPort(tb testing.TB) (func() way, *udp.Batch) {
	tb.Helper()
	conn, err := udp.Listen(tb.Context(), "127.0.0.1:0", udp.Config{})
	require.NoError(tb, err)
	port := mux.New(conn, []netip.AddrPort{conn.LocalAddr()}, func() {})
	tb.Cleanup(func() { require.NoError(tb, port.Close()) })
	return func() way { return connectedTo(tb, port) }, port.NewBatch()
}

// BenchmarkForward is a received packet's way to its subscribers: up to sealing, and until the kernel has taken it.
func BenchmarkForward(b *testing.B) {
	for _, subscribers := range []int{1, 3, 20} {
		for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
			b.Run(fmt.Sprintf("%s/subscribers=%d/unsealed", kind, subscribers), func(b *testing.B) {
				_, out := onPort(b)
				benchmarkForward(b, subscribers, fanOutTo(b, kind, subscribers, func() way { return &nowhere{} }, out))
			})
			b.Run(fmt.Sprintf("%s/subscribers=%d/sent", kind, subscribers), func(b *testing.B) {
				ways, out := onPort(b)
				benchmarkForward(b, subscribers, fanOutTo(b, kind, subscribers, ways, out))
			})
		}
	}
}

func benchmarkForward(b *testing.B, subscribers int, receive func()) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		receive()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*subscribers), "ns/packet")
}

func TestForwardingAllocatesNothing(t *testing.T) {
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		ways, out := onPort(t)
		receive := fanOutTo(t, kind, 20, ways, out)
		for range 2 * videoRing {
			receive() // the ring takes its room
		}
		require.Zero(t, testing.AllocsPerRun(1000, receive), "%s", kind)
	}
}

// fanOutTo returns a function that has a layer receive one more packet and forward it to its subscribers.
func fanOutTo(tb testing.TB, kind webrtc.RTPCodecType, subscribers int, ways func() way, out *udp.Batch) func() {
	tb.Helper()
	l, raw := layerOf(tb, kind)
	for range subscribers {
		d := newDownTrack("t", kind, newFeedback(newPath(rate.NewLimiter(rate.Inf, 1))), l.metrics)
		d.way, d.bound, d.ssrc, d.dialect = ways(), true, 1, l.dialect
		d.dialect.transport = 3
		d.connected(time.Now())
		d.follow(l, time.Now(), true)
	}
	sequence := uint16(0)
	receive := func() {
		sequence++
		raw[2], raw[3] = byte(sequence>>8), byte(sequence)
		l.receive(raw, out)
		l.forward(out)
		if out != nil {
			out.Flush()
		}
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
		id: 1, track: &track{kind: kind}, ring: packetring.New(videoRing), metrics: m,
		keyFrames: keyFrames{every: keyFrameEvery}, request: func(uint32) {}, since: time.Now(),
		police: police{rate: 1 << 30}, overran: func() {}, onLevel: func(uint8) {},
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
