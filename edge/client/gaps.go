package client

import "time"

// Thresholds of the audio of somebody who sends a packet every 20 ms.
const (
	// minGap is the longest interval between two packets that is not told as a gap.
	minGap = 150 * time.Millisecond
	// silentAfter is how long nothing comes until that is told without waiting for its end.
	silentAfter = time.Second
)

// gap is an interval without audio.
type gap struct{ start, end time.Time }

func (g gap) length() time.Duration { return g.end.Sub(g.start) }

// gaps follows when one participant's audio came, whichever way it came. Not safe for concurrent use.
type gaps struct {
	last    time.Time     // the newest packet
	longest time.Duration // the longest interval that ended since the last harvest
	silent  bool          // the interval that goes on has been told
}

// heard notes a packet and returns the gap that it ends, if there is one. A packet noted late, by another
// goroutine that was overtaken, ends nothing.
func (g *gaps) heard(now time.Time) (gap, bool) {
	if g.last.IsZero() {
		g.last = now
		return gap{}, false
	}
	ended := gap{g.last, now}
	if ended.length() <= 0 {
		return gap{}, false
	}
	g.last, g.silent = now, false
	g.longest = max(g.longest, ended.length())
	return ended, ended.length() > minGap
}

// due is when an interval will have lasted for silentAfter, if that is yet to be told.
func (g *gaps) due() (at time.Time, ok bool) {
	return g.last.Add(silentAfter), !g.silent && !g.last.IsZero()
}

// fellSilent reports, once an interval, that it has lasted for silentAfter, and since when.
func (g *gaps) fellSilent(now time.Time) (since time.Time, fell bool) {
	if g.silent || g.last.IsZero() || now.Sub(g.last) < silentAfter {
		return time.Time{}, false
	}
	g.silent = true
	return g.last, true
}

// harvest returns the longest interval since the last harvest, one that goes on included from its beginning.
func (g *gaps) harvest(now time.Time) time.Duration {
	longest := g.longest
	if !g.last.IsZero() {
		longest = max(longest, now.Sub(g.last))
	}
	g.longest = 0
	return longest
}
