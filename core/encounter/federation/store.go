// Package federation keeps encounter records in several regions, so that a visit outlives any one of them.
//
// Every region of a record's Homes holds a copy. One of them is written: under term t it is the region Homes[t mod n], home
// first. If that region is out of reach, another takes the writing over under a higher term that is its own, so no two
// regions ever write the same term. Copies are ordered by term and version; one that knows another's writes replaces it, and
// two that were written apart are merged (encounter.Merge). The writer spreads each write in the background, and
// whoever sees copies that differ brings them level.
//
// A write whose answer is lost may have happened. The Store then looks, or takes over; what the silent region did write is
// merged once it is seen again, so such a write is never lost and has effect once.
package federation

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
)

// Defaults of Config.
const (
	defaultPatience    = 700 * time.Millisecond
	defaultOwnPatience = 1500 * time.Millisecond
	defaultRetry       = time.Second
)

// errClosed ends what a closed Store is asked.
var errClosed = errors.New("the store is closed")

// Config says which regions there are. Own, Order and KV are required.
type Config struct {
	// Own is the region this process runs in.
	Own string
	// Order lists all federated regions, the preferred home first. It has to be the same in every process: it is the Homes
	// of records whose policy names no region, and two regions that create one record at once must agree on its home.
	Order func() []string
	// KV returns a region's key-value store; it is called once a region.
	KV func(region string) encounter.KV
	// Patience is how long another region may take to answer before it counts as out of reach, OwnPatience the same for
	// the own region; 0 means the default.
	Patience    time.Duration
	OwnPatience time.Duration
	// Retry is how often a region out of reach is tried again; meanwhile nothing waits for it. 0 means defaultRetry.
	Retry time.Duration
	// Registerer takes the metrics; nil means none are kept.
	Registerer prometheus.Registerer
	Log        zerolog.Logger
}

// Store is an encounter.Store over several regions. It is safe for concurrent use.
type Store struct {
	config  Config
	metrics metrics
	life    context.Context
	stop    context.CancelFunc
	slots   chan struct{} // bounds the records brought level at once

	mu      sync.Mutex
	closed  bool
	work    sync.WaitGroup
	regions map[string]*region
	memos   map[encounter.Key]*memo
	jobs    map[encounter.Key]*job
	locks   map[encounter.Key]*keyLock
	// recent are surveys that the writes based on them use again.
	recent map[encounter.Key]*survey
	// uneven are records of which some region lacked the newest copy because it was out of reach.
	uneven map[encounter.Key]struct{}
}

// New returns a Store; Close ends it.
func New(c Config) *Store {
	c.Patience = orDefault(c.Patience, defaultPatience)
	c.OwnPatience = orDefault(c.OwnPatience, defaultOwnPatience)
	c.Retry = orDefault(c.Retry, defaultRetry)
	life, stop := context.WithCancel(context.Background())
	s := &Store{
		config: c, metrics: newMetrics(c.Registerer), life: life, stop: stop, slots: make(chan struct{}, maxLevelling),
		regions: make(map[string]*region), memos: make(map[encounter.Key]*memo), jobs: make(map[encounter.Key]*job),
		locks: make(map[encounter.Key]*keyLock), uneven: make(map[encounter.Key]struct{}),
		recent: make(map[encounter.Key]*survey),
	}
	s.spawn(s.patrol)
	return s
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// Close spreads what was just written, for as long as its patience lasts, then ends all watches and background work
// and waits for them. What was not spread is spread by whoever sees it next.
func (s *Store) Close() {
	s.flush()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.work.Wait()
}

// spawn runs f in a goroutine that Close waits for, and reports whether it could.
func (s *Store) spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.work.Go(f)
	return true
}

// Get implements encounter.Store. It answers with the best copy in reach, merged if copies were written apart. It fails
// with ErrNotFound only if the own or the home region says so, and with discovery.ErrUnavailable if too few answer.
func (s *Store) Get(ctx context.Context, key encounter.Key) (encounter.Encounter, error) {
	if err := key.Validate(); err != nil {
		return encounter.Encounter{}, err
	}
	for attempt := 0; ; attempt++ {
		v, err := s.survey(ctx, key, false)
		if err != nil {
			return encounter.Encounter{}, err
		}
		if !v.exists {
			return encounter.Encounter{}, s.absence(v)
		}
		if len(v.diverged) == 0 {
			if v.best.Gone {
				return encounter.Encounter{}, notFound(key)
			}
			if !v.level() {
				s.levelSoon(key, settlePause)
			}
			s.keep(v)
			return s.seen(v.best), nil
		}
		united, err := s.unite(ctx, v)
		if err == nil && united.Gone {
			return encounter.Encounter{}, notFound(key)
		}
		if err == nil {
			return s.seen(united), nil
		}
		if ctx.Err() != nil {
			return encounter.Encounter{}, fmt.Errorf("read encounter %s/%s: %w", key.Tenant, key.ID, ctx.Err())
		}
		if attempt == maxAttempts || !errors.Is(err, encounter.ErrConflict) { // then it is merged for this answer alone
			s.levelSoon(key, settlePause)
			return shown(v.united(), v.best.Stamp()), nil
		}
		rest(ctx, jitter(time.Duration(attempt+1)*conflictPause))
	}
}

// CompareAndSet implements encounter.Store. The write goes to the writing region of the record's term, or to the first of
// its homes in reach under a term of its own. It fails with discovery.ErrUnavailable if none is in reach.
func (s *Store) CompareAndSet(ctx context.Context, e encounter.Encounter) (encounter.Encounter, error) {
	if err := e.Validate(); err != nil {
		return encounter.Encounter{}, err
	}
	v := s.kept(e)
	if v == nil {
		var err error
		if v, err = s.survey(ctx, e.Key, false); err != nil {
			return encounter.Encounter{}, err
		}
	}
	homes, err := s.basis(ctx, v, e)
	if err != nil {
		return encounter.Encounter{}, err
	}
	next := e.Clone()
	next.Homes, next.Past = homes, v.best.Past
	written, err := s.write(ctx, v, next)
	s.drop(e.Key)
	if err != nil {
		return encounter.Encounter{}, err
	}
	return s.seen(written), nil
}

// basis returns the homes under which e can be written, or encounter.ErrConflict if e is not based on the best copy.
func (s *Store) basis(ctx context.Context, v *survey, e encounter.Encounter) ([]string, error) {
	switch {
	case len(v.diverged) > 0:
		s.levelSoon(e.Key, 0)
		return nil, conflict(e.Key)
	case v.there() && v.best.Stamp().Revision() == e.Revision:
		return v.best.Homes, nil
	case v.there():
		return nil, conflict(e.Key)
	}
	if err := s.absence(v); !v.exists && !errors.Is(err, encounter.ErrNotFound) {
		return nil, err
	}
	homes := s.homesFor(e.Regions)
	if err := s.complete(ctx, v, homes); err != nil {
		return nil, err
	}
	if v.there() || len(v.diverged) > 0 || e.Revision != 0 {
		return nil, conflict(e.Key)
	}
	return homes, nil
}

func conflict(key encounter.Key) error {
	return fmt.Errorf("%w: %s/%s", encounter.ErrConflict, key.Tenant, key.ID)
}

func notFound(key encounter.Key) error {
	return fmt.Errorf("%w: %s/%s", encounter.ErrNotFound, key.Tenant, key.ID)
}

func unavailable(key encounter.Key, why error) error {
	return fmt.Errorf("encounter %s/%s: %w: %w", key.Tenant, key.ID, discovery.ErrUnavailable, why)
}

// List implements encounter.Store. It lists the own region's copies, which may be a moment old, and those of another only
// while the own region is out of reach: whoever sweeps all records every few seconds must not cross regions for it.
func (s *Store) List(ctx context.Context, tenant string) ([]encounter.Encounter, error) {
	var failures []error
	for _, name := range s.ownFirst() {
		list, err := s.listIn(ctx, s.region(name), tenant)
		if !answered(err) {
			failures = append(failures, fmt.Errorf("region %s: %w", name, err))
			continue
		}
		list = s.withoutGone(list)
		for i := range list {
			list[i] = promoted(list[i], name, s.config.Order())
			list[i] = shown(list[i], list[i].Stamp())
		}
		return list, err
	}
	return nil, fmt.Errorf("list encounters: %w", errors.Join(failures...))
}

func (s *Store) listIn(ctx context.Context, r *region, tenant string) ([]encounter.Encounter, error) {
	if s.isDown(r) {
		return nil, errOutOfReach
	}
	ctx, cancel := context.WithTimeout(ctx, listPatience*r.patience)
	defer cancel()
	return r.store.List(ctx, tenant) // slow for many records, so no reason to think the region gone
}

// seen notes that somebody here has seen a copy, and returns what they are shown of it.
func (s *Store) seen(e encounter.Encounter) encounter.Encounter {
	s.remember(e)
	return shown(e, e.Stamp())
}

// shown is a copy without what only the Store needs. Callers may change it.
func shown(e encounter.Encounter, stamp encounter.Stamp) encounter.Encounter {
	e = e.Clone()
	e.Homes, e.Term, e.Version, e.Past, e.Revision = nil, 0, 0, nil, stamp.Revision()
	return e
}
