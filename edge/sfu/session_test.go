package sfu

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/sfu/sdpfrag"
)

func TestNothingFlowsToOrFromWhoeverWaits(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	g.admit([]string{alice, bob}, []string{carol})
	a := g.join(attachMessage(alice, signaling.BrowserSession))
	b := g.join(attachMessage(bob, signaling.BrowserSession))
	c := g.join(attachMessage(carol, signaling.WHIPSession))
	fromA := a.publish(true, signaling.Microphone)
	fromC := c.publish(false, signaling.Microphone, signaling.Camera)
	waiting := attachMessage(carol, signaling.BrowserSession)
	waiting.Leg = 2
	c2 := g.join(waiting)
	b.awaitPackets(alice, signaling.Microphone, 50, fromA["microphone"].from())
	require.Nil(t, b.reception(carol, signaling.Camera))
	require.Nil(t, c2.reception(alice, signaling.Microphone))

	g.admit([]string{alice, bob, carol}, nil)
	packets := b.awaitPackets(carol, signaling.Camera, 10, fromC["camera"].from())
	require.Zero(t, packets[0].Payload[4]&1, "a key frame was asked for")
	c2.awaitPackets(alice, signaling.Microphone, 10, fromA["microphone"].from())
}

// watch makes a WHEP session that receives with one offer of its own.
func (g *gateway) watch(participant, target string) *client {
	g.w.Helper()
	m := attachMessage(participant, signaling.WHEPSession)
	m.Target, m.CanPublish = target, nil
	c := g.join(m)
	c.sub = c.peerConnection()
	c.sub.OnTrack(c.onTrack)
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
		_, err := c.sub.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
		require.NoError(g.w, err)
	}
	offer, err := c.sub.CreateOffer(nil)
	require.NoError(g.w, err)
	gathered := webrtc.GatheringCompletePromise(c.sub)
	require.NoError(g.w, c.sub.SetLocalDescription(offer))
	<-gathered
	message := signaling.Offer{Route: m.Route, PC: signaling.Subscribe, Negotiation: 1, SDP: c.sub.LocalDescription().SDP}
	g.send(c.session, message)
	answer := await[signaling.Answer](g, c.session)
	require.NoError(g.w, c.sub.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer.SDP}))
	g.send(c.session, message)
	require.Equal(g.w, answer, await[signaling.Answer](g, c.session), "the same offer gets the same answer")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tracks["0"] = signaling.Track{MID: "0", Participant: target, Source: signaling.Microphone}
	c.tracks["1"] = signaling.Track{MID: "1", Participant: target, Source: signaling.Camera}
	return c
}

func TestWHIPAndWHEP(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	g.admit([]string{alice, bob, carol}, nil)
	a := g.join(attachMessage(alice, signaling.WHIPSession))
	c := g.join(attachMessage(carol, signaling.WHIPSession))
	from := a.publish(false, signaling.Microphone, signaling.Camera)
	c.publish(false, signaling.Microphone, signaling.Camera)
	b := g.watch(bob, alice)
	requireContinuous(w, b.awaitPackets(alice, signaling.Microphone, 20, from["microphone"].from()))
	requireContinuous(w, b.awaitPackets(alice, signaling.Camera, 20, from["camera"].from()))
	for _, p := range b.reception(alice, signaling.Camera).snapshot() {
		require.True(t, from["camera"].from()(p), "only the target")
	}
}

func TestActiveSpeakerIsShownAndAnnounced(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	g.admit([]string{alice, bob, carol}, nil)
	a := g.join(attachMessage(alice, signaling.BrowserSession))
	fromA := a.publish(true, signaling.Microphone, signaling.Camera)
	b := g.watch(bob, "")
	b.awaitPackets("", signaling.Camera, 10, fromA["cameraf"].from())
	c := g.join(attachMessage(carol, signaling.BrowserSession))
	fromC := c.publish(true, signaling.Microphone, signaling.Camera)
	for _, stream := range fromC {
		stream.set(func(o *outgoing) { o.mark += 100 })
	}
	a.awaitPackets(carol, signaling.Camera, 10, nil)
	fromC["microphone"].set(func(o *outgoing) { o.level = loudLevel })
	await(g, a.session, func(m signaling.Speaker) bool { return m.Participant == carol })
	b.awaitPackets("", signaling.Camera, 20, fromC["cameraf"].from())
	b.awaitPackets("", signaling.Microphone, 20, fromC["microphone"].from())
	requireContinuous(w, b.reception("", signaling.Camera).snapshot())
	fromC["microphone"].set(func(o *outgoing) { o.level = 127 })
	fromA["microphone"].set(func(o *outgoing) { o.level = loudLevel })
	await(g, c.session, func(m signaling.Speaker) bool { return m.Participant == alice })
	b.awaitPackets("", signaling.Camera, 40, fromA["cameraf"].from())
}

func TestPeersAndMediaState(t *testing.T) {
	_, g, a, b := visit(t)
	await(g, a.session, func(m signaling.Peers) bool { return len(m.Peers) == 1 && m.Peers[0].Participant == bob })
	g.send(b.session, signaling.MediaState{Route: b.attach.Route, Audio: true, Screen: true})
	await(g, a.session, func(m signaling.Peers) bool {
		return len(m.Peers) == 1 && m.Peers[0] == signaling.Peer{Participant: bob, Audio: true, Screen: true}
	})
	g.send(b.session, signaling.Detach{Route: b.attach.Route})
	await(g, a.session, func(m signaling.Peers) bool { return len(m.Peers) == 0 })
}

func TestMuteRequestGoesToTheOtherGateway(t *testing.T) {
	w := newWorld(t)
	g1, g2 := w.gateway(), w.gateway()
	g1.admit([]string{alice, bob}, nil)
	a := g1.join(attachMessage(alice, signaling.BrowserSession))
	b := g2.join(attachMessage(bob, signaling.BrowserSession))
	g1.send(a.session, signaling.MuteRequest{Participant: bob, Source: signaling.Microphone, By: alice})
	require.Equal(t, alice, await[signaling.MuteRequest](g2, b.session).By)
}

func TestAnotherGatewayTakesOverWithoutAGap(t *testing.T) {
	w, g, a, b := visit(t)
	from := a.publish(true, signaling.Microphone)
	b.awaitPackets(alice, signaling.Microphone, 20, nil)
	g.stop()
	g2 := w.gateway()
	g2.send(b.session, b.attach)
	require.True(t, await[signaling.Attached](g2, b.session).Resumed)
	await(g2, b.session, func(m signaling.Peers) bool { return len(m.Peers) == 1 })
	await[signaling.Speaker](g2, b.session)
	b.gateways.Lock()
	b.g = g2
	b.gateways.Unlock()
	n := len(b.reception(alice, signaling.Microphone).snapshot())
	requireContinuous(w, b.awaitPackets(alice, signaling.Microphone, n+30, from["microphone"].from()))
}

func TestUnansweredOfferIsRepeated(t *testing.T) {
	_, g, a, b := visit(t)
	b.close() // nobody answers for bob now
	a.publish(true, signaling.Microphone)
	offer := await[signaling.Offer](g, b.session)
	g.send(b.session, b.attach)
	require.Equal(t, offer, await[signaling.Offer](g, b.session))
	g.send(b.session, signaling.Answer{Route: b.attach.Route, PC: signaling.Subscribe, Negotiation: offer.Negotiation, SDP: "v=0"})
	require.Equal(t, "answer", await[signaling.Refused](g, b.session).About)
	g.send(b.session, signaling.Answer{Route: b.attach.Route, PC: signaling.Subscribe, Negotiation: offer.Negotiation + 1, SDP: "late"})
	g.send(b.session, b.attach)
	require.Equal(t, offer, await[signaling.Offer](g, b.session), "still waiting for an answer")
}

func TestRelievedGatewayIsNotHeard(t *testing.T) {
	w, g, a, b := visit(t)
	g2 := w.gateway()
	g2.send(b.session, b.attach)
	await[signaling.Attached](g2, b.session)
	g.send(b.session, signaling.Detach{Route: b.attach.Route})
	g.send(a.session, signaling.MediaState{Route: a.attach.Route, Video: true})
	await(g2, b.session, func(m signaling.Peers) bool { return len(m.Peers) == 1 && m.Peers[0].Video })
}

func TestOrphansExpire(t *testing.T) {
	w, g, _, _ := visit(t, func(c *Config) { c.OrphanAfter = 200 * time.Millisecond })
	whip := g.join(attachMessage(carol, signaling.WHIPSession))
	whip.publish(false, signaling.Microphone)
	g2 := w.gateway()
	await[signaling.Hello](g2, "")
	g.stop()
	for _, participant := range []string{alice, bob} {
		gone := await[signaling.Gone](g2, sessionOf(participant)+"-browser")
		require.Equal(t, goneOrphaned, gone.Reason)
		require.Equal(t, participant, gone.Participant)
	}
	require.Equal(t, 1, w.server.countLegs(), "WHIP lives as long as its ICE")
}

func TestAVisitOutlivesAllGateways(t *testing.T) {
	w, g, a, b := visit(t, func(c *Config) { c.OrphanAfter = 500 * time.Millisecond })
	a.publish(true, signaling.Microphone)
	b.awaitPackets(alice, signaling.Microphone, 10, nil)
	g.stop()
	require.Eventually(t, func() bool { return w.server.control.Links() == 0 }, patience, time.Millisecond)
	b.awaitPackets(alice, signaling.Microphone, 60, nil) // another second
	require.Equal(t, 2, w.server.countLegs())
	g2 := w.gateway()
	g2.send(b.session, b.attach)
	await[signaling.Attached](g2, b.session)
	require.Equal(t, goneOrphaned, await[signaling.Gone](g2, a.session).Reason, "who does not come back to a gateway that is there")
	require.Equal(t, 1, w.server.countLegs())
}

func TestClosingPeerConnectionEndsTheLeg(t *testing.T) {
	_, g, a, b := visit(t)
	a.publish(true, signaling.Microphone)
	b.awaitPackets(alice, signaling.Microphone, 10, nil)
	a.close()
	require.Equal(t, goneICE, await[signaling.Gone](g, a.session).Reason)
}

func TestRemovedAndEnded(t *testing.T) {
	w, g, a, b := visit(t)
	g2 := w.gateway()
	await[signaling.Hello](g2, "")
	g.admit([]string{alice}, nil)
	require.Equal(t, goneRemoved, await[signaling.Gone](g, b.session).Reason)
	require.Equal(t, goneRemoved, await[signaling.Gone](g2, b.session).Reason, "every gateway is told")
	g.send("", signaling.Membership{EncounterRef: theVisit, Revision: 1, Admitted: nil})
	g.send(a.session, a.attach)
	require.True(t, await[signaling.Attached](g, a.session).Resumed, "an older revision is ignored")
	g.send("", signaling.Membership{EncounterRef: theVisit, Revision: 1 << 40, Ended: true})
	require.Equal(t, goneEnded, await[signaling.Gone](g, a.session).Reason)
	g.send(a.session, a.attach)
	require.Equal(t, signaling.RefusedInvalid, await[signaling.Refused](g, a.session).Code)
}

func TestEpochs(t *testing.T) {
	g := newWorld(t).gateway()
	m := attachMessage(alice, signaling.BrowserSession)
	m.Epoch = 5
	g.send("s1", m)
	require.Equal(t, m.Route, await[signaling.Attached](g, "s1").Route)
	low := attachMessage(bob, signaling.BrowserSession)
	low.Epoch = 4
	g.send("s2", low)
	require.Equal(t, signaling.RefusedStale, await[signaling.Refused](g, "s2").Code)
	g.send("", signaling.Reserve{EncounterRef: theVisit, Epoch: 4})
	require.Equal(t, signaling.RefusedStale, await[signaling.Refused](g, "").Code)
	g.send("", signaling.Reserve{EncounterRef: theVisit, Epoch: 9})
	await[signaling.Reserve](g, "")
	g.send("s1", m)
	require.Equal(t, signaling.RefusedStale, await[signaling.Refused](g, "s1").Code)
}

func TestWhatIsSaidInAnEarlierEpochIsIgnored(t *testing.T) {
	g := newWorld(t).gateway()
	before := attachMessage(alice, signaling.BrowserSession)
	after := before
	after.Epoch++
	for _, m := range []signaling.Attach{before, after} {
		g.send("s1", m)
		require.Equal(t, m.Route, await[signaling.Attached](g, "s1").Route)
	}
	g.send("s1", signaling.Detach{Route: before.Route})
	g.send("s1", after)
	require.True(t, await[signaling.Attached](g, "s1").Resumed, "the leg is there")
}

func TestCapacityAndDraining(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Capacity = 4 })
	g := w.gateway()
	for i := range 5 {
		g.send("", signaling.Reserve{EncounterRef: theVisit, Epoch: 1})
		await[signaling.Reserve](g, "")
		g.send(fmt.Sprint("s", i), attachMessage(fmt.Sprint("p", i), signaling.BrowserSession))
		await[signaling.Attached](g, fmt.Sprint("s", i))
	}
	require.InDelta(t, 1.25, w.server.Load(), 1e-9)
	g.send("s9", attachMessage("p9", signaling.BrowserSession))
	require.Equal(t, signaling.RefusedBusy, await[signaling.Refused](g, "s9").Code)
	g.send("again", attachMessage("p1", signaling.BrowserSession))
	await[signaling.Attached](g, "again")
	other := signaling.EncounterRef{Tenant: "clinic", Encounter: "other"}
	g.send("", signaling.Reserve{EncounterRef: other, Epoch: 1})
	require.Equal(t, signaling.RefusedBusy, await[signaling.Refused](g, "").Code)

	require.NoError(t, w.server.Ready(t.Context()))
	w.server.SetDraining(true)
	require.Error(t, w.server.Ready(t.Context()))
	g.send("s4", signaling.Detach{Route: signaling.Route{Leg: 1, Epoch: 1}})
	g.send("s3", signaling.Detach{Route: signaling.Route{Leg: 1, Epoch: 1}})
	g.send("", signaling.Reserve{EncounterRef: other, Epoch: 1})
	require.Equal(t, signaling.RefusedDraining, await[signaling.Refused](g, "").Code)
	g.send("s4", attachMessage("p4", signaling.BrowserSession))
	await[signaling.Attached](g, "s4")
}

func TestDrainEndsWhenTheGatewaysHaveMovedEverybody(t *testing.T) {
	w, g, a, b := visit(t)
	from := a.publish(true, signaling.Microphone)
	b.awaitPackets(alice, signaling.Microphone, 10, nil)
	require.Equal(t, 1, w.server.Encounters())
	require.Equal(t, 2, w.server.Participants())

	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := w.server.Drain(short)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "1 encounters")
	require.Equal(t, signaling.Draining{On: true}, await[signaling.Draining](g, ""))
	late := w.gateway()
	require.Equal(t, signaling.Draining{On: true}, await[signaling.Draining](late, ""))
	n := len(b.reception(alice, signaling.Microphone).snapshot())
	b.awaitPackets(alice, signaling.Microphone, n+10, from["microphone"].from())

	drained := make(chan error, 1)
	go func() { drained <- w.server.Drain(t.Context()) }()
	g.send(a.session, signaling.Detach{Route: a.attach.Route})
	g.send(b.session, signaling.Detach{Route: b.attach.Route})
	require.NoError(t, <-drained)
	require.Zero(t, w.server.Participants())
	require.ErrorIs(t, w.server.Ready(t.Context()), errDraining)
}

func TestUndrainedServerTakesEncountersAgain(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	require.NoError(t, w.server.Drain(t.Context()), "nobody is here")
	g.send("", signaling.Reserve{EncounterRef: theVisit, Epoch: 1})
	require.Equal(t, signaling.RefusedDraining, await[signaling.Refused](g, "").Code)
	w.server.SetDraining(false)
	require.Equal(t, signaling.Draining{On: true}, await[signaling.Draining](g, ""))
	require.Equal(t, signaling.Draining{On: false}, await[signaling.Draining](g, ""))
	g.send("", signaling.Reserve{EncounterRef: theVisit, Epoch: 1})
	await[signaling.Reserve](g, "")
	require.NoError(t, w.server.Ready(t.Context()))
}

func TestHeartbeatsSayHowBusyTheServerIs(t *testing.T) {
	w, g, _, _ := visit(t)
	await(g, "", func(m signaling.Heartbeat) bool { return m.Load == w.server.Load() && m.Load > 0 })
}

func TestMessagesThatMakeNoSenseAreRefused(t *testing.T) {
	_, g, a, b := visit(t)
	route := a.attach.Route
	long := "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n" + strings.Repeat("m=audio 9 RTP/AVP 0\r\n", 500)
	for _, sdp := range []string{"garbage", "v=0", long} {
		g.send(a.session, signaling.Offer{Route: route, PC: signaling.Publish, Negotiation: 1, SDP: sdp})
		refused := await[signaling.Refused](g, a.session)
		require.Equal(t, "offer", refused.About)
		require.Equal(t, theVisit, refused.EncounterRef)
	}
	g.send(a.session, signaling.Offer{Route: route, PC: signaling.Subscribe, Negotiation: 1, SDP: "v=0"})
	require.Equal(t, "offer", await[signaling.Refused](g, a.session).About)
	g.send(a.session, signaling.Restart{Route: route, PC: signaling.Publish, Fragment: "a=ice-ufrag:abcd"})
	require.Equal(t, "restart", await[signaling.Refused](g, a.session).About)
	from := a.publish(true, signaling.Microphone)
	for i := range maxCandidates + 1 {
		g.send(a.session, signaling.Candidate{Route: route, PC: signaling.Publish, Candidate: fmt.Sprint("candidate:", i)})
	}
	require.Equal(t, "candidate", await[signaling.Refused](g, a.session).About)
	g.send(a.session, signaling.Restart{Route: route, PC: signaling.Publish, Fragment: "nothing"})
	require.Equal(t, "restart", await[signaling.Refused](g, a.session).About)
	g.send(a.session, attachMessage(bob, signaling.BrowserSession))
	require.Equal(t, "attach", await[signaling.Refused](g, a.session).About)
	b.awaitPackets(alice, signaling.Microphone, 10, from["microphone"].from())
}

func TestICERestartOfWHIP(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	g.admit([]string{alice, bob}, nil)
	a := g.join(attachMessage(alice, signaling.WHIPSession))
	b := g.join(attachMessage(bob, signaling.BrowserSession))
	from := a.publish(false, signaling.Microphone)
	b.awaitPackets(alice, signaling.Microphone, 10, nil)

	offer, err := a.pub.CreateOffer(&webrtc.OfferOptions{ICERestart: true})
	require.NoError(t, err)
	gathered := webrtc.GatheringCompletePromise(a.pub)
	require.NoError(t, a.pub.SetLocalDescription(offer))
	<-gathered
	theirs, err := sdpfrag.Parse(a.pub.LocalDescription().SDP)
	require.NoError(t, err)
	old := a.pub.RemoteDescription().SDP
	g.send(a.session, signaling.Restart{Route: a.attach.Route, PC: signaling.Publish, Fragment: theirs.String()})
	ours, err := sdpfrag.Parse(await[signaling.Restarted](g, a.session).Fragment)
	require.NoError(t, err)
	require.NotEmpty(t, ours.Candidates)
	require.NotContains(t, old, ours.Ufrag)
	// A gateway that did not hear the answer asks again.
	g.send(a.session, signaling.Restart{Route: a.attach.Route, PC: signaling.Publish, Fragment: theirs.String()})
	repeated, err := sdpfrag.Parse(await[signaling.Restarted](g, a.session).Fragment)
	require.NoError(t, err)
	require.Equal(t, []string{ours.Ufrag, ours.Password}, []string{repeated.Ufrag, repeated.Password})
	require.ElementsMatch(t, ours.Candidates, repeated.Candidates, "in any order")
	answer := sdpfrag.Replace(old, ours)
	for _, candidate := range ours.Candidates {
		answer += "a=candidate:" + candidate + "\r\n"
	}
	require.NoError(t, a.pub.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}))
	n := len(b.reception(alice, signaling.Microphone).snapshot())
	b.awaitPackets(alice, signaling.Microphone, n+50, from["microphone"].from())
}

func TestASubscriberRestartsICE(t *testing.T) {
	w, g, a, b := visit(t)
	from := a.publish(true, signaling.Microphone, signaling.Camera)
	b.awaitPackets(alice, signaling.Microphone, 10, nil)
	b.awaitPackets(alice, signaling.Camera, 10, nil)
	asked := a.plis.Load()
	credentials := func() string {
		offer, err := sdpfrag.Parse(b.sub.RemoteDescription().SDP)
		require.NoError(t, err)
		return offer.Ufrag
	}
	old := credentials()
	var newest uint32
	w.legOf(b).whileOpen(func() { newest = w.legOf(b).subscriber.negotiation })
	again := signaling.RestartICE{Route: b.attach.Route, Negotiation: newest}
	g.send(b.session, again)
	require.Eventually(t, func() bool { return credentials() != old }, patience, 10*time.Millisecond)
	n := len(b.reception(alice, signaling.Microphone).snapshot())
	b.awaitPackets(alice, signaling.Microphone, n+50, from["microphone"].from())
	require.Eventually(t, func() bool { return a.plis.Load() > asked }, patience, 10*time.Millisecond, "a key frame of what was lost")

	g.send(b.session, again) // as after a lost socket, when it may or may not have arrived
	g.send(b.session, signaling.Offer{Route: b.attach.Route, PC: signaling.Subscribe, Negotiation: 1, SDP: "v=0"})
	require.Equal(t, "offer", await[signaling.Refused](g, b.session).About)
	w.legOf(b).whileOpen(func() {
		require.False(t, w.legOf(b).subscriber.restarting)
		require.Equal(t, newest+1, w.legOf(b).subscriber.negotiation, "it is done once")
	})
}

func TestShutdownTellsTheGateways(t *testing.T) {
	w, g, a, b := visit(t)
	a.publish(true, signaling.Microphone)
	b.awaitPackets(alice, signaling.Microphone, 10, nil)
	start := time.Now()
	w.stop()
	require.Less(t, time.Since(start), stopWithin)
	require.Equal(t, goneShutdown, await[signaling.Gone](g, a.session).Reason)
	require.Equal(t, goneShutdown, await[signaling.Gone](g, b.session).Reason)
	require.Error(t, w.server.Ready(t.Context()))
}
