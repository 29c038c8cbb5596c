package sfu

import (
	"slices"
	"time"

	"github.com/wardline/wardline/edge/sfu/bandwidth"
	"github.com/wardline/wardline/edge/sfu/scalability"
)

// layerRank orders the simulcast layers of a track from small to large. The client names them q, h and
// f; whatever other encoders call theirs ranks below, by name.
func layerRank(rid string) int {
	switch rid {
	case "f":
		return 3
	case "h":
		return 2
	case "q":
		return 1
	default:
		return 0
	}
}

// usual is what a layer takes before that is measured.
func usual(rid string) bandwidth.Rate {
	switch rid {
	case "f":
		return 1_600_000
	case "h":
		return 540_000
	case "q":
		return 170_000
	default:
		return 300_000
	}
}

// How many videos a subscriber can have before each is forwarded smaller.
const (
	fewVideos  = 4
	manyVideos = 9
)

// topRung is the largest rung that is worth sending to somebody who looks at that many videos: the largest while there are
// few, one of a middle size while there are not too many, else of the smallest, or the next larger one if those that small are
// not being sent and cost nothing.
func topRung(sizes []int, costs []bandwidth.Rate, videos int) int {
	var steps []int // the last rung of each size
	for i := range sizes {
		if i+1 == len(sizes) || sizes[i+1] != sizes[i] {
			steps = append(steps, i)
		}
	}
	top := len(steps) - 1
	switch {
	case top < 0:
		return atLeastOne(costs, top)
	case videos > manyVideos:
		top = 0
	case videos > fewVideos:
		top /= 2
	}
	return atLeastOne(costs, steps[top])
}

// atLeastOne raises top until there is a layer to be had.
func atLeastOne(costs []bandwidth.Rate, top int) int {
	if slices.ContainsFunc(costs[:top+1], func(cost bandwidth.Rate) bool { return cost > 0 }) {
		return top
	}
	for i := top + 1; i < len(costs); i++ {
		if costs[i] > 0 {
			return i
		}
	}
	return top
}

// least is what a layer is taken to cost that sends next to nothing at the moment.
const least bandwidth.Rate = 10_000

// costsOf lists what each rung takes, zero for one that is not being sent. A layer that is off because nobody wanted it can be had,
// for what it took last.
func costsOf(rungs []rung, now time.Time) []bandwidth.Rate {
	costs := make([]bandwidth.Rate, len(rungs))
	for i := range rungs {
		r, l := &rungs[i], rungs[i].layer
		whole := i+1 == len(rungs) || rungs[i+1].layer != l
		rate, known := r.meter.rate()
		switch {
		case r.off:
		case l.alive(now):
			costs[i] = max(rate, least)
			if !known {
				costs[i] = r.usual()
			}
			if whole {
				l.took = costs[i]
			}
		case l.idle && whole:
			costs[i] = l.took
		}
	}
	return costs
}

// standIn is the layer itself, or while it is not being sent because nobody wanted it the next smaller one
// that is, else the next larger.
func (t *track) standIn(wanted *layer, now time.Time) *layer {
	at := slices.Index(t.layers, wanted)
	for i := at; i >= 0; i-- {
		if t.layers[i].alive(now) {
			return t.layers[i]
		}
	}
	for _, l := range t.layers[at+1:] {
		if l.alive(now) {
			return l
		}
	}
	return wanted
}

// size is how large the picture of a layer is, in pixels.
func (l *layer) size() int {
	if pixels := int(l.pixels.Load()); pixels > 0 {
		return pixels
	}
	return usualPixels(l.rid)
}

// ladder is what a track can be had in, and what that takes, at one time: all its subscribers look then.
type ladder struct {
	at    time.Time
	rungs []rung
	costs []bandwidth.Rate
	sizes []int
}

// ladderAt is the ladder as of now.
func (t *track) ladderAt(now time.Time) *ladder {
	if t.ladder.rungs == nil || !t.ladder.at.Equal(now) {
		rungs := t.rungs()
		t.ladder = ladder{now, rungs, costsOf(rungs, now), sizesOf(rungs)}
	}
	return &t.ladder
}

// sizesOf lists how large the pictures of rungs are.
func sizesOf(rungs []rung) []int {
	sizes := make([]int, len(rungs))
	for i := range rungs {
		sizes[i] = rungs[i].pixels
	}
	return sizes
}

// rungOf is the one that a down track is on, or is to be; -1 if there is none.
func rungOf(rungs []rung, l *layer, layers scalability.Layers) int {
	for i, r := range slices.Backward(rungs) {
		if r.layer == l && (layers == scalability.All || r.layers.Spatial <= layers.Spatial && r.layers.Temporal <= layers.Temporal) {
			return i
		}
	}
	return slices.IndexFunc(rungs, func(r rung) bool { return r.layer == l })
}
