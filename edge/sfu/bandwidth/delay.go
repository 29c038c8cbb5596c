package bandwidth

import (
	"math"
	"time"
)

// usage says how the delay develops.
type usage int

const (
	normal usage = iota
	overuse
	underuse
)

// Parameters of the delay gradient, those of Google congestion control (draft-ietf-rmcat-gcc-02) as its
// reference implementation has them today.
const (
	burst            = 5 * time.Millisecond // packets sent within are one group
	trendWindow      = 20                   // groups
	smoothing        = 0.9
	gain             = 4.0
	maxWeight        = 60
	thresholdStart   = 12.5 // ms
	thresholdLow     = 6.0
	thresholdHigh    = 600.0
	thresholdUp      = 0.0087
	thresholdDown    = 0.039
	thresholdOutlier = 15.0
	overuseAfter     = 10.0 // ms
	// reset is a pause or a jump of the receiver's clock after which old groups say nothing.
	reset = 3 * time.Second
)

// group is a burst of packets, seen as one.
type group struct {
	firstSent, lastSent time.Duration
	lastArrived         time.Duration
	used                bool
}

type point struct{ arrived, delay float64 }

// delays finds out from the times between packet groups whether a queue builds up.
type delays struct {
	current, previous group
	began             time.Duration // arrival that times count from
	count             int
	accumulated       float64 // ms
	smoothed          float64
	points            []point

	threshold     float64
	thresholdedAt time.Duration
	overFor       float64 // ms
	overTimes     int
	trend         float64
	state         usage
}

func newDelays() *delays {
	return &delays{threshold: thresholdStart, points: make([]point, 0, trendWindow+1)}
}

// restart forgets the past, but not what the receiver's jitter is like.
func (d *delays) restart() {
	threshold := d.threshold
	*d = delays{threshold: threshold, points: d.points[:0]}
}

// add takes a packet that arrived, in the order of sending.
func (d *delays) add(r *Result) {
	switch {
	case !d.current.used:
		d.current = group{firstSent: r.Sent, lastSent: r.Sent, lastArrived: r.Arrived, used: true}
		return
	case r.Sent < d.current.firstSent:
		return // out of order
	case r.Sent-d.current.firstSent <= burst || d.sameBurst(r):
		d.current.lastSent = max(d.current.lastSent, r.Sent)
		d.current.lastArrived = max(d.current.lastArrived, r.Arrived)
		return
	}
	if d.previous.used {
		d.compare()
	}
	d.previous = d.current
	d.current = group{firstSent: r.Sent, lastSent: r.Sent, lastArrived: r.Arrived, used: true}
}

// sameBurst reports whether packets that were held up together on the way arrived together.
func (d *delays) sameBurst(r *Result) bool {
	arrived, sent := r.Arrived-d.current.lastArrived, r.Sent-d.current.lastSent
	return arrived <= burst && arrived < sent && r.Sent-d.current.firstSent < 20*burst
}

// compare takes the last two complete groups.
func (d *delays) compare() {
	sent, arrived := d.current.lastSent-d.previous.lastSent, d.current.lastArrived-d.previous.lastArrived
	if sent > reset || arrived > reset || arrived < -reset {
		d.restart()
		return
	}
	if arrived < 0 {
		return // reordered
	}
	if d.count == 0 {
		d.began = d.current.lastArrived
	}
	d.count = min(d.count+1, 1000)
	d.accumulated += milliseconds(arrived - sent)
	d.smoothed = smoothing*d.smoothed + (1-smoothing)*d.accumulated
	d.points = append(d.points, point{milliseconds(d.current.lastArrived - d.began), d.smoothed})
	if len(d.points) > trendWindow {
		d.points = append(d.points[:0], d.points[1:]...)
	}
	if len(d.points) == trendWindow {
		d.detect(slope(d.points), milliseconds(sent), d.current.lastArrived)
	}
}

// detect compares the trend with the threshold.
func (d *delays) detect(trend, sent float64, at time.Duration) {
	modified := math.Min(float64(d.count), maxWeight) * trend * gain
	switch {
	case modified > d.threshold:
		d.overFor += sent
		d.overTimes++
		if d.overFor > overuseAfter && d.overTimes > 1 && trend >= d.trend {
			d.overFor, d.overTimes, d.state = 0, 0, overuse
		}
	case modified < -d.threshold:
		d.overFor, d.overTimes, d.state = 0, 0, underuse
	default:
		d.overFor, d.overTimes, d.state = 0, 0, normal
	}
	d.trend = trend
	d.adapt(modified, at)
}

// adapt lets the threshold follow the jitter there is, so that neither a nervous network nor somebody else's
// flow that fills queues starves us.
func (d *delays) adapt(modified float64, at time.Duration) {
	since := math.Min(math.Max(milliseconds(at-d.thresholdedAt), 0), 100)
	d.thresholdedAt = at
	size := math.Abs(modified)
	if size > d.threshold+thresholdOutlier {
		return
	}
	speed := thresholdUp
	if size < d.threshold {
		speed = thresholdDown
	}
	d.threshold = math.Min(math.Max(d.threshold+speed*(size-d.threshold)*since, thresholdLow), thresholdHigh)
}

// slope is that of the least squares line, in ms of delay per ms.
func slope(points []point) float64 {
	var sumX, sumY float64
	for _, p := range points {
		sumX += p.arrived
		sumY += p.delay
	}
	meanX, meanY := sumX/float64(len(points)), sumY/float64(len(points))
	var numerator, denominator float64
	for _, p := range points {
		numerator += (p.arrived - meanX) * (p.delay - meanY)
		denominator += (p.arrived - meanX) * (p.arrived - meanX)
	}
	if denominator == 0 {
		return 0
	}
	return numerator / denominator
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
