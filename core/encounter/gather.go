package encounter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Gather returns a store in whose place Change writes what comes together to one encounter together: of hundreds who join at a
// time each would otherwise read, change and write all of them, most of them in vain because another one was faster. Changes
// see each other's effects in the order they came, and one that fails leaves no trace.
func Gather(s Store) Store { return &gatherer{Store: s, keys: make(map[Key]*gathering)} }

type gatherer struct {
	Store

	mu   sync.Mutex
	keys map[Key]*gathering
}

// gathering is what waits to be written to one encounter. The gatherer's lock guards it.
type gathering struct {
	waiting []*request
	users   int
	turn    chan struct{} // held by whoever writes
}

// request is one change on its way.
type request struct {
	change  func(*Encounter) error
	over    func() error  // why nobody waits for it any more
	done    chan struct{} // closed once written and err are set
	written Encounter
	err     error
}

// change is Change, written by whoever of those that wait has the turn.
func (g *gatherer) change(ctx context.Context, key Key, change func(*Encounter) error) (Encounter, error) {
	r := &request{change: change, over: ctx.Err, done: make(chan struct{})}
	at := g.enter(key, r)
	defer g.leave(key, at)
	for {
		select {
		case <-r.done:
			return r.written, r.err
		case at.turn <- struct{}{}:
			g.write(ctx, key, at)
			<-at.turn
		case <-ctx.Done():
			if g.withdraw(at, r) {
				return Encounter{}, fmt.Errorf("change encounter %s/%s: %w", key.Tenant, key.ID, ctx.Err())
			}
			// It is being written, and may touch what its caller holds: until the writer is through.
			select {
			case <-r.done:
			case at.turn <- struct{}{}:
				<-at.turn
			}
		}
	}
}

func (g *gatherer) enter(key Key, r *request) *gathering {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := g.keys[key]
	if at == nil {
		at = &gathering{turn: make(chan struct{}, 1)}
		g.keys[key] = at
	}
	at.users++
	at.waiting = append(at.waiting, r)
	return at
}

func (g *gatherer) leave(key Key, at *gathering) {
	g.mu.Lock()
	defer g.mu.Unlock()
	at.users--
	if at.users == 0 {
		delete(g.keys, key)
	}
}

// withdraw takes a request back that nobody has begun to write, and reports whether that was so.
func (g *gatherer) withdraw(at *gathering, r *request) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(at.waiting, r)
	if i >= 0 {
		at.waiting = slices.Delete(at.waiting, i, i+1)
	}
	return i >= 0
}

func (g *gatherer) take(at *gathering) []*request {
	g.mu.Lock()
	defer g.mu.Unlock()
	batch := at.waiting
	at.waiting = nil
	return batch
}

// write writes all that waits.
func (g *gatherer) write(ctx context.Context, key Key, at *gathering) {
	g.giveBack(at, g.attempt(ctx, key, g.take(at)))
}

// attempt writes a batch and returns what of it the writer's time was over for: the others' may not be.
func (g *gatherer) attempt(ctx context.Context, key Key, batch []*request) (left []*request) {
	if len(batch) == 0 || ctx.Err() != nil {
		return batch
	}
	written, err := Change(ctx, g.Store, key, func(e *Encounter) error {
		for _, r := range batch {
			next := e.Clone()
			if r.err = r.over(); r.err != nil {
				continue
			}
			if r.err = r.change(&next); r.err == nil {
				*e = next
			}
		}
		return nil
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return batch
	case errors.Is(err, ErrTooLarge) && len(batch) > 1: // one of them may be, the others are not
		half := len(batch) / 2
		left = g.attempt(ctx, key, batch[:half])
		return slices.Concat(left, g.attempt(ctx, key, batch[half:]))
	}
	for _, r := range batch {
		switch {
		case err != nil:
			r.err = err
		case r.err == nil:
			r.written = written.Clone()
		}
		close(r.done)
	}
	return nil
}

// giveBack lets another one write what is left.
func (g *gatherer) giveBack(at *gathering, left []*request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	at.waiting = append(left, at.waiting...)
}
