package gateway

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
	"time"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway/sfulink"
)

// situation is all that a decision about one encounter depends on: the record that every gateway sees,
// and what this gateway alone knows.
type situation struct {
	// Self is this gateway's service id.
	Self string
	Now  time.Time
	// GraceEnds tells until when a session can be resumed that was lost at a moment of the record.
	GraceEnds func(session string, lost time.Time) time.Time
	// AttachTimeout is how long an SFU may take to answer an attach.
	AttachTimeout time.Duration
	Record        encounter.Encounter
	// Everybody is the roster for those who are in; its identity changes only with its content.
	Everybody *signaling.Roster
	// Sessions are the local ones, ordered by ID.
	Sessions []session
	// Links are the control channels to the placement's SFU and to those with legs.
	Links map[string]sfulink.State
	// Members is the membership that was sent last.
	Members membershipMark
	// Placing is set while a placement is being decided, PlaceAfter after one that failed, MoveAfter after a move
	// away from a draining SFU that failed.
	Placing               bool
	PlaceAfter, MoveAfter time.Time
	// MoveSpread is how long it takes until all encounters of a draining SFU are on the move.
	MoveSpread time.Duration
}

// membershipMark says which membership an SFU was sent over which channel.
type membershipMark struct {
	SFU        string
	Generation uint64
	Revision   uint64
}

// action is one thing to do about an encounter; view.apply does it.
type action interface{ isAction() }

type (
	// end takes a session out of this gateway: told why if Bye is set, its legs closed if Detach.
	end struct {
		Session string
		Bye     signaling.Bye
		Detach  bool
	}
	// tell sends a roster.
	tell struct {
		Session string
		Roster  *signaling.Roster
	}
	// attach opens or takes over a leg at its SFU; Retire is the leg it replaces, if that may still carry media.
	attach struct {
		Session string
		Leg     leg
		Retire  bool
	}
	// dial brings a control channel up.
	dial struct{ SFU string }
	// sendMembership tells the SFU who may exchange media.
	sendMembership struct{ Mark membershipMark }
	// place chooses the first SFU, replace another one than the held one, which is of no use, and move another one
	// than the held one, which drains and serves until then.
	place   struct{}
	replace struct{ Held encounter.Placement }
	move    struct{ Held encounter.Placement }
	// retire closes a session's older legs: the client had its time.
	retire struct{ Session string }
	// reclaim says in the record that a session is connected here, lose that it no longer is.
	reclaim struct{ Participant, Session string }
	lose    struct{ Participant, Session string }
	// leave takes a session out of the record.
	leave struct{ Participant, Session string }
	// expire ends lost sessions whose grace is over.
	expire struct{}
	// wake decides again later.
	wake struct{ At time.Time }
)

func (end) isAction()            {}
func (tell) isAction()           {}
func (attach) isAction()         {}
func (dial) isAction()           {}
func (sendMembership) isAction() {}
func (place) isAction()          {}
func (replace) isAction()        {}
func (move) isAction()           {}
func (retire) isAction()         {}
func (reclaim) isAction()        {}
func (lose) isAction()           {}
func (leave) isAction()          {}
func (expire) isAction()         {}
func (wake) isAction()           {}

// decide says what is to be done. It changes nothing and asks nobody.
func decide(s situation) []action {
	if s.Record.Revision == 0 {
		return nil
	}
	if s.Record.HasEnded() {
		return s.ended()
	}
	var actions []action
	var staying []session
	for _, one := range s.Sessions {
		if verdict := s.standing(one); verdict != nil {
			actions = append(actions, verdict...)
			continue
		}
		staying = append(staying, one)
		actions = append(actions, s.upkeep(one)...)
	}
	for _, one := range staying {
		actions = append(actions, s.older(one)...)
	}
	actions = append(actions, s.hosting()...)
	if s.Record.Placement.Placed() && s.placementLink().Phase == sfulink.Up {
		actions = append(actions, s.membership()...)
		for _, one := range staying {
			actions = append(actions, s.media(one)...)
		}
	}
	return append(actions, s.later()...)
}

func (s situation) placementLink() sfulink.State { return s.Links[s.Record.Placement.SFU] }

// ended closes everything; the SFU is told first, so that media ends with the visit.
func (s situation) ended() []action {
	var actions []action
	if s.Record.Placement.Placed() && s.placementLink().Phase == sfulink.Up {
		actions = s.membership()
	}
	for _, one := range s.Sessions {
		actions = append(actions, end{Session: one.ID, Bye: signaling.Bye{Code: signaling.ByeEnded}, Detach: true})
	}
	return actions
}

// standing returns what ends a session here, nil if it stays.
func (s situation) standing(one session) []action {
	p := s.Record.Participants[one.Participant]
	held, known := p.Sessions[one.ID]
	switch {
	case known && held.Gateway == s.Self:
		return nil
	case known && held.Lost.IsZero(): // it goes on at another gateway, and its legs with it
		return []action{end{Session: one.ID, Bye: signaling.Bye{Code: signaling.ByeReplaced}}}
	case known:
		return nil // adopted by nobody yet
	case p.State == encounter.Removed:
		return []action{end{Session: one.ID, Bye: signaling.Bye{Code: signaling.ByeRemoved}, Detach: true}}
	case hasExclusive(p):
		return []action{end{Session: one.ID, Bye: signaling.Bye{Code: signaling.ByeReplaced}, Detach: true}}
	default: // taken for lost, and expired
		return []action{end{Session: one.ID, Bye: signaling.Bye{Code: signaling.ByeShutdown, Retry: true}, Detach: true}}
	}
}

func hasExclusive(p encounter.Participant) bool {
	for _, other := range p.Sessions {
		if other.Kind == encounter.Browser || other.Kind == encounter.WHIP {
			return true
		}
	}
	return false
}

// upkeep keeps the record and the roster of a session right.
func (s situation) upkeep(one session) []action {
	var actions []action
	p := s.Record.Participants[one.Participant]
	switch lost := !p.Sessions[one.ID].Lost.IsZero(); {
	case one.Connected && lost:
		actions = append(actions, reclaim{Participant: one.Participant, Session: one.ID})
	case one.Kind == encounter.Browser && !one.Connected && !lost:
		actions = append(actions, lose{Participant: one.Participant, Session: one.ID})
	}
	if one.Kind != encounter.Browser || !one.Connected {
		return actions
	}
	roster := s.Everybody
	if p.State != encounter.Admitted {
		roster = onlySelf(s.Everybody, one.Participant)
	}
	switch {
	case one.Told == roster:
		return actions
	case s.Now.Before(soonest(one, *roster)):
		return append(actions, wake{At: soonest(one, *roster)})
	case one.Told != nil && sameRoster(*one.Told, *roster):
		return actions
	}
	return append(actions, tell{Session: one.ID, Roster: roster})
}

// A crowd is told who is there now and then only: while hundreds come, each told of each would be the square of it. Those
// who let people in hear of it every crowdEvery, the others later the more there are, so that nobody reads more of it a second
// in a larger crowd.
const (
	crowdMembers = 32
	crowdEvery   = time.Second
	memberEvery  = 15 * time.Millisecond
)

// soonest is when a session may be told a roster after the one before.
func soonest(one session, roster signaling.Roster) time.Time {
	if one.Told == nil || len(one.Told.Members) <= crowdMembers || len(roster.Members) <= crowdMembers {
		return time.Time{}
	}
	every := crowdEvery
	if !access.Can(one.Role, access.AdmitOthers) {
		every = max(every, memberEvery*time.Duration(len(roster.Members)))
	}
	return one.ToldAt.Add(every)
}

// hosting sees to it that the encounter has an SFU that answers.
func (s situation) hosting() []action {
	held := s.Record.Placement
	switch {
	case len(s.Sessions) == 0:
		return nil
	case !held.Placed() && s.Record.NeedsPlacement():
		return s.whenFree(place{})
	case !held.Placed():
		return nil
	}
	switch link := s.placementLink(); link.Phase {
	case sfulink.Up:
		if link.Draining.IsZero() {
			return nil
		}
		return s.drained(link.Draining)
	case sfulink.Dialing:
		return nil
	case sfulink.Dead: // it is dialed again as well, and may be back before another is found
		return s.whenFree(replace{Held: held})
	case sfulink.Idle:
	}
	return []action{dial{SFU: held.SFU}}
}

// drained moves the encounter away from an SFU that drains since then, which goes on serving it until another one has
// taken it. WHIP and WHEP sessions cannot follow: with any of them the encounter stays until the SFU stops.
func (s situation) drained(since time.Time) []action {
	for _, p := range s.Record.Participants {
		for _, held := range p.Sessions {
			if held.Kind != encounter.Browser {
				return nil
			}
		}
	}
	if turn := since.Add(s.turn()); s.MoveAfter.Before(turn) {
		return s.unlessTried(turn, move{Held: s.Record.Placement})
	}
	return s.unlessTried(s.MoveAfter, move{Held: s.Record.Placement})
}

// turn is when an encounter is moved, after its SFU began to drain: not all at once, so that the others need not greet
// everybody in the same moment, and their loads show who has come already.
func (s situation) turn() time.Duration {
	lot := sha256.Sum256([]byte(s.Record.Tenant + "\x00" + s.Record.ID))
	return time.Duration(float64(s.MoveSpread) * float64(binary.BigEndian.Uint32(lot[:])) / math.MaxUint32)
}

// whenFree starts a placement unless one is running or has just failed.
func (s situation) whenFree(start action) []action { return s.unlessTried(s.PlaceAfter, start) }

func (s situation) unlessTried(again time.Time, start action) []action {
	switch {
	case s.Placing:
		return nil
	case s.Now.Before(again):
		return []action{wake{At: again}}
	}
	return []action{start}
}

func (s situation) membership() []action {
	mark := membershipMark{
		SFU: s.Record.Placement.SFU, Generation: s.placementLink().Generation, Revision: s.Record.Revision,
	}
	if mark == s.Members {
		return nil
	}
	return []action{sendMembership{Mark: mark}}
}

// later finds when the next lost session's grace ends.
func (s situation) later() []action {
	var first time.Time
	for _, p := range s.Record.Participants {
		for id, held := range p.Sessions {
			if held.Lost.IsZero() {
				continue
			}
			if at := s.GraceEnds(id, held.Lost); first.IsZero() || at.Before(first) {
				first = at
			}
		}
	}
	switch {
	case first.IsZero():
		return nil
	case first.After(s.Now):
		return []action{wake{At: first}}
	}
	return []action{expire{}}
}

func onlySelf(everybody *signaling.Roster, participant string) *signaling.Roster {
	alone := &signaling.Roster{Revision: everybody.Revision, Locked: everybody.Locked, Members: []signaling.Member{}}
	for _, member := range everybody.Members {
		if member.Participant == participant {
			alone.Members = append(alone.Members, member)
		}
	}
	return alone
}

func sameRoster(a, b signaling.Roster) bool {
	return a.Locked == b.Locked && slices.Equal(a.Members, b.Members)
}
