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

// answerOffer answers a WHEP client's offer, on the leg's worker.
func (s *subscriber) answerOffer(m signaling.Offer) error {
	answered, err := false, error(nil)
	open := s.leg.whileOpen(func() {
		if answered = s.conn != nil && m.Negotiation == s.answered.Negotiation; answered {
			s.leg.send(s.answered)
		} else if s.conn != nil {
			err = errors.New("a WHEP session is offered once")
		}
	})
	if !open || answered || err != nil {
		return err
	}
	sections, err := checkDescription(m.SDP, maxOffered)
	if err != nil {
		return err
	}
	apis := s.leg.room.server.apis
	conn, err := apis.newConnection(apis.sending, s.feedback, s.leg.stateChanged)
	if err != nil {
		return err
	}
	var fixed []*slot
	answer, err := conn.answer(m.SDP, func() (err error) {
		fixed, err = s.addReceived(conn, sections)
		return err
	})
	if err != nil || !s.leg.whileOpen(func() { s.begin(conn, fixed, m.Negotiation, answer) }) {
		s.leg.room.server.retire(conn.pc)
	}
	return err
}

// begin takes over what was agreed with a WHEP client.
func (s *subscriber) begin(conn *connection, fixed []*slot, negotiation uint32, answer string) {
	s.conn, s.slots, s.served = conn, fixed, served{}
	for _, each := range fixed {
		s.started(each, each.transceiver)
	}
	s.answered = signaling.Answer{Route: s.leg.route, PC: signaling.Subscribe, Negotiation: negotiation, SDP: answer}
	s.leg.send(s.answered)
	s.leg.room.changed()
}

// addReceived makes a slot for the first section of each kind.
func (s *subscriber) addReceived(conn *connection, sections []section) ([]*slot, error) {
	var slots []*slot
	taken := make(map[webrtc.RTPCodecType]bool)
	for _, each := range sections {
		if taken[each.kind] {
			continue
		}
		taken[each.kind] = true
		added := s.newSlot(len(slots), each.kind)
		added.down.setLabel("wardline")
		sender, err := conn.pc.AddTrack(added.down)
		if err != nil {
			return nil, fmt.Errorf("add track: %w", err)
		}
		for _, transceiver := range conn.pc.GetTransceivers() {
			if transceiver.Sender() == sender {
				added.transceiver = transceiver
			}
		}
		slots = append(slots, added)
	}
	return slots, nil
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
			each.down.follow(nil, time.Time{}, false)
		}
	}
	s.tune(time.Now())
}
