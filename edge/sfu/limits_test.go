package sfu

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/sfu/downtrack"
	"github.com/wardline/wardline/edge/sfu/packetring"
	"github.com/wardline/wardline/edge/udp"
)

// legOf finds a client's leg on the server.
func (w *world) legOf(c *client) *leg {
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	return w.server.legs[legKey{c.session, c.attach.Leg}]
}

func TestSlowNegotiationHoldsNobodyUp(t *testing.T) {
	w, g, a, b := visit(t)
	from := a.publish(true, signaling.Microphone)
	b.awaitPackets(alice, signaling.Microphone, 10, nil)
	l := w.legOf(a)
	started, release := make(chan struct{}), make(chan struct{})
	l.whileOpen(func() {
		l.enqueue(func() {
			close(started)
			<-release
		})
	})
	<-started
	for n := range uint32(maxQueued + 1) {
		g.send(a.session, signaling.Offer{Route: a.attach.Route, PC: signaling.Publish, Negotiation: 2 + n, SDP: "v=0"})
	}
	require.Contains(t, await[signaling.Refused](g, a.session).Message, errNegotiations.Error())
	c := g.join(attachMessage(carol, signaling.BrowserSession))
	fromC := c.publish(true, signaling.Screen)
	b.awaitPackets(carol, signaling.Screen, 10, fromC["screen"].from())
	c.awaitPackets(alice, signaling.Microphone, 10, from["microphone"].from())
	g.send(a.session, signaling.MediaState{Route: a.attach.Route, Video: true})
	await(g, b.session, func(m signaling.Peers) bool { return len(m.Peers) > 0 && m.Peers[0].Video })
	close(release)
	for range maxQueued {
		require.Contains(t, await[signaling.Refused](g, a.session).Message, "session description")
	}
}

func TestDetachWhileNegotiatingLeavesNothingBehind(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	g.admit([]string{alice}, nil)
	a := g.join(attachMessage(alice, signaling.WHIPSession))
	l := w.legOf(a)
	started, release := make(chan struct{}), make(chan struct{})
	l.whileOpen(func() {
		l.enqueue(func() {
			close(started)
			<-release
			require.NoError(t, l.publisher.offer(signaling.Offer{Negotiation: 1, SDP: goodOffer(t)}), "it is not heard of any more")
		})
	})
	<-started
	g.send(a.session, signaling.Detach{Route: a.attach.Route})
	require.Eventually(t, func() bool { return w.server.countLegs() == 0 }, patience, 5*time.Millisecond)
	close(release)
	require.Zero(t, w.server.Load())
}

func TestOffersAreThrottled(t *testing.T) {
	_, g, a, _ := visit(t)
	for n := range uint32(3 * offersInARow) {
		g.send(a.session, signaling.Restart{Route: a.attach.Route, PC: signaling.Publish, Fragment: fmt.Sprint(n)})
	}
	await(g, a.session, func(m signaling.Refused) bool { return strings.HasPrefix(m.Message, "too many offers") })
}

func TestOfferThatPionRefusesCostsNothing(t *testing.T) {
	w, g, a, b := visit(t)
	broken := strings.ReplaceAll(goodOffer(t), "a=setup:actpass", "a=setup:nonsense")
	broken = strings.ReplaceAll(broken, "a=fingerprint:sha-256 ", "a=fingerprint:")
	_, err := checkDescription(broken, maxOffered)
	require.NoError(t, err)
	g.send(a.session, signaling.Offer{Route: a.attach.Route, PC: signaling.Publish, Negotiation: 1, SDP: broken})
	require.Contains(t, await[signaling.Refused](g, a.session).Message, "apply offer")
	from := a.publish(true, signaling.Microphone)
	b.awaitPackets(alice, signaling.Microphone, 20, from["microphone"].from())
	require.NotNil(t, w.legOf(a))
}

func TestLegsOfOneParticipantAreLimited(t *testing.T) {
	g := newWorld(t).gateway()
	for i := range maxLegs {
		session := fmt.Sprint("s", i)
		g.send(session, attachMessage(alice, signaling.WHIPSession))
		await[signaling.Attached](g, session)
	}
	g.send("more", attachMessage(alice, signaling.WHIPSession))
	require.Equal(t, signaling.RefusedInvalid, await[signaling.Refused](g, "more").Code)
	g.send("bob", attachMessage(bob, signaling.WHIPSession))
	await[signaling.Attached](g, "bob")
}

func TestSessionBelongsToOneEncounter(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	m := attachMessage(alice, signaling.WHIPSession)
	g.send("same", m)
	await[signaling.Attached](g, "same")
	other := m
	other.Encounter = "other"
	g.send("same", other)
	refused := await[signaling.Refused](g, "same")
	require.Equal(t, signaling.RefusedInvalid, refused.Code)
	require.Equal(t, "other", refused.Encounter)
	require.InDelta(t, 0.01, w.server.Load(), 1e-9, "nobody is counted twice")
	g.send("same", m)
	require.True(t, await[signaling.Attached](g, "same").Resumed)
	g.send("same", signaling.Detach{Route: m.Route})
	require.Eventually(t, func() bool { return w.server.Load() == 0 && w.server.countLegs() == 0 }, patience, 5*time.Millisecond)
}

func TestMorePeopleThanFitAreLeftOut(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Advertise = []string{"203.0.113.7", "2001:db8:1234:5678::7", "127.0.0.1"} })
	r := newRoom(w.server, theVisit, time.Now())
	l := newLeg(r, "s", attachMessage(alice, signaling.BrowserSession), w.server.cfg.Log)
	var wants []wanted
	for i := range maxSlots + 10 {
		participant := fmt.Sprintf("%064d", i)
		wants = append(wants, wanted{participant, signaling.Microphone}, wanted{participant, signaling.Camera})
	}
	for _, each := range wants {
		l.subscriber.assign(each)
	}
	require.Len(t, l.subscriber.slots, 2*maxSlots)
	conn, transceivers, description, err := l.subscriber.describe(nil, l.subscriber.slots, false)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.pc.GracefulClose()) }()
	require.Len(t, transceivers, 2*maxSlots)
	require.Less(t, len(description), signaling.MaxSDPBytes)
	l.subscriber.release(nil)
	l.subscriber.assign(wants[2*maxSlots])
	require.Len(t, l.subscriber.slots, 2*maxSlots, "there is room again")
	require.Equal(t, l.subscriber.slots[0].wanted, wants[2*maxSlots])
}

// wire is what a down track writes to.
type wire struct{ packets []rtp.Packet }

func (w *wire) send(packet []byte, _ *udp.Batch, _ udp.Class) error {
	var p rtp.Packet
	if err := p.Unmarshal(bytes.Clone(packet)); err != nil {
		return err
	}
	w.packets = append(w.packets, p)
	return nil
}

func (w *wire) sendControl(*udp.Batch, ...rtcp.Packet) {}

// newFeed makes a layer of opus and a down track that follows it.
func newFeed(t *testing.T, budget *rate.Limiter) (l *layer, d *downTrack, out *wire) {
	t.Helper()
	m, err := newMetrics(prometheus.NewRegistry(), nil)
	require.NoError(t, err)
	formats := dialect{formats: map[uint8]format{111: {mime: "audio/opus"}}}
	l = &layer{
		id: 1, track: &track{kind: webrtc.RTPCodecTypeAudio}, dialect: formats,
		ring: packetring.New(audioRing), metrics: m, since: time.Now(),
		police: police{rate: 1 << 30}, overran: func() {}, onLevel: func(uint8) {},
	}
	out = &wire{}
	d = newDownTrack("t", webrtc.RTPCodecTypeAudio, newFeedback(newPath(budget)), m)
	d.way, d.ssrc, d.dialect, d.open, d.bound = out, 7, formats, true, true
	d.follow(l, time.Now(), false)
	return l, d, out
}

// feed receives packets numbered from first.
func feed(t *testing.T, l *layer, first uint16, count int, content byte) {
	t.Helper()
	for i := range count {
		sequence := first + uint16(i)
		header := rtp.Header{Version: 2, PayloadType: 111, SequenceNumber: sequence}
		p := rtp.Packet{Header: header, Payload: []byte{content, byte(sequence)}}
		raw, err := p.Marshal()
		require.NoError(t, err)
		l.receive(raw, nil)
		l.forward(nil)
	}
}

func nackOf(ssrc uint32, sequences ...uint16) *rtcp.TransportLayerNack {
	return &rtcp.TransportLayerNack{MediaSSRC: ssrc, Nacks: rtcp.NackPairsFromSequenceNumbers(sequences)}
}

// TestNothingElseGoesOutUnderANumberThatWentOut has a publisher's numbers go around in a few leaps, while a subscriber's do not:
// another packet under the same SRTP index would reveal key material.
func TestNothingElseGoesOutUnderANumberThatWentOut(t *testing.T) {
	l, d, out := newFeed(t, rate.NewLimiter(rate.Inf, 0))
	for _, sequence := range []uint16{100, 30_100, 60_100, 100} {
		feed(t, l, sequence, 1, byte(len(out.packets)))
	}
	require.Len(t, out.packets, 4)
	d.resend(nackOf(7, out.packets[0].SequenceNumber, out.packets[3].SequenceNumber), nil)
	require.Len(t, out.packets, 5)
	require.Equal(t, out.packets[3], out.packets[4])
}

// TestWhatIsNotSentTakesNoNumbers has a subscriber get something it can decode, much that it cannot, and then something again: numbers
// that went around meanwhile would be given out twice.
func TestWhatIsNotSentTakesNoNumbers(t *testing.T) {
	l, d, out := newFeed(t, nil)
	feed(t, l, 100, 10, 1)
	known := d.dialect
	d.dialect, d.spoken = dialect{formats: map[uint8]format{0: {mime: "audio/pcmu"}}}, spoken{}
	feed(t, l, 110, 40_000, 2)
	d.restart(l)
	feed(t, l, 40_110, 100, 2)
	require.Len(t, out.packets, 10)
	d.dialect = known
	feed(t, l, 40_210, 10, 3)
	require.Len(t, out.packets, 20)
	for i, p := range out.packets {
		require.Equal(t, out.packets[0].SequenceNumber+uint16(i), p.SequenceNumber)
	}
}

func TestRequestsForLostPacketsHaveABudget(t *testing.T) {
	l, d, out := newFeed(t, rate.NewLimiter(0, 50))
	feed(t, l, 100, 20, 1)
	require.Len(t, out.packets, 20)
	d.resend(nackOf(8, 105), nil)
	require.Len(t, out.packets, 20, "another stream's")
	d.resend(nackOf(7, 105), nil)
	require.Equal(t, out.packets[5], out.packets[20])
	for range 1000 {
		d.resend(nackOf(7, 101, 102, 103), nil)
	}
	require.Len(t, out.packets, 20+1+48, "two requests were spent before")
	require.InDelta(t, 984, testutil.ToFloat64(d.metrics.nacksThrottled), 0)
	feed(t, l, 120, 5, 1)
	require.Len(t, out.packets, 20+1+48+5, "new packets are no resends")
}

func TestOneRequestIsBounded(t *testing.T) {
	l, d, out := newFeed(t, rate.NewLimiter(rate.Inf, 0))
	feed(t, l, 0, 10, 1)
	request := nackOf(7, 1)
	for range 1000 {
		request.Nacks = append(request.Nacks, request.Nacks[0])
	}
	d.resend(request, nil)
	require.Len(t, out.packets, 10+maxResend)
}

func TestSourceThatComesBackRepeatsNoNumbers(t *testing.T) {
	l, d, out := newFeed(t, rate.NewLimiter(rate.Inf, 0))
	feed(t, l, 100, 10, 1)
	d.follow(nil, time.Time{}, false)
	for at := 110; at < 100+1<<16; at += 200 { // one cycle of numbers that the subscriber does not get
		feed(t, l, uint16(at), 200, 2)
	}
	d.follow(l, time.Now(), false)
	feed(t, l, uint16(54+256), 5, 3)
	before := len(out.packets)
	require.Equal(t, 15, before)
	d.resend(nackOf(7, 105), nil)
	require.Len(t, out.packets, before, "what is in the ring under that number now is another packet")
	d.resend(nackOf(7, out.packets[12].SequenceNumber), nil)
	require.Equal(t, out.packets[12], out.packets[before])
}

func TestParse(t *testing.T) {
	d := newDialect(webrtc.RTPParameters{
		Codecs: []webrtc.RTPCodecParameters{
			{PayloadType: 96, RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}},
		},
		HeaderExtensions: []webrtc.RTPHeaderExtensionParameter{{URI: sdp.AudioLevelURI, ID: 1}, {URI: absCaptureTimeURI, ID: 2}},
	})
	build := func(payloadType, padding uint8, payload []byte, extensions map[uint8][]byte) []byte {
		header := rtp.Header{Version: 2, PayloadType: payloadType, Padding: padding > 0, PaddingSize: padding}
		p := rtp.Packet{Header: header, Payload: payload}
		for id, value := range extensions {
			require.NoError(t, p.SetExtension(id, value))
		}
		raw, err := p.Marshal()
		require.NoError(t, err)
		return raw
	}
	good := []byte{0x10, 0, 0}
	tests := map[string]struct {
		raw            []byte
		ok             bool
		level, capture int
	}{
		"nothing":                 {nil, false, 0, 0},
		"cut short":               {build(96, 0, nil, nil)[:11], false, 0, 0},
		"plain":                   {build(96, 0, good, nil), true, 0, 0},
		"unknown payload type":    {build(97, 0, good, nil), false, 0, 0},
		"padding alone":           {build(96, 200, nil, nil), true, 0, 0},
		"more padding than bytes": {append([]byte{0xa0}, build(96, 0, []byte{255}, nil)[1:]...), false, 0, 0},
		"cut descriptor":          {build(96, 0, []byte{0x90, 0x80}, nil), false, 0, 0},
		"extensions":              {build(96, 0, good, map[uint8][]byte{1: {5}, 2: zeros(8)}), true, 1, 8},
		"longest capture time":    {build(96, 0, good, map[uint8][]byte{2: zeros(16)}), true, 0, 16},
		"extensions of odd sizes": {build(96, 0, good, map[uint8][]byte{1: zeros(16), 2: zeros(9)}), true, 0, 0},
		"extensions too large":    {build(96, 0, good, map[uint8][]byte{1: zeros(250), 2: zeros(255)}), true, 0, 0},
		"extension beyond packet": {append([]byte{0x90, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0xbe, 0xde, 0xff, 0xff), false, 0, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var p packet
			require.Equal(t, test.ok, d.parse(test.raw, &p))
			if test.ok {
				require.Len(t, p.level, test.level)
				require.Len(t, p.capture, test.capture)
			}
		})
	}
}

func zeros(n int) []byte { return make([]byte, n) }

func FuzzParsePacket(f *testing.F) {
	f.Add([]byte{0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0x90, 0x80, 0x80, 1, 0})
	f.Add([]byte{0xb0, 102, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xbe, 0xde, 0, 1, 0x10, 5, 0, 0, 24, 0, 1, 0x65, 0, 1})
	f.Add([]byte{0x80, 63, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xef, 0, 0, 1, 0x6f, 1, 2})
	f.Add([]byte{0x80, 98, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xa8, 0x81, 2, 0, 9, 0})
	f.Add([]byte{0x80, 45, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0x18, 0x0a})
	d := dialect{audioLevel: 1, captureTime: 2, transport: 3, formats: map[uint8]format{
		45: {mime: "video/av1"}, 98: {mime: "video/vp9"},
		63: {mime: mimeRED}, 96: {mime: "video/vp8"}, 102: {mime: "video/h264"}, 111: {mime: "audio/opus"},
	}}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var p packet
		if !d.parse(raw, &p) {
			return
		}
		out := &wire{}
		m, err := newMetrics(prometheus.NewRegistry(), nil)
		require.NoError(t, err)
		down := newDownTrack("t", webrtc.RTPCodecTypeVideo, newFeedback(newPath(nil)), m)
		down.way, down.dialect = out, d
		sent := downtrack.Sent{Out: downtrack.Rewritten{Sequence: 1, PictureID: 2, TL0: 3}, Transport: 4}
		down.sendLocked(&p, sent, nil)
		down.sendLocked(&p, sent, nil)
		if len(out.packets) > 0 {
			require.Equal(t, out.packets[0], out.packets[1], "a packet sent again is the same")
		}
	})
}
