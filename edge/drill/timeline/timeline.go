// Package timeline turns what happened in a drill into figures and a verdict. Pure: it reads no clock and does no I/O.
package timeline

import (
	"cmp"
	"time"
)

// Kind says what happened.
type Kind string

// Kinds of events. Those up to Whole are the drill's own, the others come from participants.
const (
	Inject   Kind = "inject"   // something is about to be broken
	Injected Kind = "injected" // it is broken
	Heal     Kind = "heal"     // everything is about to be healed
	Healed   Kind = "healed"   // it is healed, which does not mean that all is well again
	Whole    Kind = "whole"    // the cluster is healthy again
	End      Kind = "end"      // the observation ends

	Started      Kind = "started"      // the participant's client was started
	Connected    Kind = "connected"    // signaling works, through Gateway
	Disconnected Kind = "disconnected" // signaling does not work any more
	Placed       Kind = "placed"       // the participant was told to use SFU, under Epoch
	MediaOn      Kind = "media-on"     // media from From flows
	MediaOff     Kind = "media-off"    // media from From has stopped; the last of it came at Since
	Note         Kind = "note"         // the client said something else, see Text
	Ended        Kind = "ended"        // the client ended
)

// Event is one thing that happened.
type Event struct {
	At   time.Time `json:"at"`
	Kind Kind      `json:"kind"`
	// Visit and Participant are set where a participant's client reported it.
	Visit       string `json:"visit,omitempty"`
	Participant string `json:"participant,omitempty"`
	// Gateway, SFU, Region, Relay and Epoch are what the participant uses from now on.
	Gateway string `json:"gateway,omitempty"`
	SFU     string `json:"sfu,omitempty"`
	Region  string `json:"region,omitempty"`
	Relay   string `json:"relay,omitempty"`
	Epoch   uint64 `json:"epoch,omitempty"`
	// From is whose media began or stopped.
	From string `json:"from,omitempty"`
	// Since is when the last media came, of MediaOff.
	Since time.Time `json:"since,omitzero"`
	// Text is for people: the action injected, why a client ended.
	Text string `json:"text,omitempty"`
}

// Person is a participant of a visit.
type Person struct{ Visit, Participant string }

// Compare orders people by visit, then by name.
func (p Person) Compare(other Person) int {
	return cmp.Or(cmp.Compare(p.Visit, other.Visit), cmp.Compare(p.Participant, other.Participant))
}
