package throttle

import (
	"sync"
	"time"
)

// Pace bounds how often each of many does something that costs, however good their tokens are. It is safe for concurrent use.
type Pace[K comparable] struct {
	mu      sync.Mutex
	buckets *buckets[K]
}

// NewPace returns a pace that nobody has used yet.
func NewPace[K comparable](c Config) *Pace[K] { return &Pace[K]{buckets: newBuckets[K](c)} }

// Take uses one attempt of a key up and returns zero, or how long it takes until there is another one. Who does not wait
// for so long waits no longer for it.
func (p *Pace[K]) Take(key K) time.Duration { return p.TakeN(key, 1) }

// TakeN is Take for what costs as much as n attempts, all of them or none.
func (p *Pace[K]) TakeN(key K, n int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.buckets.Now()
	reserved := p.buckets.of(key).ReserveN(now, n)
	wait := reserved.DelayFrom(now)
	if wait > 0 {
		reserved.CancelAt(now)
	}
	return wait
}
