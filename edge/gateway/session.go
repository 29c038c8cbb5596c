package gateway

import (
	"slices"
	"time"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
)

// legPhase is where a leg stands.
type legPhase string

const (
	legNone     legPhase = ""
	legOpening  legPhase = "opening"  // attach sent; the client is told once the SFU accepts
	legRetaking legPhase = "retaking" // attach sent for a leg that should exist at the SFU already
	legOpen     legPhase = "open"
	legEnded    legPhase = "ended"   // closed by the SFU; another one is due
	legRefused  legPhase = "refused" // the SFU did not accept; tried again at RetryAt
)

// Reasons of a Placed.
const (
	reasonAdmitted = "admitted"
	reasonFailover = "failover"
	reasonMove     = "move"
)

// leg is a participant's pair of peer connections on one SFU, as its gateway knows it. Its number is at
// least the placement's epoch, so that a gateway that resumes a session knows the number without asking.
type leg struct {
	signaling.Route
	SFU, Region string
	Phase       legPhase
	// Link is the generation of the control channel it was attached over.
	Link    uint64
	RetryAt time.Time
	// Since is when it was last attached, Failures how often in a row that was not answered or found no room.
	Since    time.Time
	Failures int
	// Reason and Abrupt are what the client will be told.
	Reason string
	Abrupt bool
	// Probe says that another gateway may have opened it: the client knows it if the SFU does.
	Probe bool
}

// session is a local session as far as decisions need it.
type session struct {
	ID, Participant string
	Kind            encounter.SessionKind
	Role            access.Role
	// Target is the participant a WHEP session receives, empty for the active speaker.
	Target string
	// Connected is false while a browser's socket is lost.
	Connected bool
	// Offering is set while a WHIP or WHEP client waits for the answer to its offer.
	Offering bool
	// Resuming says that another gateway, or this one before a restart, may have opened a leg.
	Resuming bool
	// KnownLeg is the newest leg that the client was told of, or that it said it has when it resumed; 0 if it did not say.
	KnownLeg uint32
	Leg      leg
	// Older are earlier legs that may still carry media.
	Older []leg
	// Told is the roster the client knows, ToldAt is since when.
	Told   *signaling.Roster
	ToldAt time.Time
}

// on returns the leg of a route, nil if it is closed or was never there.
func (s *session) on(route signaling.Route) *leg {
	if s.Leg.Route == route && s.Leg.Phase != legEnded && s.Leg.Phase != legNone {
		return &s.Leg
	}
	for i := range s.Older {
		if s.Older[i].Route == route {
			return &s.Older[i]
		}
	}
	return nil
}

// isAt reports whether a media server has a leg of the session.
func (s *session) isAt(sfu string) bool {
	return s.Leg.SFU == sfu || slices.ContainsFunc(s.Older, func(l leg) bool { return l.SFU == sfu })
}

// sources lists what a role may publish.
func sources(role access.Role) []signaling.Source {
	var allowed []signaling.Source
	for _, source := range []signaling.Source{signaling.Microphone, signaling.Camera, signaling.Screen} {
		if access.Can(role, publishing(source)) {
			allowed = append(allowed, source)
		}
	}
	return allowed
}

// attachOf is the request that opens or takes over a leg.
func (s *session) attachOf(key encounter.Key, l leg) signaling.Attach {
	m := signaling.Attach{
		Route:        l.Route,
		EncounterRef: refOf(key),
		Participant:  s.Participant,
		Kind:         signaling.SessionKind(s.Kind),
		Target:       s.Target,
		TraceID:      s.ID,
	}
	if s.Kind != encounter.WHEP {
		m.CanPublish = sources(s.Role)
	}
	if s.Kind != encounter.WHIP {
		m.CanSubscribe = access.Can(s.Role, access.Subscribe)
	}
	return m
}

func refOf(key encounter.Key) signaling.EncounterRef {
	return signaling.EncounterRef{Tenant: key.Tenant, Encounter: key.ID}
}

func keyOf(ref signaling.EncounterRef) encounter.Key {
	return encounter.Key{Tenant: ref.Tenant, ID: ref.Encounter}
}
