package client

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/client/peer"
)

// subscriber is the receiving half of a leg: the SFU offers.
type subscriber struct {
	pc       *webrtc.PeerConnection
	received *peer.Receiver
	route    signaling.Route
	send     func(signaling.Message)
	answered *signaling.Answer // the last one, for repeated offers
	early    []signaling.Candidate
	started  bool
	// carried is what each media section carries as told last: the SFU gives sections to other sources.
	carried atomic.Pointer[map[string]stream]
}

// offer applies an offer and answers it.
func (s *subscriber) offer(m signaling.Offer) error {
	s.started = true
	if s.answered != nil && m.Negotiation <= s.answered.Negotiation {
		if m.Negotiation == s.answered.Negotiation {
			s.send(*s.answered)
		}
		return nil
	}
	s.carry(m.Tracks)
	if err := s.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: m.SDP}); err != nil {
		return fmt.Errorf("set offer: %w", err)
	}
	answer, err := s.pc.CreateAnswer(nil)
	if err != nil {
		return fmt.Errorf("create answer: %w", err)
	}
	if err := s.pc.SetLocalDescription(answer); err != nil {
		return fmt.Errorf("set answer: %w", err)
	}
	s.answered = &signaling.Answer{Route: s.route, PC: signaling.Subscribe, Negotiation: m.Negotiation, SDP: answer.SDP}
	s.send(*s.answered)
	for _, each := range s.early {
		if err := addCandidate(s.pc, each); err != nil {
			return err
		}
	}
	s.early = nil
	return nil
}

// carry notes what the media sections carry from now on.
func (s *subscriber) carry(tracks []signaling.Track) {
	carried := make(map[string]stream, len(tracks))
	for _, track := range tracks {
		if track.Participant != "" {
			carried[track.MID] = stream{track.Participant, track.Source}
		}
	}
	s.carried.Store(&carried)
}

// candidate adds one of the SFU's candidates, or keeps it until the offer that it belongs to.
func (s *subscriber) candidate(m signaling.Candidate) error {
	if m.Candidate == "" {
		return nil
	}
	if s.pc.RemoteDescription() == nil {
		if len(s.early) < maxCandidates {
			s.early = append(s.early, m)
		}
		return nil
	}
	return addCandidate(s.pc, m)
}

// streams are what the SFU sends.
func (s *subscriber) streams() map[string]stream {
	if carried := s.carried.Load(); carried != nil {
		return *carried
	}
	return nil
}

// receive tells of each packet of a media section until its connection ends. listen is asked whenever the section may carry
// another stream.
func (s *subscriber) receive(
	track *webrtc.TrackRemote, receiver *webrtc.RTPReceiver, listen func(stream) func(packet []byte, at time.Time),
) {
	mid := receiver.RTPTransceiver().Mid()
	var carried *map[string]stream
	var tell func(packet []byte, at time.Time)
	s.received.Take(track, receiver, func(packet []byte, at time.Time) {
		if latest := s.carried.Load(); latest != carried {
			carried, tell = latest, nil
			if from, ok := (*latest)[mid]; ok {
				tell = listen(from)
			}
		}
		if tell != nil {
			tell(packet, at)
		}
	})
}
