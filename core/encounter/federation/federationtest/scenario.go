package federationtest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/encounter/federation"
	"github.com/wardline/wardline/core/placement"
)

// World is the regions that a scenario runs on.
type World struct {
	// Regions are all regions, at least three, the home first.
	Regions []string
	// KV returns a region's store as its gateways or those of another region reach it.
	KV func(from, to string) encounter.KV
	// Cut cuts the home off from the others, Heal undoes it. Requests across the cut may hang or fail.
	Cut, Heal func()
	// Patience bounds each wait; only a failing scenario waits that long. 0 means a minute.
	Patience time.Duration
}

const (
	// participants is how many place the encounter at once.
	participants = 100
	// doors is how many join at once in a region: every join is a write of one record.
	doors = 5
)

// stage is a World with a store a region and one encounter.
type stage struct {
	World
	key      encounter.Key
	stores   map[string]*federation.Store
	watchers map[string]*Watcher
	doors    map[string]chan struct{}
	cut      atomic.Bool
}

// Placements has 100 participants join one encounter and place it at once from gateways in all regions. All must get
// one placement under one epoch, and all regions end with the same record.
func Placements(t *testing.T, w World) {
	t.Helper()
	s := newStage(t, w)
	answers := s.together(t, 0, participants, nil)
	for _, answer := range answers {
		require.Equal(t, place(answers[0]), place(answer), "every gateway has the same placement")
	}
	require.EqualValues(t, 1, answers[0].Epoch, "one epoch line")
	record := s.converged(t)
	require.Equal(t, place(answers[0]), place(record.Placement))
	s.requireEverybody(t, record)
}

// SplitBrain is Placements with the home cut off in the middle. Both halves go on, each moves the encounter to another
// SFU of its own, and after healing all copies are one record that nobody is missing from.
func SplitBrain(t *testing.T, w World) {
	t.Helper()
	s := newStage(t, w)
	answers := s.together(t, 0, participants, s.cutOff)
	home, away := w.Regions[:1], w.Regions[1:]
	answers = append(answers, s.replaced(t, home), s.replaced(t, away))
	s.awaitHalf(t, home)
	s.awaitHalf(t, away)

	s.cut.Store(false)
	w.Heal()
	record := s.converged(t)
	s.requireEverybody(t, record)
	for _, answer := range answers {
		require.GreaterOrEqual(t, record.Placement.Epoch, answer.Epoch, "no epoch goes back")
		if record.Placement.SFU != answer.SFU {
			require.Greater(t, record.Placement.Epoch, answer.Epoch, "whoever has to move sees a higher epoch")
		}
	}
	require.NotEqual(t, w.Regions[0], record.Placement.Region, "the higher term wins")
}

func newStage(t *testing.T, w World) *stage {
	t.Helper()
	if w.Patience <= 0 {
		w.Patience = time.Minute
	}
	s := &stage{
		World: w, key: encounter.Key{Tenant: "clinic", ID: fmt.Sprintf("visit-%016x", time.Now().UnixNano())},
		stores: make(map[string]*federation.Store), watchers: make(map[string]*Watcher), doors: make(map[string]chan struct{}),
	}
	for _, region := range w.Regions {
		store := federation.New(federation.Config{
			Own: region, Order: func() []string { return w.Regions },
			KV:  func(to string) encounter.KV { return w.KV(region, to) },
			Log: zerolog.Nop(),
		})
		t.Cleanup(store.Close)
		s.stores[region] = store
		s.doors[region] = make(chan struct{}, doors)
		s.watchers[region] = Follow(t, store, s.key)
	}
	return s
}

func (s *stage) deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), s.Patience)
	t.Cleanup(cancel)
	return ctx
}

func (s *stage) cutOff() {
	s.cut.Store(true)
	s.Cut()
}

// together has participants join and place the encounter side by side; a third of them meet during.
func (s *stage) together(t *testing.T, first, count int, during func()) []encounter.Placement {
	t.Helper()
	group, ctx := errgroup.WithContext(s.deadline(t))
	answers := make([]encounter.Placement, count)
	var began atomic.Int64
	for i := range count {
		group.Go(func() (err error) {
			if began.Add(1) == int64(count/3) && during != nil {
				during()
			}
			answers[i], err = s.join(ctx, first+i)
			return err
		})
	}
	require.NoError(t, group.Wait())
	return answers
}

// place is where an encounter is. A home that is slow to answer may cost a term, of which nobody notices anything.
func place(p encounter.Placement) encounter.Placement {
	p.Term = 0
	return p
}

// join is what a gateway does for one participant, again while too few regions answer.
func (s *stage) join(ctx context.Context, number int) (encounter.Placement, error) {
	region := s.Regions[number%len(s.Regions)]
	store := s.stores[region]
	for {
		s.doors[region] <- struct{}{}
		err := s.enter(ctx, store, number)
		<-s.doors[region]
		if err == nil {
			var p encounter.Placement
			if p, err = s.placer(region).Place(ctx, s.key); err == nil {
				return p, nil
			}
		}
		if !errors.Is(err, discovery.ErrUnavailable) || ctx.Err() != nil {
			return encounter.Placement{}, fmt.Errorf("participant %d in %s: %w", number, region, err)
		}
		time.Sleep(50 * time.Millisecond) // as a client that is told to come again
	}
}

func (s *stage) enter(ctx context.Context, store encounter.Store, number int) error {
	if _, err := encounter.Ensure(ctx, store, encounter.Encounter{Key: s.key, Created: time.Now()}); err != nil {
		return err
	}
	_, err := encounter.Change(ctx, store, s.key, func(e *encounter.Encounter) error {
		held := encounter.Session{Kind: encounter.Browser, Gateway: "gateway"}
		_, err := e.Join(participantOf(number), access.Provider, sessionOf(number), held, nil, nil, true)
		return err
	})
	return err
}

func participantOf(number int) string { return fmt.Sprintf("participant-%d", number) }
func sessionOf(number int) string     { return fmt.Sprintf("session-%d", number) }

// placer decides placements as a region's gateways do.
func (s *stage) placer(region string) *placement.Placer {
	return &placement.Placer{
		Catalog: catalog(s.Regions), Store: s.stores[region], Reserver: reserver{s, region}, Log: zerolog.Nop(),
	}
}

// catalog knows two SFUs a region.
type catalog []string

func (c catalog) Services(context.Context, string) ([]discovery.Service, error) {
	var services []discovery.Service
	for _, region := range c {
		for i := range 2 {
			services = append(services, discovery.Service{
				Name: discovery.SFUService, ID: fmt.Sprintf("%s-media-%d", region, i+1), Region: region,
				Meta: map[string]string{discovery.MetaControl: "192.0.2.1:1"}, Health: discovery.Passing,
			})
		}
	}
	return services, nil
}

// reserver reaches the SFUs on its side of the cut.
type reserver struct {
	stage  *stage
	region string
}

func (r reserver) Reserve(_ context.Context, c placement.Candidate, _ encounter.Key, _ uint64) error {
	home := r.stage.Regions[0]
	if r.stage.cut.Load() && (c.Region == home) != (r.region == home) {
		return errors.New("no path to the media server")
	}
	return nil
}

// replaced has a half's gateways find the SFU dead: all must agree on another one.
func (s *stage) replaced(t *testing.T, half []string) encounter.Placement {
	t.Helper()
	dead, err := s.stores[half[0]].Get(s.deadline(t), s.key)
	require.NoError(t, err)
	group, ctx := errgroup.WithContext(s.deadline(t))
	answers := make([]encounter.Placement, 4*len(half))
	for i := range answers {
		group.Go(func() (err error) {
			answers[i], err = s.placer(half[i%len(half)]).Replace(ctx, s.key, dead.Placement)
			return err
		})
	}
	require.NoError(t, group.Wait())
	for _, answer := range answers {
		require.Equal(t, answers[0], answer, "a half agrees")
		require.Greater(t, answer.Epoch, dead.Placement.Epoch)
		require.Equal(t, half[0] == s.Regions[0], answer.Region == s.Regions[0], "on an SFU that it reaches")
	}
	return answers[0]
}

// awaitHalf waits until everybody who joined in a half is in the record that the half sees.
func (s *stage) awaitHalf(t *testing.T, half []string) {
	t.Helper()
	for _, region := range half {
		require.Eventually(t, func() bool {
			e, err := s.stores[region].Get(s.deadline(t), s.key)
			if err != nil {
				return false
			}
			for number := range participants {
				joinedHere := false
				for _, other := range half {
					joinedHere = joinedHere || s.Regions[number%len(s.Regions)] == other
				}
				if joinedHere && e.Participants[participantOf(number)].State != encounter.Admitted {
					return false
				}
			}
			return true
		}, s.Patience, 10*time.Millisecond, "a half lacks somebody who joined there")
	}
}

// converged waits until all copies are one, and every store and watcher shows it.
func (s *stage) converged(t *testing.T) encounter.Encounter {
	t.Helper()
	var record encounter.Encounter
	require.Eventually(t, func() bool {
		var same bool
		if record, same = Level(s.deadline(t), s.World, s.key); !same {
			return false
		}
		for _, region := range s.Regions {
			shown, err := s.stores[region].Get(s.deadline(t), s.key)
			if err != nil || shown.Revision != record.Revision || s.watchers[region].Last().Revision != record.Revision {
				return false
			}
		}
		return true
	}, s.Patience, 20*time.Millisecond, "the copies stay apart")
	for region, w := range s.watchers {
		require.Empty(t, w.Faults(), "what the watcher in %s saw", region)
		require.Equal(t, record.Placement, w.Last().Placement)
	}
	return record
}

// Level reads the copies in all regions of a world, each from within, and reports whether they are one. Its Revision is
// what stores show.
func Level(ctx context.Context, w World, key encounter.Key) (encounter.Encounter, bool) {
	var first encounter.Encounter
	for i, region := range w.Regions {
		e, err := encounter.NewKVStore(w.KV(region, region)).Get(ctx, key)
		if err != nil {
			return encounter.Encounter{}, false
		}
		e.Revision = e.Stamp().Revision()
		if i == 0 {
			first = e
		} else if !reflect.DeepEqual(first, e) {
			return encounter.Encounter{}, false
		}
	}
	return first, true
}

// requireEverybody checks that nobody who joined is stranded.
func (s *stage) requireEverybody(t *testing.T, record encounter.Encounter) {
	t.Helper()
	require.Len(t, record.Participants, participants)
	for number := range participants {
		p := record.Participants[participantOf(number)]
		require.Equal(t, encounter.Admitted, p.State, "participant %d", number)
		require.Contains(t, p.Sessions, sessionOf(number), "participant %d", number)
	}
}
