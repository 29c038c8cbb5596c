// Package scenario reads failover drills: which synthetic visits take place, what is broken, and what may come of it.
//
// A scenario file is HCL and read strictly: everything unknown is an error with its place in the file.
package scenario

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/wardline/wardline/core/access"
)

// ErrInvalid says that a scenario makes no sense; the text names each place, value and what is allowed.
var ErrInvalid = errors.New("invalid scenario")

// Limits of a scenario.
const (
	// MaxBytes bounds a file.
	MaxBytes = 1 << 20
	// maxDuration bounds every duration.
	maxDuration = time.Hour
	// maxRTT bounds a round-trip time in milliseconds.
	maxRTT = 10_000
	// maxParticipants bounds the participants of all visits of one drill.
	maxParticipants = 100
)

// File is one scenario file.
type File struct {
	// Name is the file's name as it was given.
	Name string
	// SHA256 is the hash of the text, in hex: it says which scenario a report is about.
	SHA256 string
	Drills []Drill
}

// Drill is one failure and what may come of it.
type Drill struct {
	Name        string
	Description string
	Visits      []Visit
	// Baseline is for how long every visit must be undisturbed before anything is broken.
	Baseline time.Duration
	// Hold is how long the failure lasts at least; it lasts longer where visits have not recovered.
	Hold time.Duration
	// Settle is how long participants are watched after everything is whole again: healing must not end a visit.
	Settle     time.Duration
	Injections []Injection
	Targets    Targets
	// Controls are runs of the same drill that must miss their targets: they show that the drill can fail.
	Controls []Control
}

// Control is a negative control: the drill with other injections, other targets or both.
type Control struct {
	Name        string
	Description string
	Injections  []Injection
	Targets     Targets
}

// AsDrill is the drill that the control runs.
func (c Control) AsDrill(of Drill) Drill {
	of.Description, of.Injections, of.Targets, of.Controls = c.Description, c.Injections, c.Targets, nil
	return of
}

// When says when somebody joins.
type When string

// Times of joining.
const (
	// Before is before anything is broken.
	Before When = "before"
	// Outage is right after everything is broken.
	Outage When = "outage"
)

// Visit is one synthetic visit.
type Visit struct {
	Name string
	// Regions are those the visit may be placed in, home first; empty for any.
	Regions []string
	// RTT is what its participants say they measured to each region, in milliseconds, so that it is placed where the drill
	// wants it; empty to measure.
	RTT          map[string]int
	Participants []Participant
}

// Home is the visit's home region, empty if it has none.
func (v Visit) Home() string {
	if len(v.Regions) == 0 {
		return ""
	}
	return v.Regions[0]
}

// InOutage reports whether nobody joins the visit before the failure, so that it is created during it.
func (v Visit) InOutage() bool {
	for _, p := range v.Participants {
		if p.Joins != Outage {
			return false
		}
	}
	return true
}

// admits reports whether somebody lets others in as soon as the visit begins.
func (v Visit) admits() bool {
	return slices.ContainsFunc(v.Participants, func(p Participant) bool {
		return p.Role == access.Provider && (p.Joins == Before || v.InOutage())
	})
}

// Participant is one synthetic participant.
type Participant struct {
	Name string
	Role access.Role
	// At is the node of a world where the client runs; empty for this machine.
	At string
	// Gateway is where the client connects first: a region, a gateway's id or a URL; empty for the visit's home.
	Gateway string
	// Relay sends the participant's media through a relay only.
	Relay bool
	Joins When
}

// Placement is which media server a visit must be on after the failure, compared with the one before.
type Placement string

// Placements that a drill may demand.
const (
	Anywhere      Placement = "any sfu"
	SameSFU       Placement = "same sfu"
	AnotherSFU    Placement = "another sfu"
	AnotherRegion Placement = "another region"
)

// Targets are what a drill demands. A nil duration is not demanded.
type Targets struct {
	// LongestGap is the longest time a participant may be without media from anybody.
	LongestGap *time.Duration
	// RecoveredWithin is when each participant must have media from somebody again, counted from the first injection.
	RecoveredWithin time.Duration
	// Lost is how many visits may be lost.
	Lost int
	// JoinedWithin is when somebody who joins in the outage must have media, counted from the start of their client.
	JoinedWithin *time.Duration
	// Signaling says that every participant's signaling must work before the failure is healed.
	Signaling bool
	// ResumedOn is where every visit must be before the failure is healed.
	ResumedOn Placement
	// WholeWithin is when the cluster must be healthy again, counted from healing.
	WholeWithin time.Duration
	// RejoinedWithin is when the participants of a visit must be on one media server again with media from each other, counted from
	// healing.
	RejoinedWithin *time.Duration
}

// Defaults.
const (
	defaultBaseline = 3 * time.Second
	defaultHold     = 5 * time.Second
	defaultSettle   = 3 * time.Second
	// minHold is how long clients need to notice that nothing comes.
	minHold          = 2 * time.Second
	defaultRecovered = 30 * time.Second
	defaultWhole     = 3 * time.Minute
)

// Load reads and checks a file.
func Load(name string) (File, error) {
	info, err := os.Stat(name)
	if err != nil {
		return File{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if info.Size() > MaxBytes {
		return File{}, fmt.Errorf("%w: %s: %d bytes: at most %d", ErrInvalid, name, info.Size(), MaxBytes)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return File{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return Parse(name, text)
}

// Parse checks the text of a file.
func Parse(name string, text []byte) (File, error) {
	if len(text) > MaxBytes {
		return File{}, fmt.Errorf("%w: %s: %d bytes: at most %d", ErrInvalid, name, len(text), MaxBytes)
	}
	drills, err := parse(name, text)
	if err != nil {
		return File{}, err
	}
	hash := sha256.Sum256(text)
	return File{Name: name, SHA256: hex.EncodeToString(hash[:]), Drills: drills}, nil
}
