package bandwidth

import (
	"slices"
	"time"
)

const (
	// lossSample is how many packets tell something about loss, lossSamples how many samples are remembered.
	lossSample, lossSamples = 50, 16
	// tolerableLoss is what a path may lose, beyond what it loses anyway, without being taken for full;
	// severeLoss is a queue that overflows.
	tolerableLoss, severeLoss = 0.12, 0.35
	// inherentLoss is the most that a path is believed to lose without being full.
	inherentLoss = 0.15
	// lossPause is how long a cut takes to show, beside a round trip.
	lossPause = 300 * time.Millisecond
	// outage is how long nothing at all gets through where a network is gone: a full one lets through what fits.
	outage = 300 * time.Millisecond
	// interruption is an outage after which it is of no use to send again what is lost, if that is more than a few packets.
	interruption, fewLost = time.Second, 10
)

// losses counts what did not arrive.
type losses struct {
	sent, lost int
	row        row
	// interrupted says that a row was an interruption.
	interrupted bool
	share       float64
	fresh       bool
	cutAt       time.Duration
	samples     [lossSamples]float64
	next        int
}

// row is packets lost one after the other.
type row struct {
	count       int
	first, last time.Duration // when they left
}

// add counts a row of lost packets once it has ended: one that was an outage says nothing about what the path carries.
func (l *losses) add(r *Result) {
	if r.Lost {
		if l.row.count == 0 {
			l.row.first = r.Sent
		}
		l.row.count++
		l.row.last = r.Sent
		return
	}
	lasted := l.row.last - l.row.first
	if lasted < outage {
		l.count(l.row.count, l.row.count)
	}
	l.interrupted = l.interrupted || lasted >= interruption && l.row.count > fewLost
	l.row = row{}
	l.count(1, 0)
}

func (l *losses) count(sent, lost int) {
	l.sent += sent
	l.lost += lost
	if l.sent >= lossSample {
		l.share, l.fresh = float64(l.lost)/float64(l.sent), true
		l.samples[l.next%lossSamples] = l.share
		l.next++
		l.sent, l.lost = 0, 0
	}
}

// tolerable is the loss beyond which the path is full: radio loses packets however little is sent.
func (l *losses) tolerable() float64 {
	return tolerableLoss + min(slices.Min(l.samples[:]), inherentLoss)
}

// cut is the rate that loss leaves, if there is more of it than a network has without being full. Never less
// than what got through, which fits; acked is zero where that is not known.
func (l *losses) cut(now, rtt time.Duration, rate, acked Rate) (Rate, bool) {
	if !l.fresh || l.share <= l.tolerable() || l.cutAt != 0 && now-l.cutAt < rtt+lossPause {
		return 0, false
	}
	l.fresh, l.cutAt = false, now
	if l.share > severeLoss && acked > 0 {
		return Rate(float64(acked) * 0.95), true
	}
	return max(Rate(float64(rate)*(1-l.share/2)), acked), true
}
