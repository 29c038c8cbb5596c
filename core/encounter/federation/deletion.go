package federation

import (
	"context"
	"errors"
	"slices"

	"github.com/wardline/wardline/core/encounter"
)

// Delete implements encounter.Store. While a home is out of reach, which may have an older copy, the others keep that the
// record is gone, and nothing else of it; that goes as soon as every home can be told.
func (s *Store) Delete(ctx context.Context, e encounter.Encounter) error {
	if err := e.Validate(); err != nil {
		return err
	}
	unlock, err := s.lock(ctx, e.Key) // nobody here spreads it meanwhile
	if err != nil {
		return err
	}
	defer unlock()
	v, err := s.survey(ctx, e.Key, true)
	switch {
	case err != nil:
		return err
	case !v.exists:
		if err := s.absence(v); !errors.Is(err, encounter.ErrNotFound) {
			return err
		}
		return nil
	case len(v.diverged) > 0: // where it may go on
		s.levelSoon(e.Key, 0)
		return conflict(e.Key)
	case v.best.Gone:
		return nil
	case v.best.Stamp().Revision() != e.Revision:
		return conflict(e.Key)
	case s.lacksHome(v):
		grave := v.best.Clone()
		grave.Bury()
		if _, err := s.write(ctx, v, grave); err != nil {
			return err
		}
		s.forget(e.Key)
		return nil
	}
	return s.removeAll(ctx, v)
}

// lacksHome reports whether a home did not answer. One that is federated no more is not waited for.
func (s *Store) lacksHome(v *survey) bool {
	federated := s.ownFirst()
	return slices.ContainsFunc(v.best.Homes, func(name string) bool {
		err := v.answers[name].err
		return err != nil && !errors.Is(err, encounter.ErrDamaged) && slices.Contains(federated, name)
	})
}

// removeAll removes every copy.
func (s *Store) removeAll(ctx context.Context, v *survey) error {
	for name, a := range v.answers {
		if !v.best.Gone || !a.found || a.copy.Gone { // what could come back goes before what keeps it from that
			continue
		}
		if err := s.remove(ctx, a); err != nil {
			return err
		}
		a.found = false
		v.answers[name] = a
	}
	writer := v.best.Writer()
	if a := v.answers[writer]; a.found { // it decides who was first
		if err := s.remove(ctx, a); err != nil {
			return err
		}
	}
	for name, a := range v.answers {
		if name == writer || !a.found {
			continue
		}
		if err := s.remove(ctx, a); err != nil && !errors.Is(err, encounter.ErrConflict) {
			return err
		}
	}
	s.forget(v.key)
	return nil
}

func (s *Store) remove(ctx context.Context, a answer) error {
	return s.ask(ctx, a.region, func(ctx context.Context) error { return a.region.store.Delete(ctx, a.copy) })
}

// withoutGone leaves out what is left of deleted records, and has that removed where nothing needs it any more.
func (s *Store) withoutGone(list []encounter.Encounter) []encounter.Encounter {
	needed := slices.ContainsFunc(s.ownFirst(), func(name string) bool { return s.isDown(s.region(name)) })
	return slices.DeleteFunc(list, func(e encounter.Encounter) bool {
		if e.Gone && !needed {
			s.levelSoon(e.Key, settlePause)
		}
		return e.Gone
	})
}
