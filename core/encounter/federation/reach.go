package federation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
)

// listPatience is how many times longer a list of all records may take than one record.
const listPatience = 4

// patrolShare is how many times rarer regions in reach are asked than those out of reach.
const patrolShare = 5

// probe is a record that does not exist; asking for it tells whether a region answers.
var probe = encounter.Key{Tenant: "ready", ID: "ready"}

// Reasons why a region did not answer.
var (
	errOutOfReach = fmt.Errorf("%w: out of reach", discovery.ErrUnavailable)
	errSlow       = fmt.Errorf("%w: slower than the others", discovery.ErrUnavailable)
)

// region is one region's copies.
type region struct {
	name     string
	store    *encounter.KVStore
	patience time.Duration
	// down and probed, whether somebody probes it, are guarded by Store.mu.
	down, probed bool
}

func (s *Store) region(name string) *region {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.regions[name]
	if r == nil {
		r = &region{name: name, store: encounter.NewKVStore(s.config.KV(name)), patience: s.config.Patience}
		if name == s.config.Own {
			r.patience = s.config.OwnPatience
		}
		s.regions[name] = r
	}
	return r
}

// ownFirst lists all regions, the own one first.
func (s *Store) ownFirst() []string {
	names := []string{s.config.Own}
	for _, name := range s.config.Order() {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// homesFor returns the homes of a new record: the regions that policy names, as far as they are federated. A policy that
// names none of them says nothing here; placement refuses it.
func (s *Store) homesFor(policy []string) []string {
	order := s.config.Order()
	if len(order) == 0 {
		order = []string{s.config.Own}
	}
	var homes []string
	for _, name := range policy {
		if slices.Contains(order, name) && !slices.Contains(homes, name) {
			homes = append(homes, name)
		}
	}
	if len(homes) == 0 {
		homes = slices.Clone(order)
	}
	return homes[:min(len(homes), encounter.MaxHomes)]
}

// answered tells an answer, a refusal included, from silence.
func answered(err error) bool {
	if err == nil {
		return true
	}
	for _, refusal := range []error{
		encounter.ErrNotFound, encounter.ErrConflict, encounter.ErrDamaged, encounter.ErrTooLarge, encounter.ErrKey, discovery.ErrInvalid,
	} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

func (s *Store) isDown(r *region) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return r.down
}

// allDown reports whether no region is in reach. Then each is asked all the same: perhaps it was this process that hung.
func (s *Store) allDown() bool {
	for _, name := range s.ownFirst() {
		if !s.isDown(s.region(name)) {
			return false
		}
	}
	return true
}

// ask runs op in a region with its patience. A region that does not answer is out of reach until it does, and
// the error is discovery.ErrUnavailable; the end of ctx is nobody's fault.
func (s *Store) ask(ctx context.Context, r *region, op func(context.Context) error) error {
	if s.isDown(r) && !s.allDown() {
		return fmt.Errorf("region %s: %w", r.name, errOutOfReach)
	}
	limited, cancel := context.WithTimeout(ctx, r.patience)
	defer cancel()
	err := op(limited)
	if answered(err) {
		s.heard(r)
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("region %s: %w", r.name, ctx.Err())
	}
	s.silent(r, err)
	return fmt.Errorf("region %s: %w: %w", r.name, discovery.ErrUnavailable, err)
}

// silent notes that a region is out of reach, and has it probed until it answers.
func (s *Store) silent(r *region, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.down || s.closed {
		return
	}
	r.down = true
	s.metrics.outOfReach.Inc()
	s.config.Log.Warn().Err(why).Str("region", r.name).Msg("region out of reach")
	if !r.probed { // by who still rests since it was silent before
		r.probed = true
		s.work.Go(func() { s.probe(r) })
	}
}

func (s *Store) probe(r *region) {
	for rest(s.life, jitter(s.config.Retry)) && s.stillDown(r) {
		ctx, cancel := context.WithTimeout(s.life, r.patience)
		_, err := r.store.Get(ctx, probe)
		cancel()
		if answered(err) {
			s.heard(r)
		}
	}
}

// stillDown ends the probing of a region that is in reach again.
func (s *Store) stillDown(r *region) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.probed = r.down
	return r.down
}

// heard notes that a region has answered.
func (s *Store) heard(r *region) {
	s.mu.Lock()
	again := r.down
	r.down = false
	s.mu.Unlock()
	if again {
		s.metrics.outOfReach.Dec()
		s.config.Log.Info().Str("region", r.name).Msg("region in reach again")
		s.levelAll()
	}
}

// patrol asks every region now and then, so that one out of reach is known before a visit has to wait for it.
func (s *Store) patrol() {
	for rest(s.life, jitter(patrolShare*s.config.Retry)) {
		for _, name := range s.ownFirst() {
			r := s.region(name)
			s.spawn(func() { s.read(s.life, r, probe) })
		}
	}
}

// Reach tells of every federated region whether it answered lately; one never asked counts as in reach.
func (s *Store) Reach() map[string]bool {
	reach := make(map[string]bool)
	for _, name := range s.ownFirst() {
		reach[name] = !s.isDown(s.region(name))
	}
	return reach
}

// jitter is between three quarters of d and five.
func jitter(d time.Duration) time.Duration {
	return d*3/4 + rand.N(d/2+1) //nolint:gosec // G404: spreads attempts, guards nothing
}

// rest waits and reports whether ctx lasted.
func rest(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
