package federation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
)

// maxWrites is how often a write is sent to one region when its answer is lost.
const maxWrites = 3

// write stores next, which is based on the survey's best copy or new, in the writing region, or in the first home in reach
// under a term of its own. It returns the stored copy, or encounter.ErrConflict or discovery.ErrUnavailable.
func (s *Store) write(ctx context.Context, v *survey, next encounter.Encounter) (encounter.Encounter, error) {
	var failures []error
	for i, term := range v.terms(next.Homes) {
		region := next.Homes[term%uint64(len(next.Homes))]
		a := v.answers[region]
		if a.err != nil {
			failures = append(failures, fmt.Errorf("region %s: %w", region, a.err))
			continue
		}
		written, err := s.put(ctx, a, v.under(term, next))
		switch {
		case err == nil:
			if i > 0 {
				s.tookOver(written)
			}
			s.keepOwn(ctx, v, written)
			s.levelSoon(v.key, 0)
			return written, nil
		case !errors.Is(err, discovery.ErrUnavailable):
			return encounter.Encounter{}, err
		}
		failures = append(failures, err)
	}
	return encounter.Encounter{}, unavailable(v.key, errors.Join(failures...))
}

// keepOwn stores a write in the own region as well before its writer goes on: it outlives the writing region from then on,
// and List finds it. If that fails, it is spread later like to the others.
func (s *Store) keepOwn(ctx context.Context, v *survey, written encounter.Encounter) {
	a, asked := v.answers[s.config.Own]
	if !asked || a.err != nil || written.Writer() == s.config.Own || !slices.Contains(written.Homes, s.config.Own) {
		return
	}
	if _, err := s.put(ctx, a, written); err == nil {
		s.metrics.replicas.Inc()
	}
}

func (s *Store) tookOver(e encounter.Encounter) {
	s.metrics.takeOvers.Inc()
	s.config.Log.Warn().Str("tenant", e.Tenant).Str("encounter", e.ID).Str("region", e.Writer()).
		Uint64("term", e.Term).Msg("record taken over")
}

// terms lists the terms under which a record may be written, its own first, then one for each other home in order. What comes
// after a deletion may have other homes, so the term of before is nobody's there.
func (v *survey) terms(homes []string) []uint64 {
	if !v.exists {
		terms := make([]uint64, len(homes))
		for i := range homes {
			terms[i] = uint64(i)
		}
		return terms
	}
	var terms []uint64
	if !v.best.Gone {
		terms = append(terms, v.best.Term)
	}
	for _, region := range homes {
		if !v.best.Gone && region == v.best.Writer() {
			continue
		}
		if term, ok := encounter.NextTerm(homes, region, v.best.Term); ok {
			terms = append(terms, term)
		}
	}
	return terms
}

// under returns next as the following version under a term. A changed placement carries that term.
func (v *survey) under(term uint64, next encounter.Encounter) encounter.Encounter {
	next = next.Clone()
	next.Term, next.Version = term, v.best.Version+1
	if v.exists {
		next.Remember(v.best.Stamp())
	}
	if next.Placement != v.best.Placement {
		next.Placement.Term = max(next.Placement.Term, term)
	}
	return next
}

// put stores next in a region over the copy that the region answered with, of which next knows everything.
func (s *Store) put(ctx context.Context, a answer, next encounter.Encounter) (encounter.Encounter, error) {
	if next.Version > encounter.MaxVersion {
		return encounter.Encounter{}, fmt.Errorf("encounter %s/%s: more than %d writes", next.Tenant, next.ID, encounter.MaxVersion)
	}
	next.Revision = 0
	if a.found {
		next.Revision = a.copy.Revision
	}
	var written encounter.Encounter
	err := s.ask(ctx, a.region, func(ctx context.Context) (err error) {
		written, err = putOnce(ctx, a.region, next)
		return err
	})
	if err != nil {
		return encounter.Encounter{}, err
	}
	return written, nil
}

// putOnce writes and, if the answer is lost while the region still answers, looks whether the write happened.
func putOnce(ctx context.Context, r *region, next encounter.Encounter) (encounter.Encounter, error) {
	written, err := r.store.CompareAndSet(ctx, next)
	for try := 1; try < maxWrites && !answered(err) && rest(ctx, jitter(retryPause)); try++ {
		held, readErr := r.store.Get(ctx, next.Key)
		switch {
		case errors.Is(readErr, encounter.ErrNotFound):
			held = encounter.Encounter{}
		case readErr != nil:
			return encounter.Encounter{}, err
		case same(held, next):
			return held, nil
		}
		if held.Revision != next.Revision {
			return encounter.Encounter{}, conflict(next.Key)
		}
		written, err = r.store.CompareAndSet(ctx, next)
		if errors.Is(err, encounter.ErrConflict) { // perhaps with our own first attempt
			if held, readErr := r.store.Get(ctx, next.Key); readErr == nil && same(held, next) {
				return held, nil
			}
		}
	}
	return written, err
}

// same reports whether two copies would be stored as the same bytes.
func same(a, b encounter.Encounter) bool {
	left, err := json.Marshal(a)
	if err != nil {
		return false
	}
	right, err := json.Marshal(b)
	return err == nil && bytes.Equal(left, right)
}

// unite stores what the survey's copies have together. If that does not fit into one value, the best copy stays and the
// others are given up.
func (s *Store) unite(ctx context.Context, v *survey) (encounter.Encounter, error) {
	written, err := s.write(ctx, v, v.united())
	if errors.Is(err, encounter.ErrTooLarge) {
		s.config.Log.Error().Err(err).Str("tenant", v.key.Tenant).Str("encounter", v.key.ID).Msg("record too large to merge")
		kept := v.best.Clone()
		for _, other := range v.diverged {
			kept.Remember(append(slices.Clone(other.Past), other.Stamp())...)
		}
		written, err = s.write(ctx, v, kept)
	}
	if err == nil {
		s.metrics.merges.Inc()
		s.config.Log.Info().Str("tenant", written.Tenant).Str("encounter", written.ID).Str("region", written.Writer()).
			Uint64("term", written.Term).Msg("record merged")
	}
	return written, err
}
