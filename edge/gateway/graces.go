package gateway

import (
	"maps"
	"sync"
	"time"
)

// graces knows until when a lost session can be resumed: since this gateway knew of the loss, not since the moment in the record,
// which is by another's clock, and from before a time in which no gateway was there to resume at.
type graces struct {
	length time.Duration

	mu   sync.Mutex
	seen map[loss]sighting
}

// loss is one of a session's losses.
type loss struct {
	session string
	at      int64 // in the record, Unix time in nanoseconds
}

// sighting is when this gateway saw a loss.
type sighting struct{ first, last time.Time }

func newGraces(length time.Duration) *graces {
	return &graces{length: length, seen: make(map[loss]sighting)}
}

// ends returns when the grace of a session ends that was lost at a moment of the record.
func (g *graces) ends(session string, lost, now time.Time) time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	one := loss{session, lost.UnixNano()}
	seen, known := g.seen[one]
	if !known {
		seen.first = now
	}
	seen.last = now
	g.seen[one] = seen
	return seen.first.Add(g.length)
}

// over reports whether a session can be resumed no more.
func (g *graces) over(session string, lost, now time.Time) bool {
	return !now.Before(g.ends(session, lost, now))
}

// forget drops losses that no record has had for as long as a grace: who sweeps sees those that are left all the time.
func (g *graces) forget(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	maps.DeleteFunc(g.seen, func(_ loss, seen sighting) bool { return now.Sub(seen.last) > g.length })
}
