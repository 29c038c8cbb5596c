package timeline

import (
	"cmp"
	"slices"
	"time"
)

// View is one participant's state, built event by event.
type View struct {
	Person
	// Started is when the client was started, Connected whether its signaling works, Ended whether it is over and Why.
	Started   time.Time
	Connected bool
	Ended     bool
	Why       string
	// Gateway, SFU, Region, Relay and Epoch are those in use.
	Gateway, SFU, Region, Relay string
	Epoch                       uint64

	flows map[string]*flow
}

// flow is the media of one other participant.
type flow struct {
	first time.Time
	gaps  []Gap // in order; the last may go on
}

// on reports whether media flows now.
func (f *flow) on() bool { return len(f.gaps) == 0 || !f.gaps[len(f.gaps)-1].To.IsZero() }

// NewView is a participant of whom nothing is known.
func NewView(p Person) *View { return &View{Person: p, flows: map[string]*flow{}} }

// From reports whether media of that participant flows now.
func (v *View) From(name string) bool {
	f := v.flows[name]
	return f != nil && f.on()
}

// Flowing reports whether anybody's media flows now.
func (v *View) Flowing() bool {
	for _, f := range v.flows {
		if f.on() {
			return true
		}
	}
	return false
}

// FirstMedia is when media came for the first time, zero if it never did.
func (v *View) FirstMedia() (first time.Time) {
	for _, f := range v.flows {
		first = sooner(first, f.first)
	}
	return first
}

// Gaps are the times without media from anybody, after the first media.
func (v *View) Gaps() []Gap {
	first := v.FirstMedia()
	if first.IsZero() {
		return nil
	}
	gaps := []Gap{{From: first}}
	for _, f := range v.flows {
		gaps = common(gaps, append([]Gap{{To: f.first}}, f.gaps...))
	}
	return slices.DeleteFunc(gaps, func(g Gap) bool { return !g.reaches(g.From) })
}

// Apply takes the next event of this participant.
func (v *View) Apply(e Event) {
	switch e.Kind {
	case Started:
		v.Started = e.At
	case Connected:
		v.Connected, v.Gateway = true, cmp.Or(e.Gateway, v.Gateway)
	case Disconnected:
		v.Connected = false
	case Placed:
		v.SFU, v.Region, v.Epoch = e.SFU, e.Region, e.Epoch
	case MediaOn:
		v.mediaOn(e.From, e.At)
	case MediaOff:
		since := e.Since
		if since.IsZero() {
			since = e.At
		}
		v.mediaOff(e.From, since)
	case Ended:
		v.Ended, v.Connected, v.Why = true, false, e.Text
		for from := range v.flows {
			v.mediaOff(from, e.At)
		}
	default: // what does not change the state
	}
	v.Relay = cmp.Or(e.Relay, v.Relay)
}

func (v *View) mediaOn(from string, at time.Time) {
	f := v.flows[from]
	switch {
	case f == nil:
		v.flows[from] = &flow{first: at}
	case !f.on():
		last := &f.gaps[len(f.gaps)-1]
		last.To = later(at, last.From.Add(1)) // a gap has a length
	}
}

// mediaOff begins a gap, unless it tells of one that is known already.
func (v *View) mediaOff(from string, since time.Time) {
	f := v.flows[from]
	if f == nil || !f.on() {
		return
	}
	if last := len(f.gaps) - 1; last >= 0 && since.Before(f.gaps[last].To) {
		if f.gaps[last].contains(since) {
			return
		}
		since = f.gaps[last].To
	}
	f.gaps = append(f.gaps, Gap{From: later(since, f.first)})
}

// Views replays events in their order of time.
func Views(events []Event) map[Person]*View {
	sorted := slices.Clone(events)
	slices.SortStableFunc(sorted, func(a, b Event) int { return a.At.Compare(b.At) })
	views := map[Person]*View{}
	for _, e := range sorted {
		if e.Participant == "" {
			continue
		}
		p := Person{e.Visit, e.Participant}
		if views[p] == nil {
			views[p] = NewView(p)
		}
		views[p].Apply(e)
	}
	return views
}
