package gateway

import (
	"maps"
	"time"

	"github.com/wardline/wardline/core/discovery"
)

// whereabouts is where a gateway is, as far as another one can tell.
type whereabouts int

const (
	// here is a gateway that the catalog shows, or that has not been missing for long.
	here whereabouts = iota
	// unreachable is one of a region that has not answered for long: its people may be gone, or cut off with it.
	unreachable
	// vanished is one that its region no longer has.
	vanished
)

const (
	// missedSweeps is how many looks at the catalog a gateway has to miss before it counts as vanished.
	missedSweeps = 2
	// unreachableAfter is how long a region may not answer before its gateways count as unreachable.
	unreachableAfter = 15 * time.Second
)

// attendance remembers, sweep by sweep, which gateways the catalog did not show.
type attendance struct {
	self   string
	missed map[string]int
	stale  map[string]time.Time // since when, of gateways in regions that do not answer
}

func newAttendance(self string) *attendance {
	return &attendance{self: self, missed: make(map[string]int), stale: make(map[string]time.Time)}
}

// take takes note of the catalog; named are the gateways that matter, those in a record.
func (a *attendance) take(services []discovery.Service, named map[string]bool, now time.Time) {
	present, stale := map[string]bool{a.self: true}, make(map[string]bool)
	for _, s := range services {
		present[s.ID], stale[s.ID] = true, s.Stale
	}
	maps.DeleteFunc(a.missed, func(id string, _ int) bool { return present[id] || !named[id] })
	maps.DeleteFunc(a.stale, func(id string, _ time.Time) bool { return !stale[id] || !named[id] })
	for id := range named {
		if !present[id] {
			a.missed[id]++
		}
		if _, known := a.stale[id]; stale[id] && !known {
			a.stale[id] = now
		}
	}
}

// of says where a gateway is.
func (a *attendance) of(id string, now time.Time) whereabouts {
	since, stale := a.stale[id]
	switch {
	case a.missed[id] >= missedSweeps:
		return vanished
	case stale && now.Sub(since) >= unreachableAfter:
		return unreachable
	}
	return here
}
