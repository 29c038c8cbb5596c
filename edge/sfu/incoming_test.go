package sfu

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/sfu/packetring"
	"github.com/wardline/wardline/edge/udp"
)

// said is a way that keeps the control packets.
type said struct {
	wire

	control []rtcp.Packet
}

func (s *said) sendControl(_ *udp.Batch, packets ...rtcp.Packet) {
	for _, p := range packets {
		if request, ok := p.(*rtcp.TransportLayerNack); ok { // its pairs are used again
			p = &rtcp.TransportLayerNack{SenderSSRC: request.SenderSSRC, MediaSSRC: request.MediaSSRC, Nacks: slices.Clone(request.Nacks)}
		}
		s.control = append(s.control, p)
	}
}

// newSorter makes an incoming with a section of audio, one of video and one of layered video.
func newSorter(tb testing.TB) (in *incoming, begun *[]*stream, out *said) {
	tb.Helper()
	begun, out = &[]*stream{}, &said{}
	in = newIncoming(time.Now(), func(s *stream) { *begun = append(*begun, s) })
	in.way = out
	video := dialect{
		formats: map[uint8]format{96: {mime: "video/vp8"}}, repairs: map[uint8]uint8{96: 97}, repaired: map[uint8]uint8{97: 96},
		transport: 3, mid: 4, rid: 5, repairedRID: 6, asks: true,
	}
	audio := dialect{formats: map[uint8]format{111: {mime: "audio/opus"}}, audioLevel: 1, transport: 3, mid: 4}
	in.sections = []*receiving{
		{section{mid: "a", kind: webrtc.RTPCodecTypeAudio}, audio},
		{section{mid: "v", kind: webrtc.RTPCodecTypeVideo, ssrcs: []uint32{20}, repairs: map[uint32]uint32{21: 20}}, video},
		{section{mid: "s", kind: webrtc.RTPCodecTypeVideo, layered: true}, video},
	}
	return in, begun, out
}

// vp8 is a payload that begins a key frame.
var vp8 = append([]byte{0x10, 0, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0xe0, 0x01}, make([]byte, 20)...)

func rtpOf(tb testing.TB, ssrc uint32, payloadType uint8, sequence uint16, payload []byte, extensions map[uint8]string) []byte {
	tb.Helper()
	p := rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: payloadType, SequenceNumber: sequence, SSRC: ssrc}, Payload: payload}
	for id, value := range extensions {
		require.NoError(tb, p.SetExtension(id, []byte(value)))
	}
	raw, err := p.Marshal()
	require.NoError(tb, err)
	return raw
}

func TestStreamsAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		ssrc        uint32
		payloadType uint8
		extensions  map[uint8]string
		mid, rid    string // empty if it is unknown
	}{
		"by payload type":                    {ssrc: 1, payloadType: 111, mid: "a"},
		"by description":                     {ssrc: 20, payloadType: 96, mid: "v"},
		"by header":                          {ssrc: 2, payloadType: 96, extensions: map[uint8]string{4: "v"}, mid: "v"},
		"a layer":                            {ssrc: 3, payloadType: 96, extensions: map[uint8]string{4: "s", 5: "q"}, mid: "s", rid: "q"},
		"not a layer that does not say":      {ssrc: 3, payloadType: 96, extensions: map[uint8]string{4: "s"}},
		"not by payload type if that of two": {ssrc: 4, payloadType: 96},
		"not an unknown payload type":        {ssrc: 20, payloadType: 50},
		"not another section's payload type": {ssrc: 20, payloadType: 111},
		"not an unknown section":             {ssrc: 5, payloadType: 96, extensions: map[uint8]string{4: "x"}},
		"not repairs of nothing":             {ssrc: 21, payloadType: 97},
	} {
		t.Run(name, func(t *testing.T) {
			in, begun, _ := newSorter(t)
			for sequence := range uint16(3) {
				receiveOne(in, rtpOf(t, c.ssrc, c.payloadType, sequence, vp8, c.extensions))
			}
			if c.mid == "" {
				require.Empty(t, *begun)
				require.Empty(t, in.streams)
				return
			}
			require.Len(t, *begun, 1)
			require.Equal(t, c.mid, (*begun)[0].section.mid)
			require.Equal(t, c.rid, (*begun)[0].rid)
			require.Len(t, in.held, 3, "they wait for the layer")
		})
	}
}

// layerFor gives a stream a layer with a down track, which writes to sent.
func (s *said) layerFor(tb testing.TB, in *incoming, of *stream) *layer {
	tb.Helper()
	m, err := newMetrics(prometheus.NewRegistry(), nil)
	require.NoError(tb, err)
	kind := of.section.kind
	l := &layer{
		id: 1, ssrc: of.ssrc, track: &track{kind: kind}, dialect: of.section.dialect, ring: packetring.New(ringSize(kind)),
		metrics: m, since: in.started, police: police{rate: 1 << 30}, overran: func() {}, onLevel: func(uint8) {},
		keyFrames: keyFrames{every: keyFrameEvery}, request: func(uint32) {},
	}
	d := newDownTrack("t", kind, newFeedback(newPath(nil)), m)
	d.way, d.bound, d.open, d.ssrc, d.dialect = &s.wire, true, true, 7, dialect{formats: l.dialect.formats}
	d.follow(l, time.Now(), true)
	return l
}

func TestWhatCameBeforeItsLayerIsForwarded(t *testing.T) {
	in, begun, out := newSorter(t)
	for sequence := range uint16(2 * maxHeld) {
		receiveOne(in, rtpOf(t, 20, 96, sequence, vp8, nil))
	}
	s := (*begun)[0]
	in.began(s, out.layerFor(t, in, s), nil)
	require.Len(t, out.packets, maxHeld)
	receiveOne(in, rtpOf(t, 20, 96, 2*maxHeld, vp8, nil))
	require.Len(t, out.packets, maxHeld+1)
}

func TestRetransmissionsAreWhatTheyRepair(t *testing.T) {
	in, begun, out := newSorter(t)
	receiveOne(in, rtpOf(t, 20, 96, 1, vp8, nil))
	in.began((*begun)[0], out.layerFor(t, in, (*begun)[0]), nil)
	receiveOne(in, rtpOf(t, 20, 96, 4, vp8, nil))
	repair := func(number uint16, of []byte) {
		receiveOne(in, rtpOf(t, 21, 97, number, of, map[uint8]string{3: "\x00\x01"}))
	}
	repair(100, append([]byte{0, 2}, vp8...))
	repair(101, append([]byte{0, 2}, vp8...)) // it came already
	repair(102, nil)                          // padding, to try the path
	repair(103, []byte{0})
	require.Len(t, out.packets, 3)
	last := out.packets[2]
	require.Equal(t, out.packets[0].SequenceNumber+1, last.SequenceNumber)
	require.Equal(t, uint8(96), last.PayloadType)
	require.Equal(t, vp8, last.Payload)
	require.Len(t, *begun, 1)
}

func TestClientsAreToldWhatIsMissingAndWhatCame(t *testing.T) {
	in, begun, out := newSorter(t)
	for _, sequence := range []uint16{10, 13} {
		number := string(binary.BigEndian.AppendUint16(nil, sequence))
		receiveOne(in, rtpOf(t, 20, 96, sequence, vp8, map[uint8]string{3: number}))
		receiveOne(in, rtpOf(t, 30, 111, sequence, []byte{1}, nil))
	}
	in.began((*begun)[0], nil, nil)
	in.receiveRTCP(marshaled(t, &rtcp.SenderReport{SSRC: 20, NTPTime: 5 << 32, RTPTime: 1}), nil)
	in.started = in.started.Add(-2 * time.Second) // so much later
	in.tick()
	var request *rtcp.TransportLayerNack
	var numbers *rtcp.TransportLayerCC
	var report *rtcp.ReceiverReport
	for _, p := range out.control {
		switch p := p.(type) {
		case *rtcp.TransportLayerNack:
			request = p
		case *rtcp.TransportLayerCC:
			if numbers == nil {
				numbers = p
			}
		case *rtcp.ReceiverReport:
			report = p
		}
	}
	require.Nil(t, request, "too late by now")
	require.NotNil(t, numbers)
	require.Equal(t, uint16(10), numbers.BaseSequenceNumber)
	require.NotNil(t, report)
	require.Len(t, report.Reports, 2)
	require.Equal(t, uint32(2), report.Reports[0].TotalLost)
	require.Equal(t, uint32(5<<16), report.Reports[0].LastSenderReport)
}

func TestAReportCountsWhateverComesWithIt(t *testing.T) {
	report := marshaled(t, &rtcp.SenderReport{SSRC: 20, NTPTime: 5 << 32, RTPTime: 9})
	unreadable := []byte{0x80, 202, 0, 1, 0, 0, 0, 20, 0x9f, 202, 0, 0} // a source description that has less than it says
	for name, raw := range map[string][]byte{
		"first":               slices.Concat(report, unreadable),
		"last":                slices.Concat(unreadable, report),
		"what is cut short":   slices.Concat(report, unreadable[:6]),
		"what is not control": slices.Concat(report, []byte("else")),
	} {
		t.Run(name, func(t *testing.T) {
			in, begun, out := newSorter(t)
			receiveOne(in, rtpOf(t, 20, 96, 1, vp8, nil))
			l := out.layerFor(t, in, (*begun)[0])
			in.began((*begun)[0], l, nil)
			in.receiveRTCP(raw, nil)
			require.NotNil(t, l.report.Load())
			require.Equal(t, uint32(9), l.report.Load().rtp)
		})
	}
}

// TestALostEndOfAPictureIsAskedFor is about a screen that stands still: no next picture shows soon that something is missing.
func TestALostEndOfAPictureIsAskedFor(t *testing.T) {
	in, _, out := newSorter(t)
	marked := rtpOf(t, 20, 96, 10, vp8, nil)
	marked[1] |= markerBit
	receiveOne(in, marked)
	receiveOne(in, rtpOf(t, 20, 96, 11, vp8, nil))
	in.started = in.started.Add(-200 * time.Millisecond) // so much later
	in.tick()
	require.Len(t, out.control, 2)
	request, ok := out.control[0].(*rtcp.TransportLayerNack)
	require.True(t, ok)
	require.Contains(t, request.Nacks[0].PacketList(), uint16(12))
}

func TestOnlyVideoIsAskedForAgain(t *testing.T) {
	in, _, out := newSorter(t)
	for _, sequence := range []uint16{10, 13} {
		receiveOne(in, rtpOf(t, 20, 96, sequence, vp8, nil))
		receiveOne(in, rtpOf(t, 30, 111, sequence, []byte{1}, nil))
	}
	in.started = in.started.Add(-50 * time.Millisecond)
	in.tick()
	var asked []rtcp.Packet
	for _, p := range out.control {
		if request, ok := p.(*rtcp.TransportLayerNack); ok {
			require.Equal(t, uint32(20), request.MediaSSRC)
			require.Equal(t, []rtcp.NackPair{{PacketID: 11, LostPackets: 1}}, request.Nacks)
			asked = append(asked, p)
		}
	}
	require.Len(t, asked, 1)
}

func marshaled(tb testing.TB, p rtcp.Packet) []byte {
	tb.Helper()
	raw, err := p.Marshal()
	require.NoError(tb, err)
	return raw
}

func TestStreamsAreBounded(t *testing.T) {
	in, begun, _ := newSorter(t)
	for ssrc := range uint32(10 * maxIncoming) {
		receiveOne(in, rtpOf(t, 1000+ssrc, 111, 1, []byte{1}, nil))
	}
	require.Len(t, in.streams, maxIncoming)
	require.Len(t, *begun, maxIncoming)
}

func TestARestartedEncoderTakesTheOldOnesPlace(t *testing.T) {
	in, begun, out := newSorter(t)
	layered := map[uint8]string{4: "s", 5: "q"}
	const restarts = 2 * maxIncoming
	for i := range uint32(restarts) {
		receiveOne(in, rtpOf(t, 1000+i, 96, 1, vp8, layered))
		require.Len(t, *begun, int(i)+1)
		newest := (*begun)[i]
		in.began(newest, out.layerFor(t, in, newest), nil)
		require.Equal(t, []*stream{newest}, in.media)
		if i > 0 {
			before := len(out.packets)
			receiveOne(in, rtpOf(t, 1000+i-1, 96, 2, vp8, layered)) // late
			require.Len(t, *begun, int(i)+1)
			receiveOne(in, rtpOf(t, 5000+i, 97, 1, append([]byte{0, 2}, vp8...), map[uint8]string{4: "s", 6: "q"}))
			require.Len(t, out.packets, before+1, "it repairs the newest")
		}
		in.started = in.started.Add(-lateFor / 8)
		in.tick()
	}
	in.started = in.started.Add(-2 * lateFor)
	in.tick()
	require.Len(t, in.streams, 2, "the newest and its repairs")
	receiveOne(in, rtpOf(t, 1000, 96, 9, vp8, layered))
	require.Len(t, *begun, restarts+1, "after a while it is another encoder")
}

func TestAStreamThatWasReplacedBeforeItBegan(t *testing.T) {
	in, begun, out := newSorter(t)
	for _, ssrc := range []uint32{1000, 1001} {
		receiveOne(in, rtpOf(t, ssrc, 96, 1, vp8, map[uint8]string{4: "s", 5: "q"}))
	}
	for _, s := range slices.Backward(*begun) {
		in.began(s, out.layerFor(t, in, s), nil)
	}
	require.Nil(t, (*begun)[0].layer)
	require.NotNil(t, (*begun)[1].layer)
	require.Len(t, out.packets, 1)
}

// FuzzIncoming gives packets that a client can send, however odd, to the sorter.
func FuzzIncoming(f *testing.F) {
	f.Add(rtpOf(f, 20, 96, 5, vp8, map[uint8]string{3: "\x00\x01", 4: "v"}), false)
	f.Add(rtpOf(f, 21, 97, 5, append([]byte{0, 2}, vp8...), nil), false)
	f.Add(rtpOf(f, 9, 97, 5, []byte{0, 2}, map[uint8]string{4: "s", 6: "q"}), false)
	f.Add([]byte{0xb0, 97, 0, 1, 0, 0, 0, 0, 0, 0, 0, 21, 0xbe, 0xde, 0, 1, 0, 0, 0, 200}, false)
	f.Add(marshaled(f, &rtcp.SenderReport{SSRC: 20}), true)
	f.Fuzz(func(t *testing.T, raw []byte, control bool) {
		in, begun, out := newSorter(t)
		receiveOne(in, rtpOf(t, 20, 96, 1, vp8, nil))
		in.began((*begun)[0], out.layerFor(t, in, (*begun)[0]), nil)
		if control {
			in.receiveRTCP(bytes.Clone(raw), nil)
		} else {
			receiveOne(in, bytes.Clone(raw))
			receiveOne(in, bytes.Clone(raw))
		}
		in.tick()
		for _, p := range out.packets {
			require.Equal(t, uint32(7), p.SSRC)
		}
	})
}

// lossy loses every tenth packet of media, but none that is sent again.
type lossy struct{ interceptor.NoOp }

func (lossy) NewInterceptor(string) (interceptor.Interceptor, error) { return &lossy{}, nil }

func (*lossy) BindLocalStream(info *interceptor.StreamInfo, to interceptor.RTPWriter) interceptor.RTPWriter {
	count := 0
	return interceptor.RTPWriterFunc(func(h *rtp.Header, payload []byte, a interceptor.Attributes) (int, error) {
		if h.SSRC == info.SSRC {
			count++
			if count%10 == 0 {
				return len(payload), nil
			}
		}
		return to.Write(h, payload, a)
	})
}

func TestLostPacketsOfAPublisherAreAskedForAndRepaired(t *testing.T) {
	w, _, a, b := visit(t)
	registry := &interceptor.Registry{}
	registry.Add(&lossy{})
	responder, err := nack.NewResponderInterceptor()
	require.NoError(t, err)
	registry.Add(responder)
	engine := &webrtc.MediaEngine{}
	require.NoError(t, engine.RegisterDefaultCodecs())
	require.NoError(t, webrtc.ConfigureSimulcastExtensionHeaders(engine))
	setting := webrtc.SettingEngine{}
	setting.SetIncludeLoopbackCandidate(true)
	a.api = newAPI(setting, engine, registry)
	stream := a.publish(true, signaling.Screen)["screen"]
	// Of a stream that comes before pion has a receiver for it, the first packets are lost in pion.
	const settled = 20
	first := b.awaitPackets(alice, signaling.Screen, settled, stream.from())[settled-1].SequenceNumber
	require.Eventually(t, func() bool {
		numbers := make(map[uint16]bool)
		for _, p := range b.awaitPackets(alice, signaling.Screen, 300, stream.from()) {
			numbers[p.SequenceNumber] = true
		}
		for i := range uint16(250) { // the newest may still be on their way
			if !numbers[first+i] {
				return false
			}
		}
		return true
	}, patience, 50*time.Millisecond)
	require.Positive(t, repairedStreams(w, a), "on a stream of its own")
}

func repairedStreams(w *world, c *client) (count int) {
	p := &w.legOf(c).publisher
	p.conn.transport.exclusive(func() {
		for _, s := range p.in.streams {
			if s.repairs != nil {
				count++
			}
		}
	})
	return count
}

// receiveOne receives a packet that comes alone.
func receiveOne(in *incoming, raw []byte) {
	in.receiveRTP(raw, nil)
	in.handled(nil)
}
