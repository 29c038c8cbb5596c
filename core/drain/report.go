package drain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/wardline/wardline/core/discovery"
)

// reporter is what Run knows of the record in the store.
type reporter struct {
	// met is set once the record of an earlier process was looked for.
	met bool
	// failing is set while the store does not take the record.
	failing bool
}

// report keeps the record in the store until ctx ends, and then says once more how things stand.
func (w *Watcher) report(ctx context.Context) {
	every(ctx, w.config.Report, w.news, func() { w.sync(ctx) })
	w.sync(context.WithoutCancel(ctx))
}

// sync reads what is in the store, heeds an undrain there, and writes what is different.
func (w *Watcher) sync(ctx context.Context) {
	err := w.exchange(ctx)
	if errors.Is(err, discovery.ErrConflict) {
		err = w.exchange(ctx) // somebody wrote, perhaps an undrain
	}
	if failing := err != nil; failing != w.reporter.failing && ctx.Err() == nil {
		w.reporter.failing = failing
		w.config.Log.Warn().Err(err).Str("service", w.config.ID).Bool("written", !failing).Msg("drain record")
	}
}

func (w *Watcher) exchange(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	entry, err := w.config.KV.Get(ctx, w.key())
	if err != nil && !errors.Is(err, discovery.ErrNotFound) {
		return fmt.Errorf("read drain record: %w", err)
	}
	w.heed(entry.Value)
	value, err := json.Marshal(w.record())
	if err != nil {
		return fmt.Errorf("encode drain record: %w", err)
	}
	if bytes.Equal(value, entry.Value) {
		return nil
	}
	if _, err := w.config.KV.CompareAndSet(ctx, w.key(), value, entry.Index); err != nil {
		return fmt.Errorf("write drain record: %w", err)
	}
	return nil
}

func (w *Watcher) key() string { return Key(w.config.Service, w.config.ID) }

// heed acts on what was found in the store: an undrain, or at first the latched drain of an earlier process. What makes
// no sense is overwritten.
func (w *Watcher) heed(value []byte) {
	found, err := parse(value)
	first := !w.reporter.met
	w.reporter.met = true
	switch {
	case len(value) == 0 || err != nil:
	case found.Undrain:
		w.change(state.undrain)
	case first && found.Latched:
		w.change(func(s state) state { return s.latch(found.Reason) })
	}
}

// record is how things stand.
func (w *Watcher) record() Record {
	encounters, participants := w.config.Carried()
	w.mu.Lock()
	defer w.mu.Unlock()
	on, _, reason := w.state.draining()
	r := Record{
		State: Serving, Reason: reason, Latched: w.state.latched, Since: w.since.UTC(),
		Encounters: encounters, Participants: participants,
	}
	switch {
	case on && encounters == 0 && participants == 0:
		r.State = Drained
	case on:
		r.State = Draining
	}
	return r
}
