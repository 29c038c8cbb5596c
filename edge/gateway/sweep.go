package gateway

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
)

// sweepUntilEnd looks after what gateways that vanished have left behind. Every gateway does: whoever is first wins.
func (s *Server) sweepUntilEnd() {
	watch, told := newAttendance(s.ID), ""
	s.sweep(watch, &told)
	s.every(s.SweepEvery, func() { s.sweep(watch, &told) })
}

// sweep goes over all records once. watch remembers which gateways were there, told what the log has of records that could
// not be read: a damaged one stays.
func (s *Server) sweep(watch *attendance, told *string) {
	ctx, cancel := context.WithTimeout(s.life, s.SweepEvery)
	defer cancel()
	services, err := s.Catalog.Services(ctx, discovery.GatewayService)
	if err != nil {
		return // nobody vanishes because the catalog did
	}
	records, err := s.Store.List(ctx, "")
	switch {
	case err == nil:
		*told = ""
	case err.Error() != *told: // what could be read is swept all the same
		*told = err.Error()
		s.Log.Warn().Err(err).Msg("records not swept")
	}
	named := make(map[string]bool)
	for _, e := range records {
		for _, gateway := range gatewaysOf(e) {
			named[gateway] = true
		}
	}
	watch.take(services, named, time.Now())
	for _, e := range records {
		switch over := e.Over(); {
		case !over.IsZero() && time.Since(over) > s.KeepEnded:
			s.forget(ctx, e)
			continue
		case e.HasEnded():
			s.conclude(ctx, e)
			continue
		}
		s.tend(ctx, e, orphans(e, s.whereabouts(watch), s.lostForGood))
	}
	s.graces.forget(time.Now())
}

// whereabouts tells where the gateway of a session is. It has vanished too if it is this one before a restart.
func (s *Server) whereabouts(watch *attendance) func(id string, held encounter.Session) whereabouts {
	return func(id string, held encounter.Session) whereabouts {
		switch {
		case held.Gateway != s.ID:
			return watch.of(held.Gateway, time.Now())
		case s.absent(id):
			return vanished
		}
		return here
	}
}

func gatewaysOf(e encounter.Encounter) []string {
	var ids []string
	for _, p := range e.Participants {
		for _, held := range p.Sessions {
			ids = append(ids, held.Gateway)
		}
	}
	return ids
}

// concludedAfter is for how long a media server is told again and again that an encounter has ended.
const concludedAfter = time.Minute

// conclude ends the WHIP and WHEP sessions that an ended encounter still has. Their legs live as long as their ICE, and nobody
// may have told the media server: whoever ended the encounter need not have watched it, or had no channel at that moment.
func (s *Server) conclude(ctx context.Context, e encounter.Encounter) {
	left := mediaOf(e)
	if len(left) == 0 {
		return
	}
	if held := e.Placement; held.Placed() {
		s.links.Ensure(held.SFU)
		told := signaling.Frame{Message: membershipOf(e)}
		if s.links.Send(held.SFU, told) != nil || time.Since(e.Ended) < concludedAfter {
			return
		}
	}
	_, err := encounter.Change(ctx, s.Store, e.Key, func(now *encounter.Encounter) error {
		for id, participant := range left {
			now.Leave(participant, id)
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		s.Log.Warn().Err(err).Str("encounter", e.ID).Msg("sessions of an ended encounter not taken out")
	}
}

// mediaOf lists the WHIP and WHEP sessions of a record with their participants.
func mediaOf(e encounter.Encounter) map[string]string {
	sessions := make(map[string]string)
	for participant, p := range e.Participants {
		for id, held := range p.Sessions {
			if held.Kind != encounter.Browser {
				sessions[id] = participant
			}
		}
	}
	return sessions
}

// forget deletes the record of an encounter that ended, or that everybody left, long ago.
func (s *Server) forget(ctx context.Context, e encounter.Encounter) {
	err := s.Store.Delete(ctx, e)
	if err != nil && !errors.Is(err, encounter.ErrConflict) && ctx.Err() == nil {
		s.Log.Warn().Err(err).Str("encounter", e.ID).Msg("record not deleted")
	}
}

// tending is what is to be done about one record.
type tending struct {
	// Lose are browser sessions that can still be resumed, Adopt WHIP and WHEP sessions to take over,
	// both by session with their participant.
	Lose, Adopt map[string]string
	// Expire says that a grace has ended, Vacate that everybody has left and that is not noted yet.
	Expire, Vacate bool
}

// orphans decides about the sessions of one record. Of a gateway that is out of reach only browsers' sessions are lost,
// which that gateway takes back if it lives; a WHIP or WHEP session that was adopted would be torn out of its hands.
func orphans(
	e encounter.Encounter, at func(string, encounter.Session) whereabouts, over func(session string, lost time.Time) bool,
) tending {
	t := tending{Lose: make(map[string]string), Adopt: make(map[string]string)}
	if e.HasEnded() {
		return t
	}
	t.Vacate = e.Vacated.IsZero() && e.Vacant()
	for participant, p := range e.Participants {
		for id, held := range p.Sessions {
			where := at(id, held)
			switch {
			case !held.Lost.IsZero():
				t.Expire = over(id, held.Lost) || t.Expire
			case where == here:
			case held.Kind == encounter.Browser:
				t.Lose[id] = participant
			case where == vanished:
				t.Adopt[id] = participant
			}
		}
	}
	return t
}

// lostForGood reports whether a session can be resumed no more.
func (s *Server) lostForGood(session string, lost time.Time) bool {
	return s.graces.over(session, lost, time.Now())
}

// tend does what orphans decided.
func (s *Server) tend(ctx context.Context, e encounter.Encounter, t tending) {
	if len(t.Lose) > 0 || t.Expire || t.Vacate {
		_, err := encounter.Change(ctx, s.Store, e.Key, func(now *encounter.Encounter) error {
			for id, participant := range t.Lose {
				// Whoever wrote since then knows better.
				if now.Participants[participant].Sessions[id] == e.Participants[participant].Sessions[id] {
					now.Lose(participant, id, time.Now())
				}
			}
			now.Expire(s.lostForGood)
			now.Vacate(time.Now())
			return nil
		})
		if err != nil && ctx.Err() == nil {
			s.Log.Warn().Err(err).Str("encounter", e.ID).Msg("record not swept")
		}
	}
	for _, id := range slices.Sorted(maps.Keys(t.Adopt)) {
		if _, err := s.adopt(ctx, e.Key, t.Adopt[id], id); err != nil && ctx.Err() == nil {
			s.Log.Warn().Err(err).Str("encounter", e.ID).Str("session", id).Msg("session not taken over")
		}
	}
}
