package sfu

import (
	"slices"

	"github.com/wardline/wardline/core/signaling"
)

// Where a subscriber gets a selection its slots change hands all the time, and an offer each time would keep hundreds of
// clients negotiating. A slot that a client has agreed to then goes on with another source at once, and the client is told
// whose it is.

// setSelects begins or ends that a leg gets a selection. Slots that change hands are in lip sync with nobody: publishers have
// clocks of their own, and a label that is out of date would hold a voice back for the video of another.
func (s *subscriber) setSelects(on bool) {
	if s.selects == on {
		return
	}
	s.selects, s.carried = on, nil
	for _, each := range s.slots {
		each.down.setLabel(s.labelOf(each))
		s.dirty, s.due = true, true
	}
}

// labelOf is what a slot is in lip sync with.
func (s *subscriber) labelOf(each *slot) string {
	if s.selects || each.participant == "" {
		return each.down.id
	}
	return each.participant
}

// carry lets slots that have changed hands go on without an offer where that is possible.
func (s *subscriber) carry() {
	if !s.selects {
		return
	}
	s.dirty = s.due
	for _, each := range s.slots {
		if each.participant == "" {
			continue
		}
		each.announced = each.announced || each.agreed
		s.dirty = s.dirty || each.transceiver == nil
	}
	if !slices.Equal(s.announce(), s.carried) {
		s.tellCarried()
	}
}

// tellCarried says what the slots carry where that can change without an offer.
func (s *subscriber) tellCarried() {
	if s.selects && s.conn != nil {
		s.carried = s.announce()
		s.leg.send(signaling.Tracks{Route: s.leg.route, Tracks: s.carried})
	}
}
