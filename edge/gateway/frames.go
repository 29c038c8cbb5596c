package gateway

import (
	"fmt"
	"time"

	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway/whip"
)

// fromSFU takes a frame of one of the view's sessions. Only a server with a leg of the session speaks for it: one that had a leg
// in the past knows the session's id as well.
func (v *view) fromSFU(sfu, id string, m signaling.Message) {
	v.mu.Lock()
	defer v.mu.Unlock()
	l := v.locals[id]
	if l == nil || !l.isAt(sfu) {
		return
	}
	switch m := m.(type) {
	case signaling.Attached:
		v.attached(sfu, l, m)
	case signaling.Refused:
		v.refused(sfu, l, m)
	case signaling.Gone:
		v.gone(sfu, l, m)
	case signaling.MuteRequest:
		if l.client != nil && m.Participant == l.Participant {
			l.client.send(m)
		}
	case signaling.SenderKey:
		if l.client != nil && m.Participant == l.Participant {
			l.client.send(m)
		}
	case signaling.Restarted:
		l.answer(reply{text: m.Fragment})
	case signaling.MediaMessage:
		v.splice(sfu, l, m)
		if l.Kind == encounter.Browser {
			return // nothing is decided by it, and there are many where there are many people
		}
	}
	v.step()
}

// attached goes on with a leg that its SFU has accepted.
func (v *view) attached(sfu string, l *local, m signaling.Attached) {
	if l.Leg.SFU != sfu || l.Leg.Route != m.Route {
		return
	}
	phase := l.Leg.Phase
	if phase != legOpening && phase != legRetaking {
		return
	}
	if phase == legRetaking && !m.Resumed {
		v.startOver(l)
		return
	}
	l.Leg.Phase, l.Leg.Failures, l.Resuming = legOpen, 0, false
	if phase == legRetaking || m.Resumed && l.Leg.Probe {
		if l.KnownLeg != l.Leg.Leg { // its placed was lost with the socket, as in the middle of a move
			v.tellPlaced(l)
		}
		v.repeatOffer(l)
		return
	}
	v.tellPlaced(l)
	v.sendOffer(l)
}

// startOver replaces a leg that its SFU does not know. A number the client may have used is not used again.
func (v *view) startOver(l *local) {
	v.detach(l, l.Leg)
	if l.Kind != encounter.Browser {
		l.Leg.Phase = legEnded
		v.apply(leave{Participant: l.Participant, Session: l.ID})
		return
	}
	next := l.Leg
	next.Leg++
	next.Probe, l.Resuming = l.Resuming, false
	next.Phase, next.Reason, next.Abrupt, next.Since = legOpening, reasonFailover, true, time.Now()
	v.apply(attach{Session: l.ID, Leg: next})
}

func (v *view) tellPlaced(l *local) {
	if l.client == nil {
		return
	}
	l.KnownLeg = l.Leg.Leg
	l.client.send(signaling.Placed{
		Route: l.Leg.Route, Region: l.Leg.Region, SFU: l.Leg.SFU, Reason: l.Leg.Reason, Abrupt: l.Leg.Abrupt,
		ICEServers: v.server.relays.servers(credentialID(v.key, l.Participant, l.ID), l.Leg.Region, l.Leg.SFU),
	})
}

// repeatOffer sends an offer or a restart again that the broken channel may have swallowed, or its answer.
func (v *view) repeatOffer(l *local) {
	v.sendOffer(l)
	if l.restart != nil && l.restart.Route == l.Leg.Route {
		v.send(l.Leg.SFU, l.ID, *l.restart)
	}
	if l.unanswered != nil && l.unanswered.Route == l.Leg.Route {
		v.send(l.Leg.SFU, l.ID, *l.unanswered)
	}
}

// sendOffer brings a WHIP or WHEP client's offer to the leg that was opened for it.
func (v *view) sendOffer(l *local) {
	if l.offer == nil {
		return
	}
	l.offer.Route = l.Leg.Route
	v.send(l.Leg.SFU, l.ID, *l.offer)
}

func (v *view) refused(sfu string, l *local, m signaling.Refused) {
	which := l.on(m.Route)
	if which == nil || which.SFU != sfu {
		return
	}
	v.server.remark(person{v.key, l.Participant}, func() {
		v.server.Log.Warn().Str("encounter", v.key.ID).Str("session", l.ID).Str("sfu", sfu).Str("about", m.About).
			Str("code", m.Code).Msg("refused by the media server")
	})
	if m.About == (signaling.Attach{}).Type() && which == &l.Leg {
		l.Leg.Phase, l.Leg.RetryAt = legRefused, time.Now().Add(v.server.PlaceRetry)
		if m.Code == signaling.RefusedBusy || m.Code == signaling.RefusedDraining {
			l.Leg.Failures++
		}
	}
	if l.Kind != encounter.Browser {
		l.answer(reply{err: refusalError(m)})
		return
	}
	if l.client != nil && m.Code != signaling.RefusedStale {
		l.client.send(signaling.Error{Code: clientCode(m.Code), Message: "the media server refused", About: m.About})
	}
}

func refusalError(m signaling.Refused) error {
	switch m.Code {
	case signaling.RefusedBusy, signaling.RefusedDraining, signaling.RefusedStale:
		return fmt.Errorf("%w: %s", whip.ErrBusy, m.Code)
	default:
		return fmt.Errorf("%w: %.200s", whip.ErrInvalidSDP, m.Message)
	}
}

// clientCode translates an SFU's refusal into the codes of the client protocol.
func clientCode(code string) string {
	if code == signaling.RefusedInvalid {
		return codeInvalid
	}
	return codeBusy
}

// gone notes that a leg ended on the SFU by itself; what the record says about the session decides how it goes on.
func (v *view) gone(sfu string, l *local, m signaling.Gone) {
	if l.Leg.SFU != sfu || l.Leg.Route != m.Route {
		for i := range l.Older {
			if l.Older[i].SFU == sfu && l.Older[i].Route == m.Route {
				l.Older = append(l.Older[:i], l.Older[i+1:]...)
				return
			}
		}
		return
	}
	if l.Kind != encounter.Browser { // nothing else ends it where the record of a split visit does not say so
		l.Leg.Phase = legEnded
		v.apply(leave{Participant: l.Participant, Session: l.ID})
		return
	}
	if m.Reason == goneRemoved || m.Reason == goneEnded {
		return // the record says so too, or soon will
	}
	l.Leg.Phase = legEnded
	if m.Reason == goneShutdown && v.record.Placement.SFU == sfu && !v.placing {
		v.apply(replace{Held: v.record.Placement})
	}
}

// Reasons of a Gone that are told apart.
const (
	goneRemoved  = "removed"
	goneEnded    = "ended"
	goneShutdown = "shutdown"
)

// splice passes a media message on to the client if its leg is one of theirs.
func (v *view) splice(sfu string, l *local, m signaling.MediaMessage) {
	which := l.on(m.On())
	if which == nil || which.SFU != sfu {
		return
	}
	switch m := m.(type) {
	case signaling.Answer:
		if m.PC == signaling.Publish {
			l.unanswered = nil
		}
		if l.Kind != encounter.Browser {
			l.offer = nil
			l.answer(reply{text: m.SDP})
		}
	case signaling.Offer, signaling.Candidate, signaling.Peers, signaling.Tracks, signaling.Speaker, signaling.Paused,
		signaling.Layers, signaling.Codec:
	default:
		return
	}
	if l.client != nil {
		l.client.send(m)
	}
}

// fromClient passes a media message on to the SFU of its leg. A message of a closed leg is dropped.
func (v *view) fromClient(c *client, m signaling.MediaMessage) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	l := v.locals[c.session]
	if l == nil || l.client != c {
		return nil
	}
	which := l.on(m.On())
	if which == nil {
		return nil
	}
	switch m := m.(type) {
	case signaling.Candidate:
		if err := l.count(m); err != nil {
			return err
		}
	case signaling.Offer:
		if m.PC == signaling.Publish {
			l.unanswered = &m
		}
	case signaling.LegReady:
		if which == &l.Leg {
			v.retire(l)
		}
		return nil
	}
	if state, ok := m.(signaling.MediaState); ok {
		m = claimed(c.grant.Role, state)
	}
	v.send(which.SFU, l.ID, m)
	return nil
}

// count bounds the candidates of a peer connection.
func (l *local) count(m signaling.Candidate) error {
	if l.candidates == nil {
		l.candidates = make(map[candidateKey]int)
	}
	key := candidateKey{m.Leg, m.PC}
	if l.candidates[key] >= maxCandidates {
		return errCandidates
	}
	l.candidates[key]++
	return nil
}

// forward sends a mute request on: to the target's client if it is here, otherwise by way of the SFU,
// which knows every gateway of the encounter.
func (v *view) forward(c *client, m signaling.MuteRequest) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if l := v.locals[c.session]; l == nil || l.client != c {
		return nil
	}
	if p := v.record.Participants[m.Participant]; p.State != encounter.Admitted {
		return encounter.ErrUnknownParticipant
	}
	m.By = c.grant.Participant
	v.bring(c, m.Participant, m)
	return nil
}

// bring sends a message to another participant's browser, by way of the SFU if it is at another gateway.
func (v *view) bring(c *client, participant string, m signaling.Message) {
	for _, l := range v.locals {
		if l.Participant == participant && l.client != nil {
			l.client.send(m)
			return
		}
	}
	if v.record.Placement.Placed() {
		v.send(v.record.Placement.SFU, c.session, m)
	}
}
