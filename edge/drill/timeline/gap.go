package timeline

import (
	"slices"
	"time"
)

// Gap is a time without media.
type Gap struct {
	From time.Time `json:"from"`
	// To is zero while the gap lasts.
	To time.Time `json:"to,omitzero"`
}

// Length is how long the gap lasted, or has lasted until now.
func (g Gap) Length(now time.Time) time.Duration {
	if g.To.IsZero() {
		return max(now.Sub(g.From), 0)
	}
	return g.To.Sub(g.From)
}

// contains reports whether there was no media at this time.
func (g Gap) contains(at time.Time) bool {
	return !g.From.After(at) && (g.To.IsZero() || g.To.After(at))
}

// reaches reports whether the gap lasts beyond this time.
func (g Gap) reaches(at time.Time) bool { return g.To.IsZero() || g.To.After(at) }

// common are the times that are gaps of both lists, each in order and without overlaps.
func common(a, b []Gap) []Gap {
	var both []Gap
	for i, j := 0, 0; i < len(a) && j < len(b); {
		gap := Gap{From: later(a[i].From, b[j].From), To: sooner(a[i].To, b[j].To)}
		if gap.reaches(gap.From) {
			both = append(both, gap)
		}
		if b[j].To.IsZero() || !a[i].To.IsZero() && !a[i].To.After(b[j].To) {
			i++
		} else {
			j++
		}
	}
	return both
}

// after cuts away what is before a time.
func after(gaps []Gap, at time.Time) []Gap {
	gaps = slices.Clone(gaps)
	gaps = slices.DeleteFunc(gaps, func(g Gap) bool { return !g.reaches(at) })
	for i := range gaps {
		gaps[i].From = later(gaps[i].From, at)
	}
	return gaps
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// sooner takes zero for never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
