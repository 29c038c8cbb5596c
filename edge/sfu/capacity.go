package sfu

import (
	"sync"
	"time"

	"github.com/wardline/wardline/core/signaling"
)

// capacity counts who is here and who is expected. It is safe for concurrent use.
type capacity struct {
	limit      int
	reserveFor time.Duration

	mu           sync.Mutex
	draining     bool
	participants int
	hosted       map[signaling.EncounterRef]int       // participants of each encounter here
	reserved     map[signaling.EncounterRef]time.Time // and until when others are expected
}

func newCapacity(limit int, reserveFor time.Duration) *capacity {
	return &capacity{
		limit: limit, reserveFor: reserveFor,
		hosted: make(map[signaling.EncounterRef]int), reserved: make(map[signaling.EncounterRef]time.Time),
	}
}

// reserve makes room for an encounter; the code says why not, empty if it did.
func (c *capacity) reserve(ref signaling.EncounterRef, now time.Time) (code string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expire(now)
	if c.hosted[ref] > 0 {
		return ""
	}
	if _, known := c.reserved[ref]; !known {
		if code := c.takesNew(); code != "" {
			return code
		}
	}
	c.reserved[ref] = now.Add(c.reserveFor)
	return ""
}

// enter counts a participant in; the code says why not, empty if it did. Encounters that are here or
// expected may go beyond the limit, so that a full server splits nobody from their visit.
func (c *capacity) enter(ref signaling.EncounterRef, now time.Time) (code string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expire(now)
	if _, expected := c.reserved[ref]; c.hosted[ref] > 0 || expected {
		if float64(c.participants) >= float64(c.limit)*overload {
			return signaling.RefusedBusy
		}
	} else if code := c.takesNew(); code != "" {
		return code
	}
	delete(c.reserved, ref)
	c.hosted[ref]++
	c.participants++
	return ""
}

// takesNew says why an encounter that is not here is refused, empty if it is not.
func (c *capacity) takesNew() (code string) {
	switch {
	case c.draining:
		return signaling.RefusedDraining
	case c.participants+len(c.reserved) >= c.limit:
		return signaling.RefusedBusy
	}
	return ""
}

// leave counts a participant out.
func (c *capacity) leave(ref signaling.EncounterRef) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.participants--
	c.hosted[ref]--
	if c.hosted[ref] <= 0 {
		delete(c.hosted, ref)
	}
}

func (c *capacity) expire(now time.Time) {
	for ref, until := range c.reserved {
		if now.After(until) {
			delete(c.reserved, ref)
		}
	}
}

func (c *capacity) setDraining(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = on
}

func (c *capacity) isDraining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining
}

// load is the participants as a share of the limit; above 1 when overloaded.
func (c *capacity) load() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return float64(c.participants) / float64(c.limit)
}

// encounters is how many encounters have somebody here.
func (c *capacity) encounters() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.hosted)
}

// present is how many participants are here.
func (c *capacity) present() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.participants
}
