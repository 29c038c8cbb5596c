package sfu

import (
	"sync"
	"time"
)

// throttle lets one action through at once and further ones at most every interval. One that came too
// early is remembered and let through by the first due call after the interval.
type throttle struct {
	every time.Duration

	mu     sync.Mutex
	last   time.Time
	wanted bool
}

// request reports whether to act now.
func (t *throttle) request(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.last.IsZero() && now.Sub(t.last) < t.every {
		t.wanted = true
		return false
	}
	t.last, t.wanted = now, false
	return true
}

// due reports whether to act now for a request that came too early.
func (t *throttle) due(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.wanted || now.Sub(t.last) < t.every {
		return false
	}
	t.last, t.wanted = now, false
	return true
}
