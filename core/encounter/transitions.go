package encounter

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/wardline/wardline/core/access"
)

// Join adds a session of a participant, or confirms one that is there already. A browser or WHIP session
// replaces the participant's other browser and WHIP sessions, whose ids are returned sorted: the newest wins. Its role is
// the participant's from then on; a WHEP session beside it only watches and leaves the role as it is.
//
// The participant is admitted if their role may enter, autoAdmit is set or they were let in before;
// otherwise they wait. Entering by role is no admission: who comes back with another role waits. An empty
// badge or rtt keeps what an earlier session said.
//
// Join fails with ErrEnded, ErrRemoved, ErrLocked (somebody new in a locked encounter), ErrFull (too many
// participants, or sessions of one) or ErrEncrypted (a kind that cannot hold keys), and then changes nothing.
func (e *Encounter) Join(
	participant string, role access.Role, session string, s Session,
	badge []byte, rtt map[string]float64, autoAdmit bool,
) (replaced []string, err error) {
	p, known := e.Participants[participant]
	if err := e.mayJoin(p, known); err != nil {
		return nil, err
	}
	if e.E2EE && s.Kind != Browser {
		return nil, ErrEncrypted
	}
	s.Key = p.Sessions[session].Key
	sessions := make(map[string]Session, len(p.Sessions)+1)
	for id, other := range p.Sessions {
		if id != session && s.Kind.exclusive() && other.Kind.exclusive() {
			replaced = append(replaced, id)
			continue
		}
		sessions[id] = other
	}
	s.Lost = time.Time{}
	sessions[session] = s
	if len(sessions) > MaxSessions {
		return nil, ErrFull
	}
	p.Role, p.Sessions = p.roleWith(role, s.Kind), sessions
	p.Cleared = p.Cleared || autoAdmit
	p.State = p.standing()
	if len(badge) > 0 {
		p.Badge = badge
	}
	if len(rtt) > 0 {
		p.RTT = maps.Clone(rtt)
	}
	e.put(participant, p)
	e.Vacated = time.Time{}
	slices.Sort(replaced)
	return replaced, nil
}

func (e *Encounter) mayJoin(p Participant, known bool) error {
	switch {
	case e.HasEnded():
		return ErrEnded
	case p.State == Removed:
		return ErrRemoved
	case known:
		return nil
	case e.Locked:
		return ErrLocked
	case len(e.Participants) >= MaxParticipants:
		return ErrFull
	}
	return nil
}

// exclusive reports whether a participant can have only one session of this and the other exclusive kinds.
func (k SessionKind) exclusive() bool { return k == Browser || k == WHIP }

// roleWith is the participant's role once a session of a kind has joined with one.
func (p Participant) roleWith(role access.Role, kind SessionKind) access.Role {
	for _, s := range p.Sessions { // lost ones too: they may come back
		if s.Kind.exclusive() && !kind.exclusive() {
			return p.Role
		}
	}
	return role
}

// standing is where a participant with sessions stands.
func (p Participant) standing() State {
	if p.Cleared || access.Can(p.Role, access.Enter) {
		return Admitted
	}
	return Waiting
}

func (e *Encounter) put(participant string, p Participant) {
	if e.Participants == nil {
		e.Participants = make(map[string]Participant)
	}
	e.Participants[participant] = p
}

// HasEnded reports whether a provider ended the encounter.
func (e *Encounter) HasEnded() bool { return !e.Ended.IsZero() }

// Lose notes that a session's connection was lost; Expire ends it unless Resume comes first. An unknown
// session, one lost already and an ended encounter stay as they are. The caller checks that the session is
// still its own gateway's: another may have resumed it.
func (e *Encounter) Lose(participant, session string, now time.Time) {
	s, ok := e.Participants[participant].Sessions[session]
	if !ok || e.HasEnded() || !s.Lost.IsZero() {
		return
	}
	s.Lost = now
	e.Participants[participant].Sessions[session] = s
}

// Resume continues a session, lost or not, on a gateway. It fails with ErrEnded, ErrRemoved, or
// ErrUnknownParticipant if the session is no longer there: the client then has to join anew.
func (e *Encounter) Resume(participant, session, gateway string) error {
	p := e.Participants[participant]
	s, ok := p.Sessions[session]
	switch {
	case e.HasEnded():
		return ErrEnded
	case p.State == Removed:
		return ErrRemoved
	case !ok:
		return ErrUnknownParticipant
	}
	s.Gateway, s.Lost = gateway, time.Time{}
	p.Sessions[session] = s
	return nil
}

// Announce notes a browser session's public key. The same key again changes nothing. It fails with ErrEnded,
// ErrNotEncrypted, ErrUnknownParticipant if there is no such session, or ErrKeyChanged if it has another key: whose key
// changes is somebody else, and has to join as such.
func (e *Encounter) Announce(participant, session, key string) error {
	s, ok := e.Participants[participant].Sessions[session]
	switch {
	case e.HasEnded():
		return ErrEnded
	case !e.E2EE:
		return ErrNotEncrypted
	case !ok || s.Kind != Browser:
		return ErrUnknownParticipant
	case s.Key != "" && s.Key != key:
		return ErrKeyChanged
	}
	s.Key = key
	e.Participants[participant].Sessions[session] = s
	return nil
}

// PublicKey is the key that a participant's browser announced, empty if there is none yet.
func (p Participant) PublicKey() string {
	for _, s := range p.Sessions {
		if s.Key != "" { // only a browser has one, and there is one browser
			return s.Key
		}
	}
	return ""
}

// Leave ends a session at once. Whoever has none left has left; an unknown session changes nothing.
func (e *Encounter) Leave(participant, session string) {
	p := e.Participants[participant]
	if _, ok := p.Sessions[session]; !ok {
		return
	}
	delete(p.Sessions, session)
	if len(p.Sessions) == 0 {
		p.State, p.Sessions = Left, nil
	}
	e.put(participant, p)
}

// Admit lets a participant in; one who left meanwhile will not have to wait again. It fails with ErrEnded,
// ErrUnknownParticipant or ErrRemoved.
func (e *Encounter) Admit(participant string) error {
	p, known := e.Participants[participant]
	switch {
	case e.HasEnded():
		return ErrEnded
	case !known:
		return ErrUnknownParticipant
	case p.State == Removed:
		return ErrRemoved
	case p.State == Waiting:
		p.State = Admitted
	}
	p.Cleared = true
	e.put(participant, p)
	return nil
}

// Remove ends all sessions of a participant, who cannot come back. It fails with ErrEnded or
// ErrUnknownParticipant.
func (e *Encounter) Remove(participant string) error {
	p, known := e.Participants[participant]
	switch {
	case e.HasEnded():
		return ErrEnded
	case !known:
		return ErrUnknownParticipant
	}
	p.State, p.Sessions, p.Cleared = Removed, nil, false
	e.put(participant, p)
	return nil
}

// SetLocked stops new participants from joining, or lets them; those in the record may always come back.
func (e *Encounter) SetLocked(locked bool) {
	if !e.HasEnded() {
		e.Locked = locked
	}
}

// End ends the encounter for good. Sessions stay in the record until their gateways take them out.
func (e *Encounter) End(now time.Time) {
	if !e.HasEnded() {
		e.Ended = now
	}
}

// Expire ends every lost session whose grace is over and reports whether there was one.
func (e *Encounter) Expire(over func(session string, lost time.Time) bool) (changed bool) {
	for participant, p := range e.Participants {
		for session, s := range p.Sessions {
			if s.Lost.IsZero() || !over(session, s.Lost) {
				continue
			}
			e.Leave(participant, session)
			changed = true
		}
	}
	return changed
}

// Vacant reports whether everybody has left an encounter that has not ended.
func (e *Encounter) Vacant() bool {
	for _, p := range e.Participants {
		if len(p.Sessions) > 0 {
			return false
		}
	}
	return len(e.Participants) > 0 && !e.HasEnded()
}

// Vacate notes since when an encounter is vacant, until somebody joins again.
func (e *Encounter) Vacate(now time.Time) {
	if e.Vacated.IsZero() && e.Vacant() {
		e.Vacated = now
	}
}

// Over is since when the encounter has ended or been vacant, zero if neither.
func (e *Encounter) Over() time.Time { return cmp.Or(e.Ended, e.Vacated) }

// Place records which SFU hosts the encounter. Epoch or Term must grow and neither may shrink, otherwise
// ErrStale; a region that policy does not allow is ErrRegion.
func (e *Encounter) Place(p Placement) error {
	held := e.Placement
	grows := p.Epoch > held.Epoch && p.Term >= held.Term || p.Term > held.Term && p.Epoch >= held.Epoch
	switch {
	case e.HasEnded():
		return ErrEnded
	case !p.Placed():
		return fmt.Errorf("placement of epoch %d names no SFU", p.Epoch)
	case !e.Allows(p.Region):
		return ErrRegion
	case !grows:
		return ErrStale
	}
	e.Placement = p
	return nil
}

// Allows reports whether policy lets the encounter be hosted in a region.
func (e *Encounter) Allows(region string) bool {
	return len(e.Regions) == 0 || slices.Contains(e.Regions, region)
}

// AdmittedIDs lists, sorted, who may exchange media. Somebody whose connection was just lost is among them.
func (e *Encounter) AdmittedIDs() []string { return e.idsIn(Admitted) }

// WaitingIDs lists, sorted, who waits to be admitted.
func (e *Encounter) WaitingIDs() []string { return e.idsIn(Waiting) }

func (e *Encounter) idsIn(state State) []string {
	ids := []string{}
	for id, p := range e.Participants {
		if p.State == state {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// NeedsPlacement reports whether the encounter needs an SFU, be it placed already or not: two participants
// are admitted, or a WHIP or WHEP session, waiting ones included, needs one for its answer.
func (e *Encounter) NeedsPlacement() bool {
	if e.HasEnded() {
		return false
	}
	admitted := 0
	for _, p := range e.Participants {
		if p.State == Admitted && len(p.Sessions) > 0 {
			admitted++
		}
		for _, s := range p.Sessions {
			if s.Kind != Browser {
				return true
			}
		}
	}
	return admitted >= 2
}
