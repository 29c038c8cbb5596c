package discovery

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"
)

// watchers tells whoever watches a topic its newest value. Nobody pushes values: after a change the
// topic is refreshed, that is read again under one lock, so that an older value can never overtake.
type watchers[T any] struct {
	// read returns a topic's present value, and false if it cannot be read now: watchers keep what they had.
	read func(topic string) (T, bool)
	same func(a, b T) bool
	// quiet topics say nothing at first if they hold the zero value.
	quiet bool
	// active, if set, is told when a topic gets its first watcher and loses its last.
	active func(topic string, on bool)

	mu      sync.Mutex
	byTopic map[string]map[*watcher[T]]struct{}
}

type watcher[T any] struct {
	// ch holds one value, the newest; only code under the lock sends on it.
	ch   chan T
	last T
	sent bool
}

func newWatchers[T any](read func(string) (T, bool), same func(a, b T) bool, quiet bool) *watchers[T] {
	return &watchers[T]{read: read, same: same, quiet: quiet, byTopic: make(map[string]map[*watcher[T]]struct{})}
}

// add starts a watch that closes when ctx ends.
func (w *watchers[T]) add(ctx context.Context, topic string) <-chan T {
	one := &watcher[T]{ch: make(chan T, 1), sent: w.quiet}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byTopic[topic] == nil {
		w.byTopic[topic] = make(map[*watcher[T]]struct{})
		w.switchTo(topic, true)
	}
	w.byTopic[topic][one] = struct{}{}
	if value, ok := w.read(topic); ok {
		w.offer(one, value)
	}
	context.AfterFunc(ctx, func() { w.remove(topic, one) })
	return one.ch
}

func (w *watchers[T]) remove(topic string, one *watcher[T]) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.byTopic[topic][one]; !ok {
		return
	}
	close(one.ch)
	delete(w.byTopic[topic], one)
	if len(w.byTopic[topic]) == 0 {
		delete(w.byTopic, topic)
		w.switchTo(topic, false)
	}
}

func (w *watchers[T]) switchTo(topic string, on bool) {
	if w.active != nil {
		w.active(topic, on)
	}
}

// refresh reads a topic again and tells its watchers if it changed. It never waits for a reader.
func (w *watchers[T]) refresh(topic string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refreshLocked(topic)
}

func (w *watchers[T]) refreshAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for topic := range w.byTopic {
		w.refreshLocked(topic)
	}
}

func (w *watchers[T]) refreshLocked(topic string) {
	if len(w.byTopic[topic]) == 0 {
		return
	}
	value, ok := w.read(topic)
	if !ok {
		return
	}
	for one := range w.byTopic[topic] {
		w.offer(one, value)
	}
}

func (w *watchers[T]) offer(one *watcher[T], value T) {
	if one.sent && w.same(one.last, value) {
		return
	}
	one.last, one.sent = value, true
	select {
	case <-one.ch:
	default:
	}
	one.ch <- value
}

// closeAll ends every watch before its context does.
func (w *watchers[T]) closeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for topic, set := range w.byTopic {
		for one := range set {
			close(one.ch)
		}
		delete(w.byTopic, topic)
		w.switchTo(topic, false)
	}
}

func sameEntry(a, b Entry) bool { return a.Index == b.Index && bytes.Equal(a.Value, b.Value) }

func sameServices(a, b []Service) bool {
	return slices.EqualFunc(a, b, func(x, y Service) bool {
		meta := maps.Equal(x.Meta, y.Meta)
		return meta && x.Name == y.Name && x.ID == y.ID && x.Node == y.Node && x.Region == y.Region &&
			x.Health == y.Health && x.Maintenance == y.Maintenance && x.Stale == y.Stale
	})
}
