package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/client/peer"
)

// leg is a pair of peer connections to one SFU. It belongs to the participant's loop; only reading is done elsewhere.
type leg struct {
	route signaling.Route
	pub   *publisher
	sub   *subscriber
	heard *hearing
	// patient legs replace one that works, and take their time to do so unnoticed.
	patient bool
	ready   bool // leg-ready was sent

	connectedAt time.Time
	offeredAt   time.Time // the first offer came
	failedAt    time.Time

	end     context.CancelFunc
	running sync.WaitGroup
}

// legEvents is what a leg tells its owner, from pion's goroutines.
type legEvents struct {
	changed   func()                              // a connection's state, or what is received
	listen    func(on *hearing, from stream) hear // before packets of a stream
	candidate func(signaling.Candidate)           // one to be sent
}

// hear takes a packet and reports whether it is the first of its stream on its leg.
type hear func(packet []byte, at time.Time) (first bool)

func newLeg(
	api *webrtc.API, settings webrtc.SettingEngine, config webrtc.Configuration, route signaling.Route,
	send func(signaling.Message), events legEvents,
) (*leg, error) {
	subscribing, received, err := peer.Subscribing(settings)
	if err != nil {
		return nil, err
	}
	publish, err := api.NewPeerConnection(config)
	if err != nil {
		return nil, fmt.Errorf("publishing peer connection: %w", err)
	}
	subscribe, err := subscribing.NewPeerConnection(config)
	if err != nil {
		return nil, fmt.Errorf("subscribing peer connection: %w", errors.Join(err, publish.Close()))
	}
	life, end := context.WithCancel(context.Background())
	l := &leg{
		route: route, heard: newHearing(route.Leg), end: end,
		pub: &publisher{pc: publish, route: route, send: send},
		sub: &subscriber{pc: subscribe, received: received, route: route, send: send},
	}
	l.running.Go(func() { received.Run(life, subscribe) })
	for name, pc := range map[signaling.PeerConnection]*webrtc.PeerConnection{signaling.Publish: publish, signaling.Subscribe: subscribe} {
		pc.OnConnectionStateChange(func(webrtc.PeerConnectionState) { events.changed() })
		pc.OnICECandidate(func(candidate *webrtc.ICECandidate) {
			if candidate == nil {
				return
			}
			events.candidate(signaling.Candidate{Route: route, PC: name, Candidate: candidate.ToJSON().Candidate, MID: "0"})
		})
	}
	subscribe.OnTrack(func(track *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) {
		l.sub.receive(track, receiver, func(from stream) func([]byte, time.Time) {
			hear := events.listen(l.heard, from)
			return func(packet []byte, at time.Time) {
				if hear(packet, at) {
					events.changed()
				}
			}
		})
	})
	return l, nil
}

// close ends both connections and waits until nothing of them runs any more.
func (l *leg) close() {
	l.end()
	_ = l.pub.pc.GracefulClose()
	_ = l.sub.pc.GracefulClose()
	l.running.Wait()
	l.pub.reading.Wait()
}

// receive applies one of the SFU's messages.
func (l *leg) receive(m signaling.MediaMessage, now time.Time) error {
	switch m := m.(type) {
	case signaling.Offer:
		if m.PC != signaling.Subscribe {
			return nil
		}
		if l.offeredAt.IsZero() {
			l.offeredAt = now
		}
		return l.sub.offer(m)
	case signaling.Answer:
		if m.PC == signaling.Publish {
			return l.pub.answer(m)
		}
	case signaling.Candidate:
		if m.PC == signaling.Publish {
			return l.pub.candidate(m)
		}
		return l.sub.candidate(m)
	case signaling.Tracks:
		l.sub.carry(m.Tracks)
	}
	return nil
}

// look notes the connections' states.
func (l *leg) look(now time.Time) {
	connected, failed := l.states()
	switch {
	case !connected:
		l.connectedAt = time.Time{}
	case l.connectedAt.IsZero():
		l.connectedAt = now
	}
	switch {
	case !failed:
		l.failedAt = time.Time{}
	case l.failedAt.IsZero():
		l.failedAt = now
	}
}

// states reports whether everything that was started is connected, and something was, and whether anything failed.
func (l *leg) states() (connected, failed bool) {
	started := 0
	connected = true
	for _, each := range [...]struct {
		pc      *webrtc.PeerConnection
		started bool
	}{{l.pub.pc, l.pub.started}, {l.sub.pc, l.sub.started}} {
		if !each.started {
			continue
		}
		started++
		state := each.pc.ConnectionState()
		connected = connected && state == webrtc.PeerConnectionStateConnected
		// pion closes a connection that the SFU closed.
		failed = failed || state == webrtc.PeerConnectionStateFailed || state == webrtc.PeerConnectionStateClosed
	}
	return connected && started > 0, failed
}

// flows decides whether a leg can take over: it is connected and, where it replaces one that works, everything that the
// SFU offered on it has come, or has had its time.
func (l *leg) flows(now time.Time, missing bool) bool {
	if l.connectedAt.IsZero() {
		return false
	}
	if !l.patient {
		return true
	}
	if l.offeredAt.IsZero() {
		return now.Sub(l.connectedAt) >= offerGrace
	}
	return !missing || now.Sub(l.connectedAt) >= flowTimeout
}

// path says how media travels, over which relay if any, and the round-trip time in milliseconds, 0 while it is not known.
func (l *leg) path() (path, relay string, rtt float64) {
	for _, pc := range []*webrtc.PeerConnection{l.sub.pc, l.pub.pc} {
		// Before it is connected for the first time a transport has no pair, and pion may be writing to it.
		if state := pc.ICEConnectionState(); state == webrtc.ICEConnectionStateNew || state == webrtc.ICEConnectionStateChecking {
			continue
		}
		transport := transportOf(pc)
		if transport == nil {
			continue
		}
		pair, err := transport.GetSelectedCandidatePair()
		if err != nil || pair == nil || pair.Local == nil {
			continue
		}
		path = "host"
		if pair.Local.Typ == webrtc.ICECandidateTypeRelay {
			path, relay = "relay", pair.Local.Address
		}
		if stats, ok := transport.GetSelectedCandidatePairStats(); ok {
			rtt = milliseconds(time.Duration(stats.CurrentRoundTripTime * float64(time.Second)))
		}
		return path, relay, rtt
	}
	return "", "", 0
}

// transportOf returns the one ICE transport of a peer connection that bundles everything, nil before there is one.
func transportOf(pc *webrtc.PeerConnection) *webrtc.ICETransport {
	for _, transceiver := range pc.GetTransceivers() {
		if receiver := transceiver.Receiver(); receiver != nil && receiver.Transport() != nil {
			return receiver.Transport().ICETransport()
		}
		if sender := transceiver.Sender(); sender != nil && sender.Transport() != nil {
			return sender.Transport().ICETransport()
		}
	}
	return nil
}
