package sfu

import (
	"slices"
	"time"

	"github.com/wardline/wardline/edge/sfu/bandwidth"
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

// topLayer is the largest layer that is worth sending to somebody who looks at that many videos: the largest
// while there are few, a middle one while there are not too many, else the smallest, or the next larger one
// if those that small are not being sent and cost nothing.
func topLayer(costs []bandwidth.Rate, videos int) int {
	top := len(costs) - 1
	switch {
	case videos > manyVideos:
		top = min(top, 0)
	case videos > fewVideos:
		top /= 2
	}
	return atLeastOne(costs, top)
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

// costs lists what each of a track's layers takes, zero for one that is not being sent. One that is off because
// nobody wanted it can be had, for what it took last.
func (t *track) costs(now time.Time) []bandwidth.Rate {
	costs := make([]bandwidth.Rate, len(t.layers))
	for i, l := range t.layers {
		rate, known := l.meter.rate()
		switch {
		case l.alive(now):
			l.took = max(rate, least)
			if !known {
				l.took = usual(l.rid)
			}
			costs[i] = l.took
		case l.idle:
			costs[i] = l.took
		}
	}
	return costs
}

// standIn is the layer itself, or while it is not being sent because nobody wanted it the next smaller one
// that is, else the next larger.
func (t *track) standIn(wanted int, now time.Time) *layer {
	for i := wanted; i >= 0; i-- {
		if t.layers[i].alive(now) {
			return t.layers[i]
		}
	}
	for _, l := range t.layers[wanted+1:] {
		if l.alive(now) {
			return l
		}
	}
	return t.layers[wanted]
}

// pixels lists how large the picture of each layer is.
func (t *track) pixels() []int {
	pixels := make([]int, len(t.layers))
	for i, l := range t.layers {
		if pixels[i] = int(l.pixels.Load()); pixels[i] == 0 {
			pixels[i] = usualPixels(l.rid)
		}
	}
	return pixels
}
