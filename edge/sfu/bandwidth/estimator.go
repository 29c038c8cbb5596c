package bandwidth

import (
	"math"
	"time"
)

const (
	// backoff is what an overused path is given of what it delivered.
	backoff = 0.85
	// growth is how much more a path that is not overused is trusted with, a second.
	growth = 1.08
	// ackedWindow is how far back the delivered rate looks.
	ackedWindow = 500 * time.Millisecond
	ackedRecent = 200 * time.Millisecond
	// maxAcked bounds the packets remembered for it.
	maxAcked = sentSize
	// silentAfter is how long, beside two round trips, sending goes on without any feedback before the estimate falls.
	silentAfter = time.Second
	// darkShare of what an unknown path is trusted with is left to one of which nothing is heard, so that pictures go on once it is back.
	darkShare = 4
	// packetBits is a full packet: what additive growth adds for each response time.
	packetBits = 1200 * 8
)

// Estimator follows one path. It combines the delay gradient, loss and what the receiver got, in the manner
// of Google congestion control (draft-ietf-rmcat-gcc-02), and takes the results of probes. It is not safe for
// concurrent use.
type Estimator struct {
	start, floor, ceiling, rate Rate

	delays *delays
	queue  standing
	losses losses
	acked  throughput
	link   capacity
	rtt    time.Duration
	probe  probe

	updated      time.Duration // of the newest feedback
	grewAt       time.Duration
	congestedAt  time.Duration
	sawCongested bool
	waits        bool          // something has left since that feedback
	waitsSince   time.Duration // when that was noticed, or the estimate was halved for it
	dark         bool          // nothing is heard of what leaves
	returned     time.Duration // when that last ended
	padded       time.Duration // until then what arrived is in part the padding of a probe
}

// New returns an estimator that starts at a rate and stays between floor and ceiling.
func New(start, floor, ceiling Rate) *Estimator {
	return &Estimator{start: start, floor: floor, ceiling: ceiling, rate: start, delays: newDelays(), rtt: 100 * time.Millisecond}
}

// Rate is what the path is thought to carry.
func (e *Estimator) Rate() Rate { return e.rate }

// Heard reports whether any feedback came.
func (e *Estimator) Heard() bool { return e.updated != 0 }

// Interrupted reports, once, that all that was sent for at least a second is lost: the path was gone, and is back.
func (e *Estimator) Interrupted() bool {
	was := e.losses.interrupted
	e.losses.interrupted = false
	return was
}

// congestedSince is how long ago the path last showed that it was full; false if it never did.
func (e *Estimator) congestedSince(now time.Duration) (time.Duration, bool) {
	return now - e.congestedAt, e.sawCongested
}

// Update takes the results of one feedback message, in the order of sending.
func (e *Estimator) Update(now time.Duration, results []Result) {
	if len(results) == 0 {
		return
	}
	e.heard(now)
	rtt := time.Duration(math.MaxInt64)
	e.delays.state = normal
	congested := false
	for i := range results {
		r := &results[i]
		e.losses.add(r)
		e.probe.add(r)
		if r.Lost {
			continue
		}
		rtt = min(rtt, now-r.Sent)
		e.acked.add(r)
		e.delays.add(r)
		congested = congested || e.delays.state == overuse
	}
	stands := false
	if rtt < math.MaxInt64 {
		e.rtt, stands = rtt, e.queue.add(now, rtt)
	}
	probing := e.probe.begun
	e.probed(now)
	switch {
	case probing:
		// A probe overuses on purpose; what it measured counts.
	case stands && e.acked.rate() > e.rate/4: // a queue of who sends far less than fits is another's, or none
		e.congest(now, Rate(float64(e.acked.rate())*drain))
	case congested:
		e.congest(now, Rate(float64(e.delivered())*backoff))
	case e.delays.state == underuse:
		e.grewAt = now // a queue drains: let it
	default:
		e.grow(now)
	}
	if cut, ok := e.losses.cut(now, e.rtt, e.rate, e.acked.rate()); ok && !probing {
		e.congest(now, cut)
	}
}

// heard takes note of feedback; nothing grew before the first, or while there was none.
func (e *Estimator) heard(now time.Duration) {
	if e.updated == 0 || e.dark {
		e.grewAt = now
	}
	if e.dark {
		e.dark, e.returned = false, now
	}
	e.updated, e.waits = now, false
}

// Tick halves the estimate when packets leave and nothing is heard of them for long enough: that says nothing about what the path carries
// when it is back, so that it is probed at once then. sending says that any left since the last tick.
func (e *Estimator) Tick(now time.Duration, sending bool) {
	e.probe.expire(now)
	if e.updated == 0 || !sending {
		return
	}
	if !e.waits {
		e.waits, e.waitsSince = true, now
	}
	if now-e.waitsSince > silentAfter+2*e.rtt {
		e.waitsSince, e.dark = now, true
		e.set(max(e.rate/2, min(e.rate, e.start/darkShare)))
	}
}

// delivered is what arrived in a moment, or else, where that is not known after an outage, what is thought to fit.
func (e *Estimator) delivered() Rate {
	if recent := e.acked.recent(); recent > 0 {
		return recent
	}
	return e.rate
}

// congest lowers the estimate to what a full path has shown to carry.
func (e *Estimator) congest(now time.Duration, to Rate) {
	e.congestedAt, e.sawCongested, e.grewAt = now, true, now
	if to < e.rate {
		e.link.saw(e.acked.rate())
		e.set(to)
	}
}

// grow raises the estimate: fast far from where the path was last seen to be full, slowly near to it, and not
// far beyond what is being sent, since that is no proof of more.
func (e *Estimator) grow(now time.Duration) {
	acked := e.acked.rate()
	since := min(now-e.grewAt, time.Second)
	e.grewAt = now
	if acked == 0 || now < e.padded {
		return
	}
	grown := Rate(float64(e.rate) * math.Pow(growth, since.Seconds()))
	if e.link.near(acked) {
		response := e.rtt + 100*time.Millisecond
		grown = e.rate + Rate(float64(packetBits)*since.Seconds()/response.Seconds())
	}
	limit := acked + acked/2 + 10_000
	if grown = min(grown, limit); grown > e.rate {
		e.set(grown)
	}
}

func (e *Estimator) set(to Rate) { e.rate = min(max(to, e.floor), e.ceiling) }

// throughput is the rate at which packets arrived lately.
type throughput struct {
	packets []arrival // in order; those before first are out of the window
	first   int
	bytes   int // of those in the window
}

type arrival struct {
	at   time.Duration
	size int
}

func (t *throughput) add(r *Result) {
	at := r.Arrived
	if n := len(t.packets); n > 0 {
		newest := t.packets[n-1].at
		if at < newest-ackedWindow || at-newest > reset {
			*t = throughput{packets: t.packets[:0]}
		} else {
			at = max(at, newest)
		}
	}
	t.packets = append(t.packets, arrival{at, r.Size})
	t.bytes += r.Size
	for at-t.packets[t.first].at > ackedWindow {
		t.drop()
	}
	if len(t.packets)-t.first > maxAcked { // more than any path has, or a receiver that lies about its clock
		for len(t.packets)-t.first > maxAcked/2 {
			t.drop()
		}
	}
	if t.first > len(t.packets)/2 && t.first > packetsMoved { // seldom, so that a packet costs the same however many there are
		t.packets, t.first = append(t.packets[:0], t.packets[t.first:]...), 0
	}
}

// packetsMoved is from how many packets on that are out of the window their room is used again.
const packetsMoved = 64

func (t *throughput) drop() {
	t.bytes -= t.packets[t.first].size
	t.first++
}

// rate is zero until packets of a fifth of the window have come.
func (t *throughput) rate() Rate {
	if len(t.packets) == 0 {
		return 0
	}
	return t.since(t.first, t.bytes)
}

// recent is the greater of that and what came in the last part of the window, for when more is being sent
// since a moment ago.
func (t *throughput) recent() Rate {
	n := len(t.packets)
	if n == 0 {
		return 0
	}
	newest, first, bytes := t.packets[n-1].at, n-1, t.packets[n-1].size
	for first > t.first && newest-t.packets[first-1].at <= ackedRecent {
		first--
		bytes += t.packets[first].size
	}
	return max(t.rate(), t.since(first, bytes))
}

// since is the rate of the packets from one on, which have so many bytes. The first only begins the time.
func (t *throughput) since(first, bytes int) Rate {
	span := t.packets[len(t.packets)-1].at - t.packets[first].at
	if span < ackedWindow/5 {
		return 0
	}
	return Bits(bytes-t.packets[first].size, span)
}

// capacity remembers at what rates the path was full.
type capacity struct{ mean, deviation float64 }

func (c *capacity) saw(full Rate) {
	rate := float64(full)
	if c.mean == 0 || math.Abs(rate-c.mean) > 3*c.spread() {
		c.mean, c.deviation = rate, 0
		return
	}
	c.deviation = 0.95*c.deviation + 0.05*math.Abs(rate-c.mean)
	c.mean = 0.95*c.mean + 0.05*rate
}

func (c *capacity) spread() float64 { return math.Max(c.deviation, 0.1*c.mean) }

// near forgets a limit that has turned out not to be one.
func (c *capacity) near(acked Rate) bool {
	if c.mean == 0 {
		return false
	}
	if float64(acked) > c.mean+3*c.spread() {
		c.mean = 0
		return false
	}
	return float64(acked) > c.mean-3*c.spread()
}
