package sfu

import (
	"sync"
	"time"
)

// keyFrames decides when a publisher is asked for a key frame: at once, further times at most every interval, and time and again
// until one comes, since requests are lost like any packet (RFC 4585, section 6.3.1).
type keyFrames struct {
	every time.Duration

	mu     sync.Mutex
	asked  time.Time // last
	wanted bool      // since then, or since nothing came of it
}

// request reports whether to ask now.
func (k *keyFrames) request(now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wanted = true
	if !k.asked.IsZero() && now.Sub(k.asked) < k.every {
		return false
	}
	k.asked = now
	return true
}

// came takes note of a key frame.
func (k *keyFrames) came() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wanted = false
}

// due reports whether to ask now because one is wanted still. heard is when the last packet came: who was silent since the last
// time is asked once it is heard.
func (k *keyFrames) due(now, heard time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.wanted || now.Sub(k.asked) < k.every || heard.Before(k.asked) {
		return false
	}
	k.asked = now
	return true
}
