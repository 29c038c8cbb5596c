package gateway

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
)

// sweepUntilEnd looks after what gateways that vanished have left behind. Every gateway does: whoever is first wins.
func (s *Server) sweepUntilEnd() {
	absent := make(map[string]int)
	s.sweep(absent)
	s.every(s.SweepEvery, func() { s.sweep(absent) })
}

// missedSweeps is how many looks at the catalog a gateway has to miss before it counts as vanished.
const missedSweeps = 2

// sweep goes over all records once. absent counts how often a gateway was missing.
func (s *Server) sweep(absent map[string]int) {
	ctx, cancel := context.WithTimeout(s.life, s.SweepEvery)
	defer cancel()
	services, err := s.Catalog.Services(ctx, discovery.GatewayService)
	if err != nil {
		return // nobody vanishes because the catalog did
	}
	present := map[string]bool{s.ID: true}
	for _, service := range services {
		present[service.ID] = true
	}
	records, err := s.Store.List(ctx, "")
	if err != nil { // what could be read is swept all the same
		s.Log.Warn().Err(err).Msg("records not swept")
	}
	named := make(map[string]bool)
	for _, e := range records {
		for _, gateway := range gatewaysOf(e) {
			named[gateway] = true
		}
	}
	maps.DeleteFunc(absent, func(id string, _ int) bool { return present[id] || !named[id] })
	for id := range named {
		if !present[id] {
			absent[id]++
		}
	}
	vanished := func(id string) bool { return absent[id] >= missedSweeps }
	for _, e := range records {
		if e.HasEnded() && time.Since(e.Ended) > s.KeepEnded {
			s.forget(ctx, e)
			continue
		}
		s.tend(ctx, e, orphans(e, s.orphaned(vanished), time.Now(), s.ResumeGrace))
	}
}

// orphaned tells which sessions nobody speaks with: their gateway vanished, or is this one before a restart.
func (s *Server) orphaned(vanished func(string) bool) func(id string, held encounter.Session) bool {
	return func(id string, held encounter.Session) bool {
		if held.Gateway == s.ID {
			return s.absent(id)
		}
		return vanished(held.Gateway)
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

// forget deletes the record of an encounter that ended long ago.
func (s *Server) forget(ctx context.Context, e encounter.Encounter) {
	err := s.Store.Delete(ctx, e)
	if err != nil && !errors.Is(err, encounter.ErrConflict) && ctx.Err() == nil {
		s.Log.Warn().Err(err).Str("encounter", e.ID).Msg("ended record not deleted")
	}
}

// tending is what is to be done about one record.
type tending struct {
	// Lose are browser sessions that can still be resumed, Adopt WHIP and WHEP sessions to take over,
	// both by session with their participant.
	Lose, Adopt map[string]string
	// Expire says that a grace has ended.
	Expire bool
}

// orphans decides about the sessions of one record.
func orphans(
	e encounter.Encounter, orphaned func(string, encounter.Session) bool, now time.Time, grace time.Duration,
) tending {
	t := tending{Lose: make(map[string]string), Adopt: make(map[string]string)}
	if e.HasEnded() {
		return t
	}
	for participant, p := range e.Participants {
		for id, held := range p.Sessions {
			switch {
			case !held.Lost.IsZero():
				t.Expire = t.Expire || !now.Before(held.Lost.Add(grace))
			case !orphaned(id, held):
			case held.Kind == encounter.Browser:
				t.Lose[id] = participant
			default:
				t.Adopt[id] = participant
			}
		}
	}
	return t
}

// tend does what orphans decided.
func (s *Server) tend(ctx context.Context, e encounter.Encounter, t tending) {
	if len(t.Lose) > 0 || t.Expire {
		_, err := encounter.Change(ctx, s.Store, e.Key, func(now *encounter.Encounter) error {
			for id, participant := range t.Lose {
				// Whoever wrote since then knows better.
				if now.Participants[participant].Sessions[id] == e.Participants[participant].Sessions[id] {
					now.Lose(participant, id, time.Now())
				}
			}
			now.Expire(time.Now(), s.ResumeGrace)
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
