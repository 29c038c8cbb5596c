package sfu

import (
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/signaling"
)

func TestWhoeverWaitsCannotTakeTheFloor(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	g.admit([]string{alice, bob}, []string{carol})
	a := g.join(attachMessage(alice, signaling.BrowserSession))
	b := g.join(attachMessage(bob, signaling.BrowserSession))
	c := g.join(attachMessage(carol, signaling.WHIPSession))
	shouting := c.publish(false, signaling.Microphone)["microphone"]
	shouting.set(func(o *outgoing) { o.level = 0 })
	fromA := a.publish(true, signaling.Microphone)["microphone"]
	b.awaitPackets(alice, signaling.Microphone, 10, nil)
	l := w.legOf(c)
	require.Eventually(t, func() bool {
		ready := false
		l.whileOpen(func() { ready = l.publisher.track(signaling.Microphone) != nil })
		return ready
	}, patience, 5*time.Millisecond)
	w.legOf(b).whileOpen(func() {
		for _, each := range w.legOf(b).subscriber.slots {
			require.NotEqual(t, carol, each.participant, "nothing of hers is even offered")
		}
	})
	fromA.set(func(o *outgoing) { o.level = 45 })
	await(g, b.session, func(m signaling.Speaker) bool { return m.Participant == alice })

	g.admit([]string{alice, bob, carol}, nil)
	await(g, b.session, func(m signaling.Speaker) bool { return m.Participant == carol })
	g.admit([]string{alice, bob}, []string{carol})
	await(g, b.session, func(m signaling.Speaker) bool { return m.Participant == alice })
}

func TestTwoSessionsOfOneParticipant(t *testing.T) {
	w := newWorld(t)
	g1, g2 := w.gateway(), w.gateway()
	g1.admit([]string{alice, bob}, nil)
	b := g1.join(attachMessage(bob, signaling.BrowserSession))
	older := g1.join(attachMessage(alice, signaling.BrowserSession))
	fromOlder := older.publish(true, signaling.Microphone)["microphone"]
	b.awaitPackets(alice, signaling.Microphone, 20, fromOlder.from())

	newer := g2.newClient(attachMessage(alice, signaling.BrowserSession))
	newer.session += "-newer"
	g2.send(newer.session, newer.attach)
	require.False(t, await[signaling.Attached](g2, newer.session).Resumed)
	fromNewer := newer.publish(true, signaling.Microphone)["microphone"]
	fromNewer.set(func(o *outgoing) { o.mark = 77 })
	b.awaitPackets(alice, signaling.Microphone, 20, fromNewer.from())
	require.InDelta(t, 0.02, w.server.Load(), 1e-9, "one participant, however many sessions")
	require.Nil(t, newer.reception(alice, signaling.Microphone), "nobody hears themselves")

	g1.send(older.session, signaling.Detach{Route: older.attach.Route})
	requireContinuous(w, b.awaitPackets(alice, signaling.Microphone, 60, fromNewer.from()))
	require.InDelta(t, 0.02, w.server.Load(), 1e-9)
}

func TestTakingOverChangesWhatIsAllowed(t *testing.T) {
	w, g, a, b := visit(t)
	a.publish(true, signaling.Microphone, signaling.Screen)
	b.awaitPackets(alice, signaling.Screen, 10, nil)
	b.awaitPackets(alice, signaling.Microphone, 10, nil)
	sources := func(participant string, of *client) func() bool {
		return func() bool {
			of.mu.Lock()
			defer of.mu.Unlock()
			for _, track := range of.tracks {
				if track.Source == signaling.Screen && track.Participant == participant {
					return false
				}
			}
			return true
		}
	}
	less := a.attach
	less.CanPublish = []signaling.Source{signaling.Microphone}
	g.send(a.session, less)
	require.Eventually(t, sources(alice, b), patience, 5*time.Millisecond, "the screen is not hers to share any more")
	require.NotNil(t, b.reception(alice, signaling.Microphone))
	deaf := b.attach
	deaf.CanSubscribe = false
	g.send(b.session, deaf)
	require.Eventually(t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.tracks) == 0
	}, patience, 5*time.Millisecond)
	l := w.legOf(b)
	l.whileOpen(func() {
		for _, each := range l.subscriber.slots {
			require.Nil(t, each.down.target(), "nothing is forwarded")
		}
	})
}

func TestWHIPThatNeverOffersExpiresWithItsGateway(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.OrphanAfter = 100 * time.Millisecond })
	g := w.gateway()
	g.admit([]string{alice}, nil)
	g.join(attachMessage(alice, signaling.WHIPSession))
	g.stop()
	require.Eventually(t, func() bool { return w.server.countLegs() == 0 }, patience, 5*time.Millisecond)
	require.Zero(t, w.server.Load())
}

func TestDescriptionsAreBounded(t *testing.T) {
	good := strings.ReplaceAll(goodOffer(t), "a=ssrc", "a=x-ssrc")
	add := func(line string, times int) string {
		return strings.Replace(good, "a=mid:1\r\n", "a=mid:1\r\n"+strings.Repeat(line+"\r\n", times), 1)
	}
	for name, test := range map[string]struct {
		text string
		want string
	}{
		"most SSRC lines":     {add("a=ssrc:1 cname:x", maxStreams), ""},
		"too many SSRC lines": {add("a=ssrc:1 cname:x", maxStreams+1), "SSRC lines"},
		"SSRC groups count":   {add("a=ssrc-group:FID 1 2", maxStreams+1), "SSRC lines"},
		"most layers":         {add("a=rid:q send", maxLayers), ""},
		"too many layers":     {add("a=rid:q send", maxLayers+1), "simulcast layers"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := checkDescription(test.text, maxOffered)
			if test.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.want)
		})
	}
	_, err := checkDescription(good, 1)
	require.ErrorContains(t, err, "2 media sections, must be 1 to 1")
}

// TestAnswerToAPublisher is about what a browser decides by: the DTLS role, because the DTLS server
// chooses the SRTP profile, ICE-lite, and the codecs' parameters.
func TestAnswerToAPublisher(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	g.admit([]string{alice}, nil)
	a := g.join(attachMessage(alice, signaling.WHIPSession))
	offer := goodOffer(t)
	const opus = "a=rtpmap:111 opus/48000/2"
	offer = strings.Replace(offer, opus, "a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n"+opus, 1)
	offer = strings.Replace(offer, "m=audio 9 UDP/TLS/RTP/SAVPF 111", "m=audio 9 UDP/TLS/RTP/SAVPF 63 111", 1)
	require.Contains(t, offer, "SAVPF 63 111")
	g.send(a.session, signaling.Offer{Route: a.attach.Route, PC: signaling.Publish, Negotiation: 1, SDP: offer})
	answer := await[signaling.Answer](g, a.session).SDP
	var parsed sdp.SessionDescription
	require.NoError(t, parsed.UnmarshalString(answer))
	_, lite := parsed.Attribute("ice-lite")
	require.True(t, lite)
	require.Len(t, parsed.MediaDescriptions, 2)
	for _, media := range parsed.MediaDescriptions {
		setup, _ := media.Attribute(sdp.AttrKeyConnectionSetup)
		require.Equal(t, "passive", setup, "the server is the DTLS server")
	}
	require.Contains(t, answer, "a=rtpmap:63 red/48000/2")
	require.Regexp(t, `a=fmtp:111 \S*usedtx=1`, answer)
	require.Contains(t, answer, "transport-wide-cc")
	require.Contains(t, answer, " tcp ")
}

func TestOversizePacketEndsNoTrack(t *testing.T) {
	w, _, a, b := visit(t)
	stream := a.publish(true, signaling.Microphone)["microphone"]
	b.awaitPackets(alice, signaling.Microphone, 20, nil)
	stream.set(func(o *outgoing) {
		o.sequence++
		p := rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: o.sequence, Timestamp: o.time}, Payload: make([]byte, 3*receiveMTU)}
		require.NoError(t, o.track.WriteRTP(&p))
		o.mark = 55
	})
	packets := b.awaitPackets(alice, signaling.Microphone, 20, stream.from())
	for _, p := range packets {
		require.Less(t, len(p.Payload), receiveMTU)
	}
	require.NotNil(t, w.legOf(a))
}

func TestSilentGatewayHoldsNoMediaUp(t *testing.T) {
	w := newWorld(t)
	g1, g2 := w.gateway(), w.gateway()
	g1.admit([]string{alice, bob}, nil)
	a := g1.join(attachMessage(alice, signaling.BrowserSession))
	b := g2.join(attachMessage(bob, signaling.BrowserSession))
	from := a.publish(true, signaling.Microphone)["microphone"]
	b.awaitPackets(alice, signaling.Microphone, 20, nil)
	g2.frozen.Store(true) // as a stopped process does: nothing is sent, nothing is read
	frozen := time.Now()
	l := w.legOf(b)
	filler := signaling.Refused{Route: b.attach.Route, Message: strings.Repeat("x", 32<<10)}
	count := len(b.reception(alice, signaling.Microphone).snapshot())
	var slowest time.Duration
	orphaned := func() bool {
		start := time.Now()
		gone := false
		l.whileOpen(func() {
			if gone = l.link == nil; !gone {
				l.send(filler) // more than the socket's buffers take
			}
		})
		slowest = max(slowest, time.Since(start))
		return gone
	}
	require.Eventually(t, orphaned, patience, time.Millisecond)
	silence := signaling.SilenceMs * time.Millisecond
	require.Less(t, time.Since(frozen), silence+2*time.Second, "loaded machines are slow")
	require.Less(t, slowest, silence/2, "no lock was held for a write")
	t.Logf("lost after %v, longest hold %v", time.Since(frozen), slowest)
	requireContinuous(w, b.awaitPackets(alice, signaling.Microphone, count+20, from.from()))
	require.Equal(t, webrtc.PeerConnectionStateConnected, b.sub.ConnectionState())
}

func TestVoiceIsForgottenWhenSomebodyWaitsAgain(t *testing.T) {
	w := newWorld(t)
	r := newRoom(w.server, theVisit, time.Now())
	l := newLeg(r, "s", attachMessage(carol, signaling.BrowserSession), w.server.cfg.Log)
	now := time.Unix(10, 0)
	for range 50 {
		now = now.Add(20 * time.Millisecond)
		r.voices.detector.Observe(carol, loudLevel, now)
	}
	require.Equal(t, carol, r.voices.detector.Active(now))
	r.listen(l)
	require.Empty(t, r.voices.detector.Active(now))
}
