package sfu

import (
	"net"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/signaling"
)

// visit is alice and bob, admitted, in browsers.
func visit(t *testing.T, change ...func(*Config)) (w *world, g *gateway, a, b *client) {
	t.Helper()
	w = newWorld(t, change...)
	g = w.gateway()
	g.admit([]string{alice, bob, carol}, nil)
	a = g.join(attachMessage(alice, signaling.BrowserSession))
	b = g.join(attachMessage(bob, signaling.BrowserSession))
	return w, g, a, b
}

func TestTwoParticipantsExchangeMedia(t *testing.T) {
	w, g, a, b := visit(t)
	require.Equal(t, "sfu-1", await[signaling.Hello](g, "").ID)
	fromA := a.publish(true, signaling.Microphone, signaling.Camera, signaling.Screen)
	b.publish(true, signaling.Microphone)

	requireContinuous(w, b.awaitPackets(alice, signaling.Microphone, 20, fromA["microphone"].from()))
	requireContinuous(w, b.awaitPackets(alice, signaling.Camera, 20, fromA["cameraf"].from()))
	requireContinuous(w, b.awaitPackets(alice, signaling.Screen, 20, fromA["screen"].from()))
	requireContinuous(w, a.awaitPackets(bob, signaling.Microphone, 20, nil))
	require.InDelta(t, 0.02, w.server.Load(), 1e-9)

	first := b.reception(alice, signaling.Screen).snapshot()[0]
	require.Zero(t, first.Payload[4]&1, "video starts at a key frame")
	for _, pc := range []*webrtc.PeerConnection{a.pub, b.sub} {
		require.Contains(t, srtpProfile(pc), "GCM")
	}
}

func TestEveryCodecIsForwarded(t *testing.T) {
	for _, mime := range []string{webrtc.MimeTypeVP9, webrtc.MimeTypeAV1, webrtc.MimeTypeH264} {
		t.Run(mime, func(t *testing.T) {
			w, _, a, b := visit(t)
			a.video = mime
			from := a.publish(true, signaling.Screen)
			stream := from["screen"]
			packets := b.awaitPackets(alice, signaling.Screen, 20, stream.from())
			requireContinuous(w, packets)
			key := map[string]byte{
				webrtc.MimeTypeVP9: 0x8c, webrtc.MimeTypeAV1: 0x18, webrtc.MimeTypeH264: 0x65,
			}
			require.Equal(t, key[mime], packets[0].Payload[0], "it starts at a key frame")
			require.Equal(t, mime, b.reception(alice, signaling.Screen).mime)
		})
	}
}

func srtpProfile(pc *webrtc.PeerConnection) string {
	for _, each := range pc.GetStats() {
		if transport, ok := each.(webrtc.TransportStats); ok {
			return transport.SRTPCipher
		}
	}
	return ""
}

func TestSimulcastLayerFallsAndRises(t *testing.T) {
	w, _, a, b := visit(t)
	from := a.publish(true, signaling.Camera)
	b.awaitPackets(alice, signaling.Camera, 10, from["cameraf"].from())
	from["cameraf"].set(func(o *outgoing) { o.paused = true })
	b.awaitPackets(alice, signaling.Camera, 10, from["camerah"].from())
	from["camerah"].set(func(o *outgoing) { o.paused = true })
	b.awaitPackets(alice, signaling.Camera, 10, from["cameraq"].from())
	before := len(b.reception(alice, signaling.Camera).snapshot())
	from["cameraf"].set(func(o *outgoing) { o.paused = false })
	require.Eventually(t, func() bool {
		packets := b.reception(alice, signaling.Camera).snapshot()
		return len(packets) > before && from["cameraf"].from()(packets[len(packets)-1])
	}, patience, 10*time.Millisecond)
	packets := b.reception(alice, signaling.Camera).snapshot()
	requireContinuous(w, packets)
	for i := 1; i < len(packets); i++ {
		before, after := packets[i-1].Payload, packets[i].Payload
		require.Equal(t, (pictureID(before)+1)&0x7fff, pictureID(after), "picture ids continue")
		if before[5] != after[5] {
			require.Zero(t, after[4]&1, "layers switch at key frames")
		}
	}
}

func pictureID(payload []byte) uint16 { return uint16(payload[2]&0x7f)<<8 | uint16(payload[3]) }

func TestLostPacketsAreSentAgain(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	g.admit([]string{alice, bob}, nil)
	a := g.join(attachMessage(alice, signaling.BrowserSession))
	b := g.join(attachMessage(bob, signaling.BrowserSession), func(s *webrtc.SettingEngine) { s.DisableSRTPReplayProtection(true) })
	from := a.publish(true, signaling.Screen)
	packets := b.awaitPackets(alice, signaling.Screen, 20, from["screen"].from())
	lost := packets[10]
	r := b.reception(alice, signaling.Screen)
	require.NoError(t, b.sub.WriteRTCP([]rtcp.Packet{&rtcp.TransportLayerNack{
		MediaSSRC: r.ssrc, Nacks: rtcp.NackPairsFromSequenceNumbers([]uint16{lost.SequenceNumber, lost.SequenceNumber + 30000}),
	}}))
	copies := func() (found []rtp.Packet) {
		for _, p := range r.snapshot() {
			if p.SequenceNumber == lost.SequenceNumber {
				found = append(found, p)
			}
		}
		return found
	}
	require.Eventually(t, func() bool { return len(copies()) == 2 }, patience, 10*time.Millisecond)
	first, second := copies()[0], copies()[1]
	first.Padding, first.Header.PaddingSize, first.PaddingSize = false, 0, 0
	require.Equal(t, first, second, "the same packet bit by bit, but for padding, which retransmissions need not have")
	require.InDelta(t, 1, testutil.ToFloat64(w.server.metrics.nacksAnswered), 0)
	require.Eventually(t, func() bool { return testutil.ToFloat64(w.server.metrics.nacksMissed) == 1 }, patience, 5*time.Millisecond)
}

func TestPublisherIsAskedForWhatWasLost(t *testing.T) {
	_, _, a, b := visit(t)
	from := a.publish(true, signaling.Screen)
	b.awaitPackets(alice, signaling.Screen, 20, nil)
	asked := make(chan uint16, 1)
	stream := from["screen"]
	stream.set(func(o *outgoing) {
		gone := o.sequence + 5
		o.drop = func(s uint16) bool { return s == gone }
		o.nack = func(s uint16) {
			if s == gone {
				select {
				case asked <- s:
				default:
				}
			}
		}
	})
	select {
	case <-asked:
	case <-time.After(patience):
		require.Fail(t, "no request for the lost packet")
	}
}

func TestKeyFrameRequestsReachThePublisherThrottled(t *testing.T) {
	w, _, a, b := visit(t)
	from := a.publish(true, signaling.Screen)
	b.awaitPackets(alice, signaling.Screen, 20, from["screen"].from())
	r := b.reception(alice, signaling.Screen)
	before := a.plis.Load()
	for range 20 {
		require.NoError(t, b.sub.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: r.ssrc}}))
	}
	require.Eventually(t, func() bool { return a.plis.Load() > before }, patience, 5*time.Millisecond)
	require.Eventually(t, func() bool { return testutil.ToFloat64(w.server.metrics.plisThrottled) >= 15 }, patience, 5*time.Millisecond)
	require.LessOrEqual(t, a.plis.Load()-before, int32(6))
}

func TestSenderReportsKeepLipSync(t *testing.T) {
	_, _, a, b := visit(t)
	from := a.publish(true, signaling.Microphone)
	b.awaitPackets(alice, signaling.Microphone, 10, nil)
	reports := make(chan *rtcp.SenderReport, 10)
	receiver := b.sub.GetTransceivers()[0].Receiver()
	b.running.Go(func() {
		for {
			packets, _, err := receiver.ReadRTCP()
			if err != nil {
				return
			}
			for _, p := range packets {
				if sr, ok := p.(*rtcp.SenderReport); ok {
					reports <- sr
				}
			}
		}
	})
	b.running.Go(func() {
		<-b.quit
		_ = b.sub.Close()
	})
	stream := from["microphone"]
	ssrc := stream.sender.GetParameters().Encodings[0].SSRC
	require.NoError(t, a.pub.WriteRTCP([]rtcp.Packet{&rtcp.SenderReport{SSRC: uint32(ssrc), NTPTime: 42 << 32, RTPTime: 4711}}))
	select {
	case sr := <-reports:
		require.InDelta(t, float64(ntpOf(time.Now())>>32), float64(sr.NTPTime>>32), patience.Seconds(), "on the server's clock")
		require.Equal(t, uint32(4711), sr.RTPTime, "the first source keeps its timestamps")
		require.NotZero(t, sr.PacketCount)
	case <-time.After(patience):
		require.Fail(t, "no sender report")
	}
}

func TestSourcesNotAllowedAreNotForwarded(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	g.admit([]string{alice, bob}, nil)
	scribe := attachMessage(alice, signaling.BrowserSession)
	scribe.CanPublish = []signaling.Source{signaling.Microphone}
	a := g.join(scribe)
	b := g.join(attachMessage(bob, signaling.BrowserSession))
	a.publish(true, signaling.Microphone, signaling.Screen)
	b.awaitPackets(alice, signaling.Microphone, 50, nil)
	require.Nil(t, b.reception(alice, signaling.Screen))

	g.send(a.session, attachMessage(alice, signaling.BrowserSession))
	b.awaitPackets(alice, signaling.Screen, 20, nil)
}

func TestSourcesThatAreAllowedLaterAreForwarded(t *testing.T) {
	in, begun, _ := newSorter(t)
	layered := map[uint8]string{4: "s", 5: "q"}
	receiveOne(in, rtpOf(t, 1000, 96, 1, vp8, layered))
	receiveOne(in, rtpOf(t, 1001, 96, 1, vp8, layered))
	for _, s := range *begun {
		in.began(s, nil, nil)
	}
	in.again()
	require.Len(t, *begun, 3, "what was replaced stays so")
	require.Same(t, (*begun)[1], (*begun)[2])
	receiveOne(in, rtpOf(t, 1001, 96, 2, vp8, nil)) // browsers say the section and layer of the first packets only
	require.Len(t, in.held, 1)
}

func TestWhoMayNotReceiveGetsNothing(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	g.admit([]string{alice, bob, carol}, nil)
	deaf := attachMessage(bob, signaling.BrowserSession)
	deaf.CanSubscribe = false
	b := g.join(deaf)
	c := g.join(attachMessage(carol, signaling.BrowserSession))
	g.join(attachMessage(alice, signaling.BrowserSession)).publish(true, signaling.Microphone)
	c.awaitPackets(alice, signaling.Microphone, 20, nil)
	require.Nil(t, b.reception(alice, signaling.Microphone))
}

func TestLeavingAndComingBackReusesTheSections(t *testing.T) {
	_, g, a, b := visit(t)
	a.publish(true, signaling.Microphone, signaling.Screen)
	b.awaitPackets(alice, signaling.Screen, 10, nil)
	b.awaitPackets(alice, signaling.Microphone, 10, nil)
	mids := func() (found []string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		for mid := range b.tracks {
			found = append(found, mid)
		}
		slices.Sort(found)
		return found
	}
	before := mids()
	require.Len(t, before, 2)
	g.send(a.session, signaling.Detach{Route: a.attach.Route})
	require.Eventually(t, func() bool { return len(mids()) == 0 }, patience, 5*time.Millisecond)
	again := attachMessage(alice, signaling.BrowserSession)
	again.Leg = 2
	a2 := g.join(again)
	from := a2.publish(true, signaling.Microphone, signaling.Screen)
	b.awaitPackets(alice, signaling.Screen, 10, from["screen"].from())
	b.awaitPackets(alice, signaling.Microphone, 10, from["microphone"].from())
	require.Equal(t, before, mids())
}

func TestSecondLegTakesOverWithoutAHole(t *testing.T) {
	w, g, a, b := visit(t)
	from := a.publish(true, signaling.Screen)
	b.awaitPackets(alice, signaling.Screen, 20, from["screen"].from())
	second := attachMessage(alice, signaling.BrowserSession)
	second.Leg = 2
	a2 := g.newClient(second)
	g.send(a2.session, second)
	await[signaling.Attached](g, a2.session)
	from2 := a2.publish(true, signaling.Screen)
	from2["screen"].set(func(o *outgoing) { o.mark = 99 })
	b.awaitPackets(alice, signaling.Screen, 20, from2["screen"].from())
	g.send(a.session, signaling.Detach{Route: a.attach.Route})
	packets := b.awaitPackets(alice, signaling.Screen, 40, from2["screen"].from())
	requireContinuous(w, packets)
}

func TestMediaOverTCP(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	g.admit([]string{alice, bob}, nil)
	overTCP := func(s *webrtc.SettingEngine) { s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeTCP4}) }
	a := g.join(attachMessage(alice, signaling.BrowserSession), overTCP)
	b := g.join(attachMessage(bob, signaling.BrowserSession), overTCP)
	from := a.publish(true, signaling.Microphone)
	b.awaitPackets(alice, signaling.Microphone, 20, from["microphone"].from())
	pair, err := b.sub.SCTP().Transport().ICETransport().GetSelectedCandidatePair()
	require.NoError(t, err)
	require.Equal(t, webrtc.ICEProtocolTCP, pair.Remote.Protocol)

	clients := w.server.sockets.tcp.clients
	clients.mu.Lock()
	defer clients.mu.Unlock()
	require.NotEmpty(t, clients.open)
	for _, each := range clients.open {
		require.True(t, each.settled.Load(), "or it would be cut")
	}
}

func TestGarbageOnTheMediaPortHarmsNobody(t *testing.T) {
	w, _, a, b := visit(t)
	from := a.publish(true, signaling.Microphone)
	b.awaitPackets(alice, signaling.Microphone, 10, nil)
	address := w.server.MediaAddr().String()
	for _, network := range []string{"udp", "tcp"} {
		conn, err := net.Dial(network, address)
		require.NoError(t, err)
		stun := append([]byte{0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 20)...)
		for _, garbage := range [][]byte{{}, {0}, {0xff, 0xff, 0xff}, make([]byte, 1400), stun, {22, 254, 253}, {0x80, 96}} {
			_, _ = conn.Write(garbage)
		}
		require.NoError(t, conn.Close())
	}
	b.awaitPackets(alice, signaling.Microphone, len(b.reception(alice, signaling.Microphone).snapshot())+20, from["microphone"].from())
}
