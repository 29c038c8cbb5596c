package client

import (
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/signaling"
)

// placed is a placement on a leg; its epoch is ten times the leg.
func placed(leg uint32) signaling.Placed {
	return signaling.Placed{
		Route: signaling.Route{Leg: leg, Epoch: uint64(leg) * 10}, Region: "here", SFU: "sfu-1", Reason: "admitted",
	}
}

func roster(revision uint64, members ...signaling.Member) signaling.Roster {
	return signaling.Roster{Revision: revision, Members: members}
}

func TestAVisitFromJoinToLeave(t *testing.T) {
	t.Parallel()
	g := newFakeGateway(t)
	v := start(t, Config{Gateways: []string{g.url + "/"}, Publish: true})
	s := g.accept()
	require.Equal(t, "secret-token", s.join.Token)
	require.Empty(t, s.join.Resume)
	require.Contains(t, s.join.RTT, "here", "it was measured")
	require.Len(t, s.join.RTT, 1, "what cannot be measured or named is left out")
	require.Equal(t, g.url, v.await(Connecting).Gateway)
	s.welcome(signaling.Welcome{State: "waiting", Gateways: []signaling.Gateway{{ID: "gateway-1", Region: "here", URL: g.url}}})
	joined := v.await(Joined)
	require.Equal(t, "session-1 me waiting gateway-1 "+g.url,
		joined.Session+" "+joined.Participant+" "+joined.State+" "+joined.GatewayID+" "+joined.Gateway)
	require.False(t, joined.Resumed)

	s.send(roster(2, signaling.Member{Participant: "me", State: "admitted"}, signaling.Member{Participant: "p-1", State: "waiting"}))
	v.await(Admitted)
	s.send(placed(1))
	require.Equal(t, uint64(10), v.await(Placed).Epoch)
	sfu := newFakeSFU(s, placed(1).Route)
	state := awaitMessage[signaling.MediaState](s)
	require.True(t, state.Audio && state.Video && !state.Screen)
	offer := sfu.takeOffer()
	require.Equal(t, uint32(1), offer.Negotiation)
	require.Len(t, offer.Tracks, 2)
	awaitMessage[signaling.LegReady](s)
	require.Eventually(t, func() bool { return sfu.sounds.Load() > 20 && sfu.images.Load() > 3 }, patience, 10*time.Millisecond)

	tracks := sfu.offerTracks("p-1")
	heard := map[string]bool{v.await(Media).Source: true, v.await(Media).Source: true}
	require.Equal(t, map[string]bool{"microphone": true, "camera": true}, heard)
	stats := v.await(Stats)
	require.Equal(t, "p-1 host", stats.From+" "+stats.Path)
	require.NotZero(t, stats.Packets)
	s.send(tracks)
	require.Equal(t, tracks.Negotiation, awaitMessage[signaling.Answer](s).Negotiation, "an offer repeated is an answer repeated")

	sfu.paused.Store(true)
	silent := v.await(Silent, Gap)
	sfu.paused.Store(false)
	gap := v.await(Gap, Silent)
	require.Equal(t, silent.Since, gap.Start)
	require.GreaterOrEqual(t, gap.Ms, 1000.0)

	v.leave()
	awaitMessage[signaling.Leave](s)
	s.send(signaling.Bye{Code: signaling.ByeLeft})
	require.Equal(t, signaling.ByeLeft, v.await(Bye).Code)
	require.Equal(t, signaling.ByeLeft, v.await(Ended).Code)
	require.NoError(t, v.result())
}

func TestAMoveOpensTheNewLegBesideTheOld(t *testing.T) {
	t.Parallel()
	g := newFakeGateway(t)
	v := start(t, Config{Gateways: []string{g.url}, RTT: map[string]float64{}})
	s := g.welcome(signaling.Welcome{State: "admitted"})
	s.send(placed(1))
	old := newFakeSFU(s, placed(1).Route)
	require.False(t, awaitMessage[signaling.MediaState](s).Audio, "nothing is published")
	stray := old.offerTracks("p-1")
	awaitMessage[signaling.LegReady](s)
	require.Equal(t, uint32(1), v.await(Media).Leg)

	s.send(placed(3))
	s.send(placed(3)) // again, and an older one
	s.send(placed(2))
	young := newFakeSFU(s, placed(3).Route)
	stray.Route, stray.Negotiation = signaling.Route{Leg: 3, Epoch: 29}, 7
	s.send(stray) // of an epoch that is over
	young.offerTracks("p-1")
	require.Equal(t, placed(3).Route, awaitMessage[signaling.LegReady](s).Route)
	require.Equal(t, uint32(3), v.await(Placed, Gap).Leg)
	for v.await(Media, Gap, Placed).Leg != 3 {
		continue // a picture on the old one
	}
	closed := func() bool { return old.sub.ConnectionState().String() == "closed" }
	require.Eventually(t, closed, patience, 10*time.Millisecond, "the old leg is closed")
	v.await(Stats, Gap)
}

func TestALostGatewayIsReplacedAndTheSessionResumed(t *testing.T) {
	t.Parallel()
	first, second := newFakeGateway(t), newFakeGateway(t)
	known := []signaling.Gateway{{ID: "gateway-1", Region: "here", URL: first.url}, {ID: "gateway-2", Region: "there", URL: second.url}}
	v := start(t, Config{Gateways: []string{first.url}, Publish: true, RTT: map[string]float64{"here": 1}})
	s := first.welcome(signaling.Welcome{State: "admitted", Gateways: known[:1]})
	require.Equal(t, map[string]float64{"here": 1}, s.join.RTT)
	s.send(signaling.Gateways{Gateways: known})
	s.send(placed(1))
	offer := awaitMessage[signaling.Offer](s)
	_ = s.conn.CloseNow()
	lost := v.await(Lost)
	require.Equal(t, LossClosed+" "+first.url, lost.Error+" "+lost.Gateway)
	require.Equal(t, second.url, v.await(Connecting).Gateway)

	s = second.accept()
	require.Equal(t, "session-1", s.join.Resume)
	s.welcome(signaling.Welcome{State: "admitted", Resumed: true})
	require.True(t, v.await(Joined, Admitted).Resumed)
	require.Equal(t, offer, awaitMessage[signaling.Offer](s), "the unanswered offer is said again")
	sfu := newFakeSFU(s, placed(1).Route)
	sfu.answer(offer)
	awaitMessage[signaling.LegReady](s)

	second.mute.Store(true)
	require.Equal(t, LossSilence, v.await(Lost).Error)
	s = first.welcome(signaling.Welcome{State: "admitted", Resumed: true})
	awaitMessage[signaling.LegReady](s)

	s.send(signaling.Bye{Code: signaling.ByeShutdown, Retry: true})
	require.Equal(t, signaling.ByeShutdown, v.await(Bye).Code)
	require.Equal(t, LossBye, v.await(Lost).Error)
	second.mute.Store(false)
	s = second.welcome(signaling.Welcome{Session: "session-2", State: "waiting"})
	require.Equal(t, "session-2", v.await(Joined).Session)
	s.send(roster(1, signaling.Member{Participant: "me", State: "admitted"}))
	v.await(Admitted)
	closed := func() bool { return sfu.pub.ConnectionState().String() == "closed" }
	require.Eventually(t, closed, patience, 10*time.Millisecond, "a new session has new legs")
	s.send(signaling.Bye{Code: signaling.ByeEnded})
	require.Equal(t, signaling.ByeEnded, v.await(Ended).Code)
	require.NoError(t, v.result())
}

func TestDeadMediaThatNobodyReplacesIsJoinedAnew(t *testing.T) {
	t.Parallel()
	g := newFakeGateway(t)
	v := start(t, Config{Gateways: []string{g.url}, Publish: true, RTT: map[string]float64{}, giveUp: time.Second})
	s := g.welcome(signaling.Welcome{State: "admitted"})
	s.send(placed(1))
	sfu := newFakeSFU(s, placed(1).Route)
	sfu.takeOffer()
	awaitMessage[signaling.LegReady](s)
	sfu.close()
	require.Equal(t, LossMedia, v.await(Lost).Error)
	require.Empty(t, g.accept().join.Resume)
}

func TestAStoreThatWasSetBackIsFollowedAtTheNextGateway(t *testing.T) {
	t.Parallel()
	g := newFakeGateway(t)
	start(t, Config{Gateways: []string{g.url}, Admit: true, RTT: map[string]float64{}})
	s := g.welcome(signaling.Welcome{State: "admitted"})
	me, late := signaling.Member{Participant: "me", State: "admitted"}, signaling.Member{Participant: "late", State: "waiting"}
	s.send(roster(9, me, signaling.Member{Participant: "p-1", State: "waiting"}))
	require.Equal(t, "p-1", awaitMessage[signaling.Admit](s).Participant)
	s.send(roster(4, me, late))
	_ = s.conn.CloseNow()
	s = g.welcome(signaling.Welcome{State: "admitted", Resumed: true})
	s.send(roster(5, me, signaling.Member{Participant: "p-2", State: "waiting"}))
	require.Equal(t, "p-2", awaitMessage[signaling.Admit](s).Participant, "and nobody from the roster that was late")
}

func TestWhoWaitsIsAdmitted(t *testing.T) {
	t.Parallel()
	g := newFakeGateway(t)
	start(t, Config{Gateways: []string{g.url}, Admit: true, RTT: map[string]float64{}})
	s := g.welcome(signaling.Welcome{State: "admitted"})
	me := signaling.Member{Participant: "me", State: "admitted"}
	s.send(roster(5, me, signaling.Member{Participant: "p-1", State: "waiting"}, signaling.Member{Participant: "p-2", State: "waiting"}))
	require.Equal(t, "p-1", awaitMessage[signaling.Admit](s).Participant)
	require.Equal(t, "p-2", awaitMessage[signaling.Admit](s).Participant)
	s.send(roster(4, me, signaling.Member{Participant: "p-3", State: "waiting"})) // late
	s.send(roster(6, me, signaling.Member{Participant: "p-1", State: "admitted"}, signaling.Member{Participant: "p-2", State: "waiting"}))
	begin := time.Now()
	require.Equal(t, "p-2", awaitMessage[signaling.Admit](s).Participant, "asked again for what had no effect")
	require.Greater(t, time.Since(begin), admitAgain/2)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		code   string
		status websocket.StatusCode
		want   string // Run's error; "" for another try
	}{
		"a bad token":            {"token-signature", 4401, "refused: token-signature"},
		"a token, without words": {"", 4401, "refused: refused"},
		"somebody removed":       {"participant-removed", 4403, "refused: participant-removed"},
		"a visit that is over":   {"encounter-ended", 4403, "refused: encounter-ended"},
		"a store out of reach":   {"unavailable", websocket.StatusTryAgainLater, ""},
		"too many at once":       {"rate-limited", 4429, ""},
		"a crash":                {"", websocket.StatusInternalError, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, other := newFakeGateway(t), newFakeGateway(t)
			v := start(t, Config{Gateways: []string{g.url, other.url}, RTT: map[string]float64{}})
			s := g.accept()
			if test.code != "" {
				s.send(signaling.Error{Code: test.code, Message: "no", About: "join"})
				require.Equal(t, test.code, v.await(Refused).Code)
			}
			_ = s.conn.Close(test.status, "")
			if test.want != "" {
				require.EqualError(t, v.result(), test.want)
				return
			}
			v.await(Lost)
			s = other.welcome(signaling.Welcome{State: "admitted"})
			v.await(Joined)
			_ = s.conn.CloseNow()
			s = g.accept()
			s.send(signaling.Error{Code: "encounter-ended", Message: "no", About: "join"})
			_ = s.conn.Close(closedRefused, "")
			require.Equal(t, signaling.ByeEnded, v.await(Ended).Code)
			require.NoError(t, v.result(), "it ended while the participant was away")
		})
	}
}

func TestNobodyWhoNeverJoinedSucceeds(t *testing.T) {
	t.Parallel()
	v := start(t, Config{Gateways: []string{"http://127.0.0.1:1"}})
	require.Equal(t, LossUnreachable, v.await(Lost).Error)
	require.Equal(t, LossUnreachable, v.await(Lost).Error)
	v.leave()
	require.ErrorIs(t, v.result(), ErrNeverJoined)
}

func TestAGatewayThatDoesNotAnswerALeaveIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	g := newFakeGateway(t)
	v := start(t, Config{Gateways: []string{g.url}, RTT: map[string]float64{}})
	g.welcome(signaling.Welcome{State: "waiting"})
	v.await(Joined)
	v.leave()
	begin := time.Now()
	require.NoError(t, v.result())
	require.Less(t, time.Since(begin), 5*time.Second)
	require.Equal(t, signaling.ByeLeft, v.await(Ended, Bye).Code)
}
