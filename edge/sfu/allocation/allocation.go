// Package allocation shares what a path carries over the videos that its receiver is to get: which layer of
// each, and which to pause when not even the smallest ones fit. It is pure: no clock, no I/O.
package allocation

import (
	"cmp"
	"slices"
	"time"

	"github.com/wardline/wardline/edge/sfu/bandwidth"
)

// None is the layer of a video that is not sent.
const None = -1

const (
	// headroom is how much more than it costs must be there for a layer above the present one, so that a
	// video does not go up and down; wary is the same soon after one had to go down.
	headroom, wary = 1.06, 1.5
	// tolerance is the part of what is being sent that must fit for a shortage to be borne for a while: one
	// sign of congestion lowers the estimate by more than is wrong, and going down is seen.
	tolerance = 0.8
	patience  = 5 * time.Second
	// waryFor is how long a step down is remembered. It doubles when it follows a step up closely, which
	// was a mistake then.
	waryFor, waryAtMost = 2 * time.Second, 20 * time.Second
	closely             = 6 * time.Second
)

// Track is one video of a receiver.
type Track struct {
	// Priority says who comes first when there is not enough: higher ones.
	Priority int
	// Layers is what each layer costs, from the smallest up. Zero is a layer that is not being sent.
	Layers []bandwidth.Rate
	// Top is the largest layer that is worth sending, None to send nothing.
	Top int
	// Current is the layer sent now, None if there is none.
	Current int
}

// Allocator remembers what hysteresis needs. The zero value is ready. It is not safe for concurrent use.
type Allocator struct {
	shortSince time.Duration
	short      bool
	wentUp     time.Duration
	wentDown   time.Duration
	hold       time.Duration // how long the last step down is remembered
	waryNext   time.Duration // and how long the last one was that followed a step up closely
}

// Share chooses a layer for each track within rate. missing is the rate at which the next better choice would
// fit, zero if there is nothing better to have. What a layer that is not sent would cost is not known, so it
// is never chosen and never missed.
func (a *Allocator) Share(now time.Duration, rate bandwidth.Rate, tracks []Track) (choice []int, missing bandwidth.Rate) {
	present := make([]int, len(tracks))
	var spent bandwidth.Rate
	for i, t := range tracks {
		present[i] = t.nearest(t.Current)
		spent += t.cost(present[i])
	}
	margin := headroom
	if now-a.wentDown < a.hold {
		margin = wary
	}
	if a.bears(now, rate, spent) {
		return present, a.missing(tracks, present, margin)
	}
	choice = share(rate, tracks, present, margin)
	a.remember(now, present, choice)
	return choice, a.missing(tracks, choice, margin)
}

// bears reports whether a shortage is small and young enough to do nothing about it.
func (a *Allocator) bears(now time.Duration, rate, spent bandwidth.Rate) bool {
	if spent <= rate {
		a.short = false
		return false
	}
	if !a.short {
		a.short, a.shortSince = true, now
	}
	return float64(spent)*tolerance <= float64(rate) && now-a.shortSince < patience
}

// share gives every track its smallest layer, by priority, and then the best what is left.
func share(rate bandwidth.Rate, tracks []Track, present []int, margin float64) []int {
	order := make([]int, len(tracks))
	choice := make([]int, len(tracks))
	for i := range tracks {
		order[i], choice[i] = i, None
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(tracks[b].Priority, tracks[a].Priority) })
	left := float64(rate)
	raise := func(i int) bool {
		next := tracks[i].above(choice[i])
		if next == None {
			return false
		}
		before, after := tracks[i].need(choice[i], present[i], margin), tracks[i].need(next, present[i], margin)
		if after-before > left {
			return false
		}
		left -= after - before
		choice[i] = next
		return true
	}
	for _, i := range order {
		raise(i)
	}
	// Equals take turns; those of lower priority get what the others leave.
	for at := 0; at < len(order); {
		end := at + 1
		for end < len(order) && tracks[order[end]].Priority == tracks[order[at]].Priority {
			end++
		}
		for raised := true; raised; {
			raised = false
			for _, i := range order[at:end] {
				raised = choice[i] != None && raise(i) || raised
			}
		}
		at = end
	}
	return choice
}

func (a *Allocator) remember(now time.Duration, present, choice []int) {
	up, down := false, false
	for i := range choice {
		up = up || choice[i] > present[i]
		down = down || choice[i] < present[i] && a.short
	}
	if down {
		a.hold = waryFor
		if a.wentUp != 0 && now-a.wentUp < closely {
			a.waryNext = min(max(2*a.waryNext, 2*waryFor), waryAtMost)
			a.hold = a.waryNext
		} else {
			a.waryNext = 0
		}
		a.wentDown = now
	}
	if up {
		a.wentUp = now
	}
}

// missing is what the best track that could be better would take, with what the others have.
func (a *Allocator) missing(tracks []Track, choice []int, margin float64) bandwidth.Rate {
	best := None
	var spent bandwidth.Rate
	for i, t := range tracks {
		spent += t.cost(choice[i])
		if t.above(choice[i]) != None && (best == None || t.Priority > tracks[best].Priority) {
			best = i
		}
	}
	if best == None {
		return 0
	}
	next := tracks[best].cost(tracks[best].above(choice[best]))
	return spent - tracks[best].cost(choice[best]) + bandwidth.Rate(float64(next)*margin)
}

func (t Track) cost(layer int) bandwidth.Rate {
	if layer == None {
		return 0
	}
	return t.Layers[layer]
}

// need is what must be there for a layer: more than it costs if it is above the present one.
func (t Track) need(layer, present int, margin float64) float64 {
	if layer > present {
		return float64(t.cost(layer)) * margin
	}
	return float64(t.cost(layer))
}

// above is the next layer being sent, None if there is none worth sending.
func (t Track) above(layer int) int {
	for i := layer + 1; i <= t.Top && i < len(t.Layers); i++ {
		if t.Layers[i] > 0 {
			return i
		}
	}
	return None
}

// nearest is the layer itself, or the next one below that is sent and worth sending.
func (t Track) nearest(layer int) int {
	for i := min(layer, t.Top, len(t.Layers)-1); i >= 0; i-- {
		if t.Layers[i] > 0 {
			return i
		}
	}
	return None
}
