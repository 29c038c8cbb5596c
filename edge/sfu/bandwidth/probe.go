package bandwidth

import "time"

const (
	// probePackets is how many packets of a probe have to arrive for it to tell anything.
	probePackets = 5
	// saturated: a probe that arrives slower than this share of the rate it was sent at has met the limit.
	saturated = 0.9
	// nearly is how much of such a limit is used.
	nearly = 0.97
	// probePatience is how long after its end the feedback about a probe is waited for.
	probePatience = time.Second
)

// probe is a short time of sending more than there is to send, to see whether that arrives too.
type probe struct {
	begun, ended bool
	endedAt      time.Duration
	first, last  uint16
	complete     bool

	packets             int
	sentBytes, gotBytes int
	firstSent, lastSent time.Duration
	firstGot, lastGot   time.Duration
	firstSize, lastSize int
}

// BeginProbe notes that from the packet after number on more is sent.
func (e *Estimator) BeginProbe(number uint16) { e.probe = probe{begun: true, first: number + 1} }

// EndProbe notes that number was the last packet of the probe.
func (e *Estimator) EndProbe(now time.Duration, number uint16) {
	if e.probe.begun {
		e.probe.ended, e.probe.endedAt, e.probe.last = true, now, number
	}
}

// probing reports whether a probe is being sent, or has not been judged.
func (e *Estimator) probing() bool { return e.probe.begun }

// expire gives up on a probe whose feedback does not come.
func (p *probe) expire(now time.Duration) {
	if p.ended && now-p.endedAt > probePatience {
		*p = probe{}
	}
}

func (p *probe) add(r *Result) {
	if !p.begun || int16(r.Number-p.first) < 0 {
		return
	}
	if p.ended && int16(r.Number-p.last) >= 0 {
		p.complete = true
		if r.Number != p.last {
			return
		}
	}
	if p.sentBytes == 0 {
		p.firstSent = r.Sent
	}
	p.sentBytes += r.Size
	p.lastSent, p.lastSize = max(p.lastSent, r.Sent), r.Size
	if r.Lost {
		return
	}
	if p.packets == 0 {
		p.firstGot, p.firstSize = r.Arrived, r.Size
	}
	p.packets++
	p.gotBytes += r.Size
	p.lastGot = max(p.lastGot, r.Arrived)
}

// probed takes the result of a probe that has been reported on. What arrived as fast as it was sent fits;
// what did not shows the limit itself.
func (e *Estimator) probed(now time.Duration) {
	p := e.probe
	if !p.ended || !p.complete {
		return
	}
	e.probe = probe{}
	if p.packets < probePackets || p.lastGot <= p.firstGot || p.lastSent <= p.firstSent {
		return
	}
	sent := Bits(p.sentBytes-p.lastSize, p.lastSent-p.firstSent)
	got := Bits(p.gotBytes-p.firstSize, p.lastGot-p.firstGot)
	result := min(sent, got)
	if float64(got) < saturated*float64(sent) {
		result = Rate(nearly * float64(got))
		e.congestedAt, e.sawCongested = now, true
	}
	e.delays.restart()
	e.grewAt, e.padded = now, now+ackedWindow
	if result > e.rate {
		e.set(result)
	}
}
