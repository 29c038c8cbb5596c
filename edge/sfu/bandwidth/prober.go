package bandwidth

import "time"

const (
	// probeFor is how long a probe lasts.
	probeFor = 150 * time.Millisecond
	// ProbeStep is how often it sends.
	ProbeStep = 10 * time.Millisecond
	// probeSoonest and probeLatest are the pauses after a probe that found more, and after several that did not.
	probeSoonest, probeLatest = 300 * time.Millisecond, 4 * time.Second
	// calm is how long after congestion, besides some round trips, a path is left alone.
	calm = 700 * time.Millisecond
	// probeMargin is for the noise of the measurement; probeSteps bounds what a probe does to a slow path.
	probeMargin, probeSteps = 1.15, 3
)

// Prober decides when to look whether the path carries more. The zero value is ready.
type Prober struct {
	next, pause time.Duration
	began       time.Duration // the last probe
	before      Rate
}

// Due is the rate to probe with now: enough for missing, the rate that something better needs. False if
// nothing is missing, or it is too early.
func (p *Prober) Due(now time.Duration, e *Estimator, missing Rate) (Rate, bool) {
	if missing <= e.Rate() || e.probing() || e.updated == 0 || e.dark {
		return 0, false
	}
	if e.returned > p.began {
		p.next, p.pause = 0, 0
	}
	if now < p.next {
		return 0, false
	}
	if since, congested := e.congestedSince(now); congested && since < calm+3*e.rtt {
		return 0, false
	}
	p.pause = min(max(2*p.pause, probeSoonest), probeLatest)
	if e.Rate() > p.before {
		p.pause = probeSoonest
	}
	p.before, p.began, p.next = e.Rate(), now, now+p.pause+probeFor+e.rtt
	return min(Rate(probeMargin*float64(missing)), probeSteps*e.Rate(), e.ceiling), true
}

// Burst says how much of a probe is due.
type Burst struct {
	rate   Rate
	began  time.Duration
	before int64
}

// NewBurst begins a probe at a rate, of a connection that has sent so many bytes.
func NewBurst(now time.Duration, rate Rate, sent int64) Burst {
	return Burst{rate: rate, began: now, before: sent}
}

// Over reports whether the probe has lasted long enough.
func (b Burst) Over(now time.Duration) bool { return now-b.began >= probeFor }

// Due is how many bytes of padding are to be sent now, what was sent besides taken off.
func (b Burst) Due(now time.Duration, sent int64) int {
	due := int64(float64(b.rate) / 8 * (now - b.began + ProbeStep).Seconds())
	return int(max(0, due-(sent-b.before)))
}
