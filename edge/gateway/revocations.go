package gateway

import (
	"time"

	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/revocation"
)

// revocationMargin is added to the life of credentials: for clocks that differ, and for a gateway that hands some out
// before it has seen the change.
const revocationMargin = 5 * time.Minute

// credentialID is the id of a session's TURN credentials.
func credentialID(key encounter.Key, participant, session string) string {
	return revocation.Session(key.Tenant, key.ID, participant, session)
}

// revoked lists the credentials that a change of a record makes useless. Of a record that was not known before it
// lists what can be told from the record itself.
//
// A session that its client left, or that nobody resumed, is not among them: another region's copy of the record may
// bring it back, and it must not come back without its relay.
func revoked(before, after encounter.Encounter) []string {
	if after.HasEnded() {
		if before.HasEnded() {
			return nil
		}
		return []string{revocation.Visit(after.Tenant, after.ID)}
	}
	var credentials []string
	for id, p := range after.Participants {
		was := before.Participants[id]
		if p.State == encounter.Removed {
			if was.State != encounter.Removed {
				credentials = append(credentials, revocation.Participant(after.Tenant, after.ID, id))
			}
			continue
		}
		for session, held := range was.Sessions {
			if _, goesOn := p.Sessions[session]; !goesOn && held.Kind != encounter.WHEP && hasExclusive(p) {
				credentials = append(credentials, credentialID(after.Key, id, session))
			}
		}
	}
	return credentials
}

// revoke has relays end the use of credentials. It waits for nobody: whoever writes a change to a record calls it, and
// so does every view that sees the change, since the writer may be lost before it has.
func (s *Server) revoke(credentials ...string) {
	if len(credentials) > 0 {
		s.turns.Revoke(time.Now().Add(longestCredential+revocationMargin), credentials...)
	}
}

// endedByTenant revokes the credentials of an encounter, of which there need be no view here.
func (s *Server) endedByTenant(key encounter.Key) { s.revoke(revocation.Visit(key.Tenant, key.ID)) }
