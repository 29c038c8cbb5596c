package federationtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/wardline/wardline/core/encounter"
)

// Watcher notes what a watch shows, and what it must never show.
type Watcher struct {
	mu     sync.Mutex
	newest encounter.Encounter
	wrong  []string
}

// Follow watches a record until the test ends.
func Follow(t *testing.T, store encounter.Store, key encounter.Key) *Watcher {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &Watcher{}
	watch := store.Watch(ctx, key)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range watch {
			w.note(e)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

func (w *Watcher) note(e encounter.Encounter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.Revision <= w.newest.Revision {
		w.wrong = append(w.wrong, fmt.Sprintf("revision %d after %d", e.Revision, w.newest.Revision))
	}
	before, now := w.newest.Placement, e.Placement
	if now.Epoch < before.Epoch || now.Term < before.Term {
		w.wrong = append(w.wrong, fmt.Sprintf("placement %+v after %+v", now, before))
	}
	if now.Epoch == before.Epoch && before.Placed() && now.SFU != before.SFU {
		w.wrong = append(w.wrong, fmt.Sprintf("two SFUs under one epoch: %+v after %+v", now, before))
	}
	w.newest = e
}

// Last returns what the watch showed last.
func (w *Watcher) Last() encounter.Encounter {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.newest
}

// Faults lists revisions, epochs and terms that went back, and epochs that had two SFUs.
func (w *Watcher) Faults() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.wrong)
}
