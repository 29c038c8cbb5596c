// Package impair is a network that is as bad as patients have them: a UDP proxy in user space that loses, delays, reorders and
// limits what passes, each direction by its own conditions, and can go away or change its address. The kernel's
// netem would need privileges that test machines do not give.
package impair

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Conditions are those of one direction. The zero value lets everything pass at once.
type Conditions struct {
	// Loss is the share of packets lost, 0 to 1.
	Loss float64 `json:"loss,omitempty"`
	// Delay is how long a packet takes at least, Jitter how much longer at most. Packets of one direction stay in order
	// unless they are reordered, as on a path with one queue.
	Delay  Milliseconds `json:"delay_ms,omitempty"`
	Jitter Milliseconds `json:"jitter_ms,omitempty"`
	// Reorder is the share of packets that are overtaken by those that come within the next 20 ms.
	Reorder float64 `json:"reorder,omitempty"`
	// Rate is how many kilobits pass in a second, 0 for any. What does not pass at once waits in a queue of at most Queue,
	// 200 ms if that is 0, and what finds it full is dropped.
	Rate  float64      `json:"rate_kbps,omitempty"`
	Queue Milliseconds `json:"queue_ms,omitempty"`
	// Outage lets nothing pass.
	Outage bool `json:"outage,omitempty"`
}

// Milliseconds is a duration as conditions are written.
type Milliseconds float64

// Duration converts.
func (m Milliseconds) Duration() time.Duration {
	return time.Duration(float64(m) * float64(time.Millisecond))
}

const (
	defaultQueue = 200 // ms
	overtaken    = 20 * time.Millisecond
	maxTime      = 60_000 // ms
)

// Validate says which value is not allowed.
func (c Conditions) Validate() error {
	for _, each := range []struct {
		name        string
		value, most float64
	}{
		{"loss", c.Loss, 1},
		{"reorder", c.Reorder, 1},
		{"delay_ms", float64(c.Delay), maxTime},
		{"jitter_ms", float64(c.Jitter), maxTime},
		{"queue_ms", float64(c.Queue), maxTime},
		{"rate_kbps", c.Rate, 1e7},
	} {
		if !(each.value >= 0 && each.value <= each.most) {
			return fmt.Errorf("%s %v: must be 0 to %v", each.name, each.value, each.most)
		}
	}
	return nil
}

// Link decides what becomes of each packet of one direction: it is the model, without a clock and a socket. Not safe for
// concurrent use.
type Link struct {
	conditions Conditions
	random     *rand.Rand
	free       time.Time // when the last bit of what was let in has passed the limit
	last       time.Time // when the latest packet in order arrives
}

// NewLink returns a link without impairments; what it will decide follows from the seed.
func NewLink(seed uint64) *Link {
	return &Link{random: rand.New(rand.NewPCG(seed, seed))} //nolint:gosec // repeatable on purpose
}

// Set changes the conditions for what comes from now on.
func (l *Link) Set(c Conditions) { l.conditions = c }

// Admit says when a packet of a size in bytes that comes now arrives at the other end, or that it does not.
func (l *Link) Admit(now time.Time, size int) (arrival time.Time, passes bool) {
	c := l.conditions
	if c.Outage || c.Loss > 0 && l.random.Float64() < c.Loss {
		return time.Time{}, false
	}
	sent := now
	if c.Rate > 0 {
		queue := c.Queue
		if queue == 0 {
			queue = defaultQueue
		}
		begin := now
		if l.free.After(now) {
			begin = l.free
		}
		if begin.Sub(now) > queue.Duration() {
			return time.Time{}, false
		}
		l.free = begin.Add(time.Duration(float64(size) * 8 / c.Rate * float64(time.Millisecond)))
		sent = l.free
	}
	arrival = sent.Add(c.Delay.Duration() + time.Duration(l.random.Float64()*float64(c.Jitter.Duration())))
	if c.Reorder > 0 && l.random.Float64() < c.Reorder {
		return arrival.Add(overtaken), true
	}
	if arrival.Before(l.last) {
		arrival = l.last
	}
	l.last = arrival
	return arrival, true
}
