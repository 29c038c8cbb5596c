package drill

import (
	"bufio"
	"context"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/wardline/wardline/edge/drill/timeline"
)

// watch collects what happens and lets others wait for it. Safe for concurrent use.
type watch struct {
	mu      sync.Mutex
	events  []timeline.Event
	views   map[timeline.Person]*timeline.View
	changed chan struct{}
	// refused is what participants said that makes no sense.
	refused error
}

func newWatch() *watch {
	return &watch{views: map[timeline.Person]*timeline.View{}, changed: make(chan struct{})}
}

func (w *watch) add(events ...timeline.Event) {
	if len(events) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range events {
		w.addOne(e)
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

// addOne leaves out what says nothing new.
func (w *watch) addOne(e timeline.Event) {
	p := timeline.Person{Visit: e.Visit, Participant: e.Participant}
	view := w.views[p]
	if e.Kind == timeline.Note && e.Text == "" && view != nil && view.Relay == e.Relay {
		return
	}
	w.events = append(w.events, e)
	if e.Participant == "" {
		return
	}
	if view == nil {
		view = timeline.NewView(p)
		w.views[p] = view
	}
	view.Apply(e)
}

// all are the events so far, in order of time.
func (w *watch) all() []timeline.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	events := slices.Clone(w.events)
	slices.SortStableFunc(events, func(a, b timeline.Event) int { return a.At.Compare(b.At) })
	return events
}

// look calls do with the views, which are valid until it returns.
func (w *watch) look(do func(map[timeline.Person]*timeline.View)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do(w.views)
}

// until waits for a condition on the views; false if the time came first.
func (w *watch) until(ctx context.Context, deadline time.Time, met func(map[timeline.Person]*timeline.View) bool) (bool, error) {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	for {
		w.mu.Lock()
		ok, changed := met(w.views), w.changed
		w.mu.Unlock()
		if ok {
			return true, nil
		}
		select {
		case <-changed:
		case <-timer.C:
			return false, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// follow reads a participant's lines to their end. relays names the relay at an address.
func (w *watch) follow(who timeline.Person, lines io.Reader, relays func(address string) string) {
	scanner := bufio.NewScanner(lines)
	scanner.Buffer(make([]byte, 0, 4096), timeline.MaxLine)
	for scanner.Scan() {
		events, err := timeline.Decode(who, scanner.Bytes())
		if err != nil {
			w.mu.Lock()
			w.refused = err
			w.mu.Unlock()
			continue
		}
		for i := range events {
			if events[i].Relay != "" {
				events[i].Relay = relays(events[i].Relay)
			}
		}
		w.add(events...)
	}
	_, _ = io.Copy(io.Discard, lines) // a line too long must not block the client
}

// said is the last senseless thing a participant said.
func (w *watch) said() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.refused
}

// people are those who are known, in order.
func people(views map[timeline.Person]*timeline.View) []timeline.Person {
	return slices.SortedFunc(maps.Keys(views), timeline.Person.Compare)
}
