package gateway

import (
	"context"
	"errors"
	"time"

	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/placement"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway/sfulink"
	"github.com/wardline/wardline/edge/gateway/whip"
)

// Steps of a placement, as metrics and logs name them.
const (
	stepPlace   = "place"
	stepReplace = "replace"
	stepMove    = "move"
)

// apply does one action. The caller holds the view's lock, so nothing here waits.
func (v *view) apply(a action) {
	switch a := a.(type) {
	case end:
		v.end(a)
	case tell:
		v.tell(a)
	case attach:
		v.attach(a)
	case dial:
		v.server.links.Ensure(a.SFU)
	case sendMembership:
		v.sendMembership(a.Mark)
	case place:
		v.placeBy(stepPlace, func(ctx context.Context) (encounter.Placement, error) { return v.server.placer.Place(ctx, v.key) })
	case replace:
		v.placeBy(stepReplace, func(ctx context.Context) (encounter.Placement, error) {
			return v.server.placer.Replace(ctx, v.key, a.Held)
		})
	case move:
		v.placeBy(stepMove, func(ctx context.Context) (encounter.Placement, error) {
			return v.server.placer.Replace(ctx, v.key, a.Held)
		})
	case retire:
		v.retire(v.locals[a.Session])
	case reclaim: // somebody took it for lost
		v.correct(a.Participant, a.Session, func(e *encounter.Encounter) error {
			return e.Resume(a.Participant, a.Session, v.server.ID)
		})
	case lose:
		v.correct(a.Participant, a.Session, func(e *encounter.Encounter) error {
			e.Lose(a.Participant, a.Session, time.Now())
			return nil
		})
	case leave:
		v.change(func(e *encounter.Encounter) error { e.Leave(a.Participant, a.Session); return nil }, nil)
	case expire:
		v.expire()
	case wake:
		v.alarmFor(a.At)
	}
}

// end takes a session out of the view.
func (v *view) end(a end) {
	l := v.locals[a.Session]
	if l == nil {
		return
	}
	delete(v.locals, a.Session)
	v.server.disown(a.Session)
	if a.Detach {
		v.retire(l)
		v.detach(l, l.Leg)
	}
	if l.client != nil {
		l.client.bye(a.Bye)
	}
	l.answer(reply{err: byeError(a.Bye)})
	v.server.release(v)
}

// byeError is what a WHIP or WHEP request hears when its session ends under it.
func byeError(b signaling.Bye) error {
	switch b.Code {
	case signaling.ByeEnded:
		return encounter.ErrEnded
	case signaling.ByeRemoved:
		return encounter.ErrRemoved
	default:
		return whip.ErrNotFound
	}
}

// answer passes a reply to whoever waits for one.
func (l *local) answer(r reply) {
	if l.reply == nil {
		return
	}
	l.reply <- r // has room for its one reply
	l.reply, l.restart = nil, nil
}

// retire closes the legs before the current one.
func (v *view) retire(l *local) {
	if l == nil {
		return
	}
	for _, old := range l.Older {
		v.detach(l, old)
	}
	l.Older = nil
}

func (v *view) detach(l *local, which leg) {
	if which.Phase == legNone || which.Phase == legEnded {
		return
	}
	v.send(which.SFU, l.ID, signaling.Detach{Route: which.Route})
}

// send queues a frame; a channel that is down is made up for when it is up again.
func (v *view) send(sfu, session string, m signaling.Message) {
	switch err := v.server.links.Send(sfu, signaling.Frame{Session: session, Message: m}); {
	case err == nil:
		v.server.metrics.toSFU.WithLabelValues(m.Type()).Inc()
	case !errors.Is(err, sfulink.ErrDown):
		v.server.Log.Error().Err(err).Str("encounter", v.key.ID).Str("session", session).Msg("frame not sent")
	}
}

func (v *view) tell(a tell) {
	l := v.locals[a.Session]
	if l == nil || l.client == nil {
		return
	}
	l.Told, l.ToldAt = a.Roster, time.Now()
	if a.Roster != v.everybody {
		l.client.send(*a.Roster)
		return
	}
	if v.encoded.roster != a.Roster {
		data, err := signaling.Encode(*a.Roster)
		if err != nil {
			v.server.Log.Error().Err(err).Str("encounter", v.key.ID).Msg("roster not sent")
			return
		}
		v.encoded = encodedRoster{a.Roster, data}
	}
	l.client.push(v.encoded.data, a.Roster.Type())
}

func (v *view) attach(a attach) {
	l := v.locals[a.Session]
	if l == nil {
		return
	}
	if a.Leg.Route != l.Leg.Route && a.Retire {
		l.Older = append(l.Older, l.Leg)
	}
	l.Leg = a.Leg
	v.alarmFor(a.Leg.Since.Add(v.server.AttachTimeout))
	v.send(a.Leg.SFU, l.ID, l.attachOf(v.key, a.Leg))
}

func (v *view) sendMembership(mark membershipMark) {
	v.members = mark
	v.send(mark.SFU, "", membershipOf(v.record))
}

func membershipOf(e encounter.Encounter) signaling.Membership {
	return signaling.Membership{
		EncounterRef: refOf(e.Key), Epoch: e.Placement.Epoch, Revision: e.Revision,
		Admitted: e.AdmittedIDs(), Waiting: e.WaitingIDs(), Ended: e.HasEnded(),
	}
}

// placeBy runs a placement beside the view and waits a little before the next if it fails.
func (v *view) placeBy(what string, decide func(context.Context) (encounter.Placement, error)) {
	if v.placing {
		return
	}
	v.placing = true
	v.server.wg.Go(func() {
		ctx, cancel := context.WithTimeout(v.ctx, placeTimeout)
		defer cancel()
		_, err := decide(ctx)
		if err == nil {
			var record encounter.Encounter
			if record, err = v.server.Store.Get(ctx, v.key); err == nil {
				v.observe(record)
			}
		}
		if v.ctx.Err() == nil {
			v.server.metrics.placements.WithLabelValues(what, resultOf(err)).Inc()
		}
		v.placed(what, err)
	})
}

func resultOf(err error) string {
	if err != nil {
		return codeOf(err)
	}
	return "ok"
}

func (v *view) placed(what string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.placing = false
	switch {
	case err == nil || v.ctx.Err() != nil:
		v.placeAfter, v.moveAfter = time.Time{}, time.Time{}
	case what == stepMove:
		v.stayed(err)
	default:
		v.server.Log.Warn().Err(err).Str("tenant", v.key.Tenant).Str("encounter", v.key.ID).Str("step", what).
			Msg("no media server")
		if v.placeAfter.IsZero() {
			v.tellAll(signaling.Error{Code: codeOf(err), Message: "no media server can take the visit at the moment, trying again"})
		}
		v.placeAfter = time.Now().Add(v.server.PlaceRetry)
		v.failOffers(err)
	}
	v.step()
}

// stayed notes that nobody took the encounter of a draining SFU. Its people lose nothing by that and are not told.
func (v *view) stayed(err error) {
	if v.moveAfter.IsZero() {
		v.server.Log.Info().Err(err).Str("tenant", v.key.Tenant).Str("encounter", v.key.ID).
			Str("sfu", v.record.Placement.SFU).Msg("no media server takes the visit of the draining one, it stays for now")
	}
	v.moveAfter = time.Now().Add(v.server.MoveRetry)
}

// tellAll sends a message to every client that is in.
func (v *view) tellAll(m signaling.Message) {
	for _, l := range v.locals {
		if l.client != nil && v.record.Participants[l.Participant].State == encounter.Admitted {
			l.client.send(m)
		}
	}
}

// failOffers tells WHIP and WHEP requests that there is no SFU for them.
func (v *view) failOffers(err error) {
	cause := whip.ErrNoServer
	if errors.Is(err, placement.ErrRefused) {
		cause = whip.ErrBusy
	}
	for _, l := range v.locals {
		if l.offer != nil {
			l.answer(reply{err: cause})
		}
	}
}

// correct changes a record that is wrong about a session of ours, unless it goes on elsewhere.
func (v *view) correct(participant, session string, change func(*encounter.Encounter) error) {
	if v.correcting[session] {
		return
	}
	v.correcting[session] = true
	v.change(func(e *encounter.Encounter) error {
		if e.Participants[participant].Sessions[session].Gateway != v.server.ID {
			return nil
		}
		return change(e)
	}, func() { delete(v.correcting, session) })
}

func (v *view) expire() {
	if v.expiring {
		return
	}
	v.expiring = true
	v.change(func(e *encounter.Encounter) error {
		e.Expire(v.server.lostForGood)
		return nil
	}, func() { v.expiring = false })
}

// change writes the record beside the view; done runs under the lock afterwards.
func (v *view) change(change func(*encounter.Encounter) error, done func()) {
	v.server.wg.Go(func() {
		ctx, cancel := context.WithTimeout(v.ctx, storeTimeout)
		defer cancel()
		record, err := encounter.Change(ctx, v.server.Store, v.key, change)
		if err != nil && v.ctx.Err() == nil {
			v.server.Log.Warn().Err(err).Str("encounter", v.key.ID).Msg("record not changed")
		}
		v.mu.Lock()
		if done != nil {
			done()
		}
		if err != nil {
			v.alarmFor(time.Now().Add(v.server.PlaceRetry))
		}
		v.mu.Unlock()
		if err == nil {
			v.observe(record)
		}
	})
}
