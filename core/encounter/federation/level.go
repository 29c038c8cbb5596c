package federation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/wardline/wardline/core/encounter"
)

const (
	// maxLevelling bounds the records brought level at once, maxJobs those that wait for it.
	maxLevelling = 16
	maxJobs      = 4096
	// maxUneven bounds the records remembered for when a region answers again; watches and sweeps find the rest.
	maxUneven = 1 << 16
	// maxAttempts is how often a record that others keep changing is brought level, or merged, before somebody else has to.
	maxAttempts = 8
	// conflictPause is before another attempt, settlePause before copies that differ are taken for more than a write on its way.
	conflictPause = 10 * time.Millisecond
	settlePause   = 300 * time.Millisecond
)

// job brings one record level, however often that was asked for meanwhile.
type job struct {
	now   chan struct{} // holds one token: no pause any more
	done  chan struct{} // closed at the end
	again bool
}

// levelSoon brings a record's copies level in the background, after about a pause.
func (s *Store) levelSoon(key encounter.Key, pause time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if j := s.jobs[key]; j != nil {
		j.again = true
		if pause == 0 {
			j.hurry()
		}
		return
	}
	if len(s.jobs) >= maxJobs {
		s.putOff(key)
		return
	}
	j := &job{now: make(chan struct{}, 1), done: make(chan struct{})}
	if pause == 0 {
		j.hurry()
	}
	s.jobs[key] = j
	s.work.Go(func() { s.do(key, j, pause) })
}

func (j *job) hurry() {
	select {
	case j.now <- struct{}{}:
	default:
	}
}

// putOff remembers a record for when a region is in reach again. The caller holds the lock.
func (s *Store) putOff(key encounter.Key) {
	if len(s.uneven) < maxUneven {
		s.uneven[key] = struct{}{}
	}
}

// flush waits, within patience, for the records that are being brought level.
func (s *Store) flush() {
	ctx, cancel := context.WithTimeout(s.life, s.config.Patience)
	defer cancel()
	s.mu.Lock()
	jobs := slices.Collect(maps.Values(s.jobs))
	s.mu.Unlock()
	for _, j := range jobs {
		j.hurry()
		select {
		case <-j.done:
		case <-ctx.Done():
			return
		}
	}
}

// levelAll brings level what a region out of reach had kept uneven.
func (s *Store) levelAll() {
	s.mu.Lock()
	keys := s.uneven
	s.uneven = make(map[encounter.Key]struct{})
	s.mu.Unlock()
	for key := range keys {
		s.levelSoon(key, settlePause)
	}
}

func (s *Store) do(key encounter.Key, j *job, pause time.Duration) {
	defer close(j.done)
	timer := time.NewTimer(jitter(pause))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-j.now:
	case <-s.life.Done():
	}
	for s.life.Err() == nil {
		err := s.levelInTurn(key, j)
		s.mu.Lock()
		again := j.again || errors.Is(err, encounter.ErrConflict)
		if !again {
			delete(s.jobs, key)
			if err != nil {
				s.putOff(key)
			}
		}
		s.mu.Unlock()
		if !again {
			return
		}
	}
}

// levelInTurn waits for a slot and brings a record level once.
func (s *Store) levelInTurn(key encounter.Key, j *job) error {
	select {
	case s.slots <- struct{}{}:
	case <-s.life.Done():
		return s.life.Err()
	}
	defer func() { <-s.slots }()
	unlock, err := s.lock(s.life, key)
	if err != nil {
		return err
	}
	defer unlock()
	s.mu.Lock()
	j.again = false
	s.mu.Unlock()
	return s.level(s.life, key)
}

// level merges copies that were written apart and gives the best one to every home in reach. It fails if a home was not.
func (s *Store) level(ctx context.Context, key encounter.Key) error {
	for attempt := range maxAttempts {
		v, err := s.survey(ctx, key, true)
		if err != nil || !v.exists {
			return err
		}
		switch {
		case len(v.diverged) > 0:
			var united encounter.Encounter
			if united, err = s.unite(ctx, v); err == nil {
				s.remember(united)
				err = encounter.ErrConflict // with what is to be spread now
			}
		case v.best.Gone && !s.lacksHome(v):
			err = s.removeAll(ctx, v)
		default:
			err = s.spread(ctx, v)
		}
		if !errors.Is(err, encounter.ErrConflict) {
			return err
		}
		if !rest(ctx, jitter(time.Duration(attempt+1)*conflictPause)) {
			return ctx.Err()
		}
	}
	return fmt.Errorf("bring encounter %s/%s level: %w", key.Tenant, key.ID, encounter.ErrConflict)
}

// spread gives the best copy, which knows all others, to each home that lacks it. An older one elsewhere, of before a deletion
// and another policy, is removed. A conflict means that there is a newer one by now.
func (s *Store) spread(ctx context.Context, v *survey) error {
	home := make(map[string]bool, len(v.best.Homes))
	for _, name := range v.best.Homes {
		home[name] = true
	}
	var failures []error
	for name, a := range v.answers {
		switch {
		case a.found && a.copy.Stamp() == v.best.Stamp(), !a.found && !home[name]:
		case a.err != nil:
			failures = append(failures, fmt.Errorf("region %s: %w", name, a.err))
		case !home[name]:
			failures = append(failures, s.remove(ctx, a))
		default:
			if _, err := s.put(ctx, a, v.best); err != nil {
				failures = append(failures, err)
				continue
			}
			s.metrics.replicas.Inc()
		}
	}
	return errors.Join(failures...)
}

// keyLock lets one goroutine of this process at a time spread or delete a record.
type keyLock struct {
	held  chan struct{}
	users int
}

// lock waits until nobody else here holds the record, or ctx ends.
func (s *Store) lock(ctx context.Context, key encounter.Key) (unlock func(), err error) {
	s.mu.Lock()
	l := s.locks[key]
	if l == nil {
		l = &keyLock{held: make(chan struct{}, 1)}
		s.locks[key] = l
	}
	l.users++
	s.mu.Unlock()
	drop := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		l.users--
		if l.users == 0 {
			delete(s.locks, key)
		}
	}
	select {
	case l.held <- struct{}{}:
		return func() { <-l.held; drop() }, nil
	case <-ctx.Done():
		drop()
		return nil, fmt.Errorf("encounter %s/%s: %w", key.Tenant, key.ID, ctx.Err())
	}
}
