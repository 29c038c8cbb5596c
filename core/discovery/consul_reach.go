package discovery

import (
	"sync"
	"time"
)

// consulReach knows which regions answer. The own region's name is "".
type consulReach struct {
	patience time.Duration

	mu      sync.Mutex
	regions map[string]*regionReach
	changed chan struct{}
}

// regionReach is how a region answered lately.
type regionReach struct {
	heard time.Time
	stale bool
	// returned is closed, and replaced, when a stale region answers again.
	returned chan struct{}
}

func newConsulReach(patience time.Duration) *consulReach {
	return &consulReach{patience: patience, regions: make(map[string]*regionReach), changed: make(chan struct{})}
}

// of returns a region; the caller holds the lock.
func (r *consulReach) of(region string) *regionReach {
	one := r.regions[region]
	if one == nil {
		one = &regionReach{heard: time.Now(), returned: make(chan struct{})}
		r.regions[region] = one
	}
	return one
}

// answered notes that a region did.
func (r *consulReach) answered(region string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	one := r.of(region)
	one.heard = now
	if one.stale {
		one.stale = false
		close(one.returned)
		one.returned = make(chan struct{})
		r.change()
	}
}

// silent notes that a region did not answer, and reports whether it became stale by that.
func (r *consulReach) silent(region string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	one := r.of(region)
	if one.stale || now.Sub(one.heard) < r.patience {
		return false
	}
	one.stale = true
	r.change()
	return true
}

// change tells whoever waits; the caller holds the lock.
func (r *consulReach) change() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// stale reports whether a region has not answered for a while.
func (r *consulReach) stale(region string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	one := r.regions[region]
	return one != nil && one.stale
}

// changes is closed when a region becomes stale, or answers again.
func (r *consulReach) changes() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// returned is closed when a region that was or becomes stale answers again.
func (r *consulReach) returned(region string) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of(region).returned
}
