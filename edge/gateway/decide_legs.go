package gateway

import (
	"time"

	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway/sfulink"
)

// media brings a session's leg to the SFU of the placement.
func (s situation) media(one session) []action {
	held, current := s.Record.Placement, one.Leg
	if one.Kind == encounter.Browser && (!one.Connected || s.Record.Participants[one.Participant].State != encounter.Admitted) {
		return nil
	}
	if s.Record.E2EE && s.Record.Participants[one.Participant].Sessions[one.ID].Key == "" { // it could only send in the clear
		return nil
	}
	moved := current.Phase != legNone && (current.Epoch != held.Epoch || current.SFU != held.SFU)
	switch {
	case one.Kind != encounter.Browser && (moved && !one.Offering || current.Phase == legEnded): // it cannot be told to change legs
		return []action{leave{Participant: one.Participant, Session: one.ID}}
	case current.Phase == legNone:
		return []action{attach{Session: one.ID, Leg: s.firstLeg(one)}}
	case moved, current.Phase == legEnded:
		next := s.nextLeg(current)
		return []action{attach{Session: one.ID, Leg: next, Retire: !next.Abrupt}}
	}
	return s.again(one)
}

// olderFor is how long an older leg waits for the client to say that the newer one carries media.
const olderFor = signaling.OrphanMs * time.Millisecond

// older closes the legs before the current one that the client has not let go of in time. As long as the current leg
// is not open they are all it has.
func (s situation) older(one session) []action {
	if len(one.Older) == 0 || one.Leg.Phase != legOpen {
		return nil
	}
	if until := one.Leg.Since.Add(olderFor); s.Now.Before(until) {
		return []action{wake{At: until}}
	}
	return []action{retire{Session: one.ID}}
}

func (s situation) firstLeg(one session) leg {
	first := s.legAt(max(one.KnownLeg, uint32(s.Record.Placement.Epoch)))
	first.Reason = reasonAdmitted
	if one.Resuming {
		first.Phase, first.Reason, first.Abrupt = legRetaking, reasonFailover, true
	}
	return first
}

func (s situation) nextLeg(current leg) leg {
	next := s.legAt(max(current.Leg+1, uint32(s.Record.Placement.Epoch)))
	next.Reason = reasonMove
	if current.Phase == legOpening || current.Phase == legRefused { // the client was never told of it
		next.Reason, next.Abrupt = current.Reason, current.Abrupt
		return next
	}
	if current.Phase == legEnded || s.Links[current.SFU].Phase != sfulink.Up {
		next.Reason, next.Abrupt = reasonFailover, true
	}
	return next
}

// legAt is a new leg at the SFU of the placement.
func (s situation) legAt(number uint32) leg {
	held := s.Record.Placement
	return leg{
		Route: signaling.Route{Leg: number, Epoch: held.Epoch},
		SFU:   held.SFU, Region: held.Region, Link: s.placementLink().Generation, Phase: legOpening,
		Since: s.Now,
	}
}

// again attaches a leg once more: after a refusal, when there was no answer, or over a new channel, from which
// the SFU learns who speaks for it.
func (s situation) again(one session) []action {
	current, generation := one.Leg, s.placementLink().Generation
	answerBy := current.Since.Add(s.AttachTimeout)
	switch {
	case current.Phase == legRefused && s.Now.Before(current.RetryAt):
		return append(s.unusable(one, current), wake{At: current.RetryAt})
	case current.Phase == legRefused:
		current.Phase = legOpening
	case current.Phase == legOpen && current.Link == generation:
		return nil
	case current.Phase == legOpen:
		current.Phase = legRetaking
	case current.Link != generation: // what was asked over the old channel is not answered over this one
	case s.Now.Before(answerBy):
		return append(s.unusable(one, current), wake{At: answerBy})
	default:
		current.Failures++
	}
	current.Link, current.Since = generation, s.Now
	return append(s.unusable(one, current), attach{Session: one.ID, Leg: current})
}

// maxAttachFailures is how often in a row an SFU may leave a leg without an answer or without room.
const maxAttachFailures = 2

// unusable moves the encounter away from an SFU that lives but does not take this session. A WHIP or WHEP session
// that only changed gateways has its media, and would lose it by a move.
func (s situation) unusable(one session, current leg) []action {
	if current.Failures < maxAttachFailures || one.Kind != encounter.Browser && current.Phase == legRetaking {
		return nil
	}
	return s.whenFree(replace{Held: s.Record.Placement})
}
