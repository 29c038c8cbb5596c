package sfu

import (
	"errors"
	"fmt"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/wardline/wardline/core/signaling"
)

// A WHEP client offers itself, once, to receive: its subscriber has a fixed slot for audio and one for
// video, and whoever is to be heard and seen is switched to without negotiation.

// answerOffer answers a WHEP client's offer.
func (s *subscriber) answerOffer(m signaling.Offer) (signaling.Answer, error) {
	if s.conn != nil {
		if m.Negotiation == s.answered.Negotiation {
			return s.answered, nil
		}
		return signaling.Answer{}, errors.New("a WHEP session is offered once")
	}
	sections, err := checkDescription(m.SDP)
	if err != nil {
		return signaling.Answer{}, err
	}
	if err := s.open(); err != nil {
		return signaling.Answer{}, err
	}
	answer, err := s.conn.answer(m.SDP, func() error { return s.addReceived(sections) })
	if err != nil {
		s.leg.room.server.retire(s.conn.pc)
		s.conn, s.slots = nil, nil
		return signaling.Answer{}, err
	}
	s.answered = signaling.Answer{Route: m.Route, PC: signaling.Subscribe, Negotiation: m.Negotiation, SDP: answer}
	return s.answered, nil
}

// addReceived makes a slot for the first section of each kind.
func (s *subscriber) addReceived(sections []section) error {
	taken := make(map[webrtc.RTPCodecType]bool)
	for _, each := range sections {
		if taken[each.kind] {
			continue
		}
		taken[each.kind] = true
		added := s.addSlot(each.kind)
		added.down.setLabel("wardline")
		sender, err := s.conn.pc.AddTrack(added.down)
		if err != nil {
			return fmt.Errorf("add track: %w", err)
		}
		for _, transceiver := range s.conn.pc.GetTransceivers() {
			if transceiver.Sender() == sender {
				s.started(added, transceiver)
			}
		}
	}
	return nil
}

// fill lets the fixed slots follow what is wanted.
func (s *subscriber) fill(wants []wanted, find func(wanted) *track) {
	for _, each := range s.slots {
		each.wanted, each.track, each.announced = wanted{}, nil, true
		for _, w := range wants {
			if kindOf(w.source) == each.down.kind {
				each.wanted, each.track = w, find(w)
			}
		}
		if each.track == nil {
			each.down.follow(nil, time.Time{})
		}
	}
	s.tune(time.Now())
}
