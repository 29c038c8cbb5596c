// Package selection decides who is heard and seen in an encounter where too many publish for everybody to get everything:
// the few voices that speak, and the videos that a subscriber looks at, whoever spoke last first. It is pure: no clock, no
// I/O. Nothing here depends on the number of subscribers: what is the same for all is decided once.
package selection

import (
	"cmp"
	"slices"
	"time"
)

// What makes a voice heard.
const (
	// speaks is how long ago voice may have been in a microphone for its participant to be speaking.
	speaks = 250 * time.Millisecond
	// holds is for how long after its last word a voice keeps its place against one that speaks: pauses between words
	// and breaths are shorter.
	holds = time.Second
	// lead is how much louder, in dB, a newcomer must be than a voice that still speaks.
	lead = 6.0
)

// Microphone is a voice that could be heard.
type Microphone struct {
	Participant string
	// Level is its smoothed loudness in dB above silence, 0 to 127.
	Level float64
	// Spoke is when voice was last in it, zero if it never was.
	Spoke time.Time
}

func (m Microphone) speaking(now time.Time) bool { return now.Sub(m.Spoke) <= speaks }

func (m Microphone) holding(now time.Time) bool { return now.Sub(m.Spoke) <= holds }

// Voices remembers who is heard, so that nobody is cut off for a pause or by somebody who is barely louder. The zero value
// has heard nobody. It is not safe for concurrent use.
type Voices struct{ heard []string }

// Choose decides as of now who is heard, at most limit and one more. The first limit are for everybody; the one more is for
// those among them, who do not hear themselves. A voice keeps its index as long as it is heard. Places are never left free
// while there is a microphone: who spoke last is likely to speak next. The result is good until the next call.
func (v *Voices) Choose(now time.Time, limit int, among []Microphone) []string {
	known := make(map[string]Microphone, len(among))
	for _, each := range among {
		known[each.Participant] = each
	}
	v.heard = slices.DeleteFunc(v.heard, func(id string) bool { _, here := known[id]; return !here })
	heard := make(map[string]bool, limit+1)
	for _, id := range v.heard {
		heard[id] = true
	}
	others := slices.SortedFunc(slices.Values(among), func(a, b Microphone) int {
		return cmp.Or(b.Spoke.Compare(a.Spoke), cmp.Compare(a.Participant, b.Participant))
	})
	others = slices.DeleteFunc(others, func(m Microphone) bool { return heard[m.Participant] })
	for len(v.heard) <= limit && len(others) > 0 {
		v.heard, others = append(v.heard, others[0].Participant), others[1:]
	}
	main := v.heard[:min(limit, len(v.heard))]
	for _, id := range v.heard[len(main):] {
		others = append(others, known[id])
	}
	others = v.challenge(now, main, known, others)
	if len(v.heard) > limit {
		v.heard[limit] = spare(now, known[v.heard[limit]], others)
	}
	return v.heard
}

// challenge gives places to those who speak, the loudest first, and returns who is left without one.
func (v *Voices) challenge(now time.Time, main []string, known map[string]Microphone, others []Microphone) []Microphone {
	slices.SortStableFunc(others, func(a, b Microphone) int { return cmp.Compare(b.Level, a.Level) })
	for i, newcomer := range others {
		if !newcomer.speaking(now) || len(main) == 0 {
			continue
		}
		at := weakest(now, main, known)
		if held := known[main[at]]; !held.holding(now) || newcomer.Level > held.Level+lead {
			main[at], others[i] = newcomer.Participant, held
		}
	}
	return others
}

// weakest is the index of the voice that is the first to go: who has been silent for the longest time, or if all speak the
// softest.
func weakest(now time.Time, main []string, known map[string]Microphone) int {
	found := 0
	for i := range main {
		a, b := known[main[i]], known[main[found]]
		switch {
		case a.holding(now) != b.holding(now):
			if b.holding(now) {
				found = i
			}
		case a.holding(now) && a.Level < b.Level, !a.holding(now) && a.Spoke.Before(b.Spoke):
			found = i
		}
	}
	return found
}

// spare is who is heard in the place of those who are heard: the present one, unless it got a place, or is silent while
// another one speaks.
func spare(now time.Time, present Microphone, others []Microphone) string {
	left := slices.ContainsFunc(others, func(m Microphone) bool { return m.Participant == present.Participant })
	if left && present.holding(now) {
		return present.Participant
	}
	best := slices.MinFunc(others, func(a, b Microphone) int {
		return cmp.Or(b.Spoke.Compare(a.Spoke), cmp.Compare(a.Participant, b.Participant))
	})
	if left && !best.speaking(now) {
		return present.Participant
	}
	return best.Participant
}
