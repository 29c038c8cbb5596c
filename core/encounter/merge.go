package encounter

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Merge unites two copies of one record that were written apart, so that nobody who joined on either side is stranded. The
// higher stamp wins: the result has its key, policy, homes, term, version and SFU. A copy the winner knows already adds nothing.
//
// Ended, Locked, E2EE and Removed on either side hold; Gone only on both, since what one side did not know of may go on.
// Sessions of both sides stay, except that a participant keeps one exclusive session, and its role: one that is connected
// rather than a lost one, else the winner's. The placement's epoch is higher than that of any side that has to change its SFU.
//
// Whoever stores the result gives it a new version.
func Merge(a, b Encounter) Encounter {
	winner, loser := a, b
	if winner.Stamp().Compare(loser.Stamp()) < 0 {
		winner, loser = loser, winner
	}
	merged := winner.Clone()
	if winner.Knows(loser.Stamp()) {
		return merged
	}
	merged.Ended = firstEnd(winner.Ended, loser.Ended)
	merged.Vacated = bothVacated(winner.Vacated, loser.Vacated)
	merged.Locked = winner.Locked || loser.Locked
	merged.E2EE = winner.E2EE || loser.E2EE
	merged.Gone = winner.Gone && loser.Gone
	merged.Placement = mergePlacements(winner, loser)
	merged.Participants = mergeParticipants(winner.Participants, loser.Participants)
	merged.Remember(loser.Stamp())
	merged.Remember(loser.Past...)
	return merged
}

func firstEnd(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// bothVacated is the later time, or zero if somebody may be in one of the halves.
func bothVacated(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && a.After(b) {
		return a
	}
	return b
}

// mergePlacements keeps the winner's SFU under an epoch that neither side has seen on another SFU.
func mergePlacements(winner, loser Encounter) Placement {
	held, other := winner.Placement, loser.Placement
	switch {
	case !other.Placed():
		return held
	case !held.Placed():
		return other
	case held.Region == other.Region && held.SFU == other.SFU:
		held.Epoch = max(held.Epoch, other.Epoch)
	case other.Epoch >= held.Epoch:
		held.Epoch, held.Term = other.Epoch+1, winner.Term
	}
	held.Term = max(held.Term, other.Term)
	return held
}

// mergeParticipants unites two halves. Beyond MaxParticipants those of the loser's half who have left are forgotten.
func mergeParticipants(winner, loser map[string]Participant) map[string]Participant {
	merged := make(map[string]Participant, len(winner)+len(loser))
	for id, p := range winner {
		merged[id] = p.clone()
	}
	var left []string
	for _, id := range slices.Sorted(maps.Keys(loser)) {
		known, both := winner[id]
		switch {
		case both:
			merged[id] = mergeParticipant(known, loser[id])
		case loser[id].State == Left:
			left = append(left, id)
		default:
			merged[id] = loser[id].clone()
		}
	}
	for _, id := range left[:min(len(left), max(0, MaxParticipants-len(merged)))] {
		merged[id] = loser[id].clone()
	}
	if len(merged) == 0 {
		return nil
	}
	return merged
}

func mergeParticipant(winner, loser Participant) Participant {
	p := winner.clone()
	if len(p.Badge) == 0 {
		p.Badge = slices.Clone(loser.Badge)
	}
	if len(p.RTT) == 0 {
		p.RTT = maps.Clone(loser.RTT)
	}
	p.Role = cmp.Or(p.Role, loser.Role)
	if winner.State == Removed || loser.State == Removed {
		p.State, p.Sessions, p.Cleared = Removed, nil, false
		return p
	}
	p.Cleared = winner.Cleared || loser.Cleared
	p.Sessions = mergeSessions(winner.Sessions, loser.Sessions)
	for id, s := range p.Sessions {
		if _, winners := winner.Sessions[id]; s.Kind.exclusive() && !winners { // the role is that of the session
			p.Role = cmp.Or(loser.Role, p.Role)
		}
	}
	if len(winner.Sessions) == 0 && len(loser.Sessions) > 0 { // or of the players, where there is nobody else
		p.Role = cmp.Or(loser.Role, p.Role)
	}
	if p.State = p.standing(); len(p.Sessions) == 0 {
		p.State, p.Sessions = Left, nil
	}
	return p
}

// candidate is a session of either half.
type candidate struct {
	id string
	Session
	winners bool
}

// mergeSessions unites the sessions of one participant and keeps one exclusive one, and at most MaxSessions.
func mergeSessions(winner, loser map[string]Session) map[string]Session {
	all := make([]candidate, 0, len(winner)+len(loser))
	for id, s := range winner {
		other, both := loser[id]
		key := cmp.Or(s.Key, other.Key)
		if both && !s.Lost.IsZero() && other.Lost.IsZero() {
			s = other
		}
		s.Key = key
		all = append(all, candidate{id: id, Session: s, winners: true})
	}
	for id, s := range loser {
		if _, both := winner[id]; !both {
			all = append(all, candidate{id: id, Session: s})
		}
	}
	slices.SortFunc(all, candidate.compare)
	kept := make(map[string]Session, len(all))
	exclusive := false
	for _, c := range all {
		if c.Kind.exclusive() && exclusive || len(kept) == MaxSessions {
			continue
		}
		exclusive = exclusive || c.Kind.exclusive()
		kept[c.id] = c.Session
	}
	return kept
}

// compare orders connected sessions before lost ones, then exclusive ones first, then the winner's, then by id.
func (c candidate) compare(o candidate) int {
	return cmp.Or(
		first(c.Lost.IsZero(), o.Lost.IsZero()),
		first(c.Kind.exclusive(), o.Kind.exclusive()),
		first(c.winners, o.winners),
		cmp.Compare(c.id, o.id),
	)
}

// first orders what is true before what is false.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}
