package bandwidth

import "time"

const (
	// standingEvery is the time of which the shortest round trip is looked at: jitter and the wait for feedback do not last so long.
	standingEvery = time.Second
	// standingDelay is how much longer than the shortest ever it is where a queue stands: voices wait in it.
	standingDelay = 40 * time.Millisecond
	// drain is what a path whose queue stands is given of what it delivered, for the queue to get shorter.
	drain = 0.75
	// drainWithin is how many times a round trip may remain long after that; then it is the path that got longer.
	drainWithin = 4
)

// standing notices a queue that neither grows nor drains, which the delay gradient does not show, and which loses less than a
// radio may: what is sent just fits, and all of it waits.
type standing struct {
	shortest time.Duration // round trip of the empty path, 0 if none is known
	lately   time.Duration // shortest one since
	since    time.Duration
	times    int // in a row that it was too long
}

// add takes a round trip, and reports whether the path is to be given less.
func (s *standing) add(now, rtt time.Duration) bool {
	if s.shortest == 0 {
		s.shortest, s.lately, s.since = rtt, rtt, now
	}
	s.shortest, s.lately = min(s.shortest, rtt), min(s.lately, rtt)
	if now-s.since < standingEvery {
		return false
	}
	long := s.lately-s.shortest > standingDelay
	s.times++
	switch {
	case !long:
		s.times = 0
	case s.times > drainWithin:
		s.times, s.shortest, long = 0, s.lately, false
	}
	s.lately, s.since = rtt, now
	return long && s.times == 1
}
