// Package encounter is the domain: an encounter, its participants and their lifecycle.
//
// An Encounter is a value; its methods are the allowed transitions and touch nothing else. A Store
// keeps encounters with compare-and-set. Records hold opaque ids only, nothing personal: a display
// name is kept sealed.
package encounter

import (
	"errors"
	"time"

	"github.com/wardline/wardline/core/access"
)

// Errors of the transitions; each is also the code the client gets (docs/protocol.md).
var (
	ErrEnded              = errors.New("encounter-ended")
	ErrLocked             = errors.New("encounter-locked")
	ErrRemoved            = errors.New("participant-removed")
	ErrUnknownParticipant = errors.New("participant-unknown")
	ErrRegion             = errors.New("region-not-allowed")
	ErrFull               = errors.New("encounter-full")
	ErrEncrypted          = errors.New("encounter-encrypted")
	ErrNotEncrypted       = errors.New("encounter-not-encrypted")
	ErrKeyChanged         = errors.New("key-changed")
)

// ErrStale says that a placement is not newer than the one in the record. Clients never see it.
var ErrStale = errors.New("stale placement")

// Bounds of one encounter's record, so that a valid token cannot fill it.
const (
	MaxParticipants = 500
	// MaxSessions bounds one participant's sessions, lost ones included.
	MaxSessions = 64
)

// State is where a participant stands.
type State string

// States of a participant. Left and Removed participants stay in the record: the one may come back, the
// other may not.
const (
	Waiting  State = "waiting"
	Admitted State = "admitted"
	Left     State = "left"
	Removed  State = "removed"
)

// Key names an encounter across tenants.
type Key struct {
	Tenant string `json:"tenant"`
	ID     string `json:"id"`
}

// Placement is which SFU hosts an encounter.
type Placement struct {
	Region string `json:"region"`
	SFU    string `json:"sfu"`
	// Epoch grows with every change of placement, Term with every change of the region that writes.
	Epoch uint64 `json:"epoch"`
	Term  uint64 `json:"term"`
}

// Placed reports whether the encounter has an SFU.
func (p Placement) Placed() bool { return p.SFU != "" }

// SessionKind is how a participant is connected.
type SessionKind string

// Kinds of session. A participant has at most one of the exclusive kinds, browser and WHIP: the newest wins.
const (
	Browser SessionKind = "browser"
	WHIP    SessionKind = "whip"
	WHEP    SessionKind = "whep"
)

// Session is one connection of a participant.
type Session struct {
	Kind SessionKind `json:"kind"`
	// Gateway is the service id of the gateway that speaks with it.
	Gateway string `json:"gateway"`
	// Lost is when the connection was lost, if it was: the session can be resumed for a while.
	Lost time.Time `json:"lost,omitzero"`
	// Restarts counts the ICE restarts of a WHIP or WHEP session; its ETag is made of it.
	Restarts uint32 `json:"restarts,omitempty"`
	// Key is the public key a browser announced in an end-to-end encrypted encounter, as signaling.PublicKey has it.
	Key string `json:"key,omitempty"`
}

// Participant is one person's part in an encounter.
type Participant struct {
	// Role is that of the browser or WHIP session, or of the newest WHEP session where there is none.
	Role  access.Role `json:"role"`
	State State       `json:"state"`
	// Cleared says that somebody has let the participant in once: who left comes back without waiting, in any role.
	Cleared bool `json:"cleared,omitempty"`
	// Badge is the display name, sealed under the roster secret; only gateways can open it.
	Badge    []byte             `json:"badge,omitempty"`
	Sessions map[string]Session `json:"sessions,omitempty"`
	// RTT is the measured round-trip time to each region, in milliseconds.
	RTT map[string]float64 `json:"rtt,omitempty"`
}

// Encounter is one telehealth visit.
type Encounter struct {
	Key
	Created time.Time `json:"created"`
	// Ended is zero while the encounter is open.
	Ended time.Time `json:"ended,omitzero"`
	// Vacated is since when nobody has been in an encounter that has not ended, as far as somebody looked (see Vacate).
	Vacated time.Time `json:"vacated,omitzero"`
	Locked  bool      `json:"locked,omitempty"`
	// E2EE says that media is end-to-end encrypted, from the creation on: only browsers take part, and nothing is recorded.
	E2EE bool `json:"e2ee,omitempty"`
	// Regions lists where policy allows the encounter, home first. Empty means any.
	Regions      []string               `json:"regions,omitempty"`
	Placement    Placement              `json:"placement,omitzero"`
	Participants map[string]Participant `json:"participants,omitempty"`
	// Homes, Term, Version and Past belong to a store that keeps copies in several regions (see Stamp). It writes them with
	// each copy and does not show them in what it returns.
	Homes   []string `json:"homes,omitempty"`
	Term    uint64   `json:"term,omitempty"`
	Version uint64   `json:"version,omitempty"`
	Past    []Stamp  `json:"past,omitempty"`
	// Gone belongs to it as well: the record was deleted, and this is what keeps an older copy from coming back (see Bury).
	Gone bool `json:"gone,omitempty"`
	// Revision is the store's version of this value; it only grows.
	Revision uint64 `json:"-"`
}
