package gateway

import (
	"maps"
	"slices"

	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
)

// rosterOf lists who waits or is in, ordered by participant. It returns the previous roster if nothing that
// it shows has changed. names are the opened badges.
func rosterOf(previous *signaling.Roster, e encounter.Encounter, names map[string]string) *signaling.Roster {
	roster := signaling.Roster{Revision: e.Revision, Locked: e.Locked, Members: []signaling.Member{}}
	for _, id := range slices.Sorted(maps.Keys(e.Participants)) {
		p := e.Participants[id]
		if p.State != encounter.Waiting && p.State != encounter.Admitted {
			continue
		}
		roster.Members = append(roster.Members, signaling.Member{
			Participant: id, Role: string(p.Role), Name: names[id], State: string(p.State), Connected: connected(p),
			Key: p.PublicKey(),
		})
	}
	if previous != nil && sameRoster(*previous, roster) {
		return previous
	}
	return &roster
}

// connected reports whether at least one session of a participant is not lost.
func connected(p encounter.Participant) bool {
	for _, s := range p.Sessions {
		if s.Lost.IsZero() {
			return true
		}
	}
	return false
}
