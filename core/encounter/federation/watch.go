package federation

import (
	"context"
	"slices"
	"time"

	"github.com/wardline/wardline/core/encounter"
)

// maxUnevenPause bounds the growing pause between two attempts of a watch to bring a record level.
const maxUnevenPause = 5 * time.Second

// regional is a copy as one region's watch told it.
type regional struct {
	region string
	copy   encounter.Encounter
}

// watch follows one record in all its homes.
type watch struct {
	store *Store
	key   encounter.Key
	ctx   context.Context
	in    chan regional
	// following has how to stop each region's watch, copies the last state told by each.
	following map[string]context.CancelFunc
	copies    map[string]encounter.Stamp
	best      encounter.Encounter
	exists    bool
}

// Watch implements encounter.Store. It sends a copy only if that has everything sent before; copies that were written apart
// are merged first. Regions out of reach hold nothing up, and a deletion is not sent.
func (s *Store) Watch(ctx context.Context, key encounter.Key) <-chan encounter.Encounter {
	out := make(chan encounter.Encounter)
	if key.Validate() != nil {
		close(out)
		return out
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &watch{
		store: s, key: key, ctx: ctx, in: make(chan regional),
		following: make(map[string]context.CancelFunc), copies: make(map[string]encounter.Stamp),
	}
	if !s.spawn(func() {
		defer cancel()
		s.hold(key)
		defer s.release(key)
		stop := context.AfterFunc(s.life, cancel)
		defer stop()
		w.run(out)
	}) {
		cancel()
		close(out)
	}
	return out
}

func (w *watch) run(out chan<- encounter.Encounter) {
	defer close(out)
	w.follow(w.store.ownFirst())
	var next encounter.Encounter
	var ready chan<- encounter.Encounter // nil while there is nothing to send
	sent := uint64(0)
	repair := time.NewTimer(0)
	defer repair.Stop()
	repair.Stop()
	pause := time.Duration(0) // of the running repair timer, 0 while there is none
	for {
		select {
		case told := <-w.in:
			w.take(told)
			if revision := w.best.Stamp().Revision(); w.exists && !w.best.Gone && revision > sent {
				next, ready, sent = shown(w.best, w.best.Stamp()), out, revision
			}
			if pause == 0 && !w.level() {
				pause = settlePause
				repair.Reset(jitter(pause))
			}
		case ready <- next:
			ready = nil
		case <-repair.C:
			if w.level() {
				pause = 0
				continue
			}
			w.store.levelSoon(w.key, 0)
			pause = min(2*pause, maxUnevenPause)
			repair.Reset(jitter(pause))
		case <-w.ctx.Done():
			return
		}
	}
}

// take notes what a region told. A higher copy that lacks something seen before waits until it is merged.
func (w *watch) take(told regional) {
	w.copies[told.region] = told.copy.Stamp()
	newest, complete := w.store.remember(told.copy)
	if !complete {
		w.store.levelSoon(w.key, 0)
	}
	if !w.exists || w.best.Stamp().Compare(newest.Stamp()) < 0 {
		w.best, w.exists = newest, true
		w.follow(newest.Homes)
	}
}

// follow watches exactly these regions.
func (w *watch) follow(regions []string) {
	for name, stop := range w.following {
		if !slices.Contains(regions, name) {
			stop()
			delete(w.following, name)
			delete(w.copies, name)
		}
	}
	for _, name := range regions {
		if w.following[name] != nil {
			continue
		}
		ctx, stop := context.WithCancel(w.ctx)
		r := w.store.region(name)
		if !w.store.spawn(func() { w.listen(ctx, r) }) {
			stop()
			return
		}
		w.following[name] = stop
	}
}

func (w *watch) listen(ctx context.Context, r *region) {
	for e := range r.store.Watch(ctx, w.key) {
		select {
		case w.in <- regional{region: r.name, copy: promoted(e, r.name, w.store.config.Order())}:
		case <-ctx.Done():
		}
	}
}

// level reports whether every home has told of the best copy.
func (w *watch) level() bool {
	if !w.exists {
		return true
	}
	for _, name := range w.best.Homes {
		if w.copies[name] != w.best.Stamp() {
			return false
		}
	}
	return true
}
