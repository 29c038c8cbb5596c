package encounter_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/encounter/encountertest"
)

func TestGatheredStoreConforms(t *testing.T) {
	encountertest.Run(t, func(*testing.T) encounter.Store {
		return encounter.Gather(encounter.NewKVStore(discovery.NewMemory()))
	})
}

// slowStore takes its time over writes, and counts them.
type slowStore struct {
	encounter.Store
	takes  time.Duration
	writes atomic.Int32
}

func (s *slowStore) CompareAndSet(ctx context.Context, e encounter.Encounter) (encounter.Encounter, error) {
	s.writes.Add(1)
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return encounter.Encounter{}, ctx.Err()
	}
	return s.Store.CompareAndSet(ctx, e)
}

// newSlowStore has one encounter.
func newSlowStore(t *testing.T) (*slowStore, encounter.Store) {
	t.Helper()
	slow := &slowStore{Store: encounter.NewKVStore(discovery.NewMemory())}
	_, err := encounter.Ensure(t.Context(), slow, encounter.Encounter{Key: visit, Created: time.Now()})
	require.NoError(t, err)
	slow.takes = time.Second
	return slow, encounter.Gather(slow)
}

func joining(id string) func(*encounter.Encounter) error {
	return func(e *encounter.Encounter) error {
		_, err := e.Join(id, access.Patient, "session-"+id, encounter.Session{Kind: encounter.Browser, Gateway: "gw"}, nil, nil, false)
		return err
	}
}

func TestManyWhoJoinAtATimeAreWrittenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, store := newSlowStore(t)
		slow.writes.Store(0)
		refused := errors.New("refused")
		var all sync.WaitGroup
		const people = 100
		for i := range people {
			all.Go(func() {
				id := fmt.Sprintf("p%d", i)
				e, err := encounter.Change(t.Context(), store, visit, joining(id))
				require.NoError(t, err)
				require.Contains(t, e.Participants, id)
			})
		}
		synctest.Wait() // the first is being written, the others wait
		all.Go(func() {
			_, err := encounter.Change(t.Context(), store, visit, func(e *encounter.Encounter) error {
				e.Participants["refused"] = encounter.Participant{}
				return refused
			})
			require.ErrorIs(t, err, refused)
		})
		all.Wait()
		require.LessOrEqual(t, slow.writes.Load(), int32(2), "the first, and then all others")
		e, err := store.Get(t.Context(), visit)
		require.NoError(t, err)
		require.Len(t, e.Participants, people, "what was refused leaves no trace")
	})
}

func TestWhoDoesNotFitKeepsNobodyElseFromBeingWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, store := newSlowStore(t)
		var all sync.WaitGroup
		for i := range 5 {
			all.Go(func() {
				_, err := encounter.Change(t.Context(), store, visit, joining(fmt.Sprintf("p%d", i)))
				require.NoError(t, err)
			})
			if i == 0 {
				synctest.Wait() // it is being written, the others wait
			}
		}
		all.Go(func() {
			_, err := encounter.Change(t.Context(), store, visit, func(e *encounter.Encounter) error {
				_, err := e.Join("large", access.Patient, "session-large", encounter.Session{Kind: encounter.Browser},
					make([]byte, discovery.MaxValueBytes), nil, false)
				return err
			})
			require.ErrorIs(t, err, encounter.ErrTooLarge)
		})
		all.Wait()
		e, err := store.Get(t.Context(), visit)
		require.NoError(t, err)
		require.Len(t, e.Participants, 5)
	})
}

func TestAWriterWhoseTimeIsOverKeepsNobodyFromWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, store := newSlowStore(t)
		slow.takes = 3 * time.Second
		hurried, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				_, err := encounter.Change(hurried, store, visit, joining(fmt.Sprintf("hurried%d", i)))
				require.ErrorIs(t, err, context.DeadlineExceeded)
			})
		}
		synctest.Wait()
		all.Go(func() {
			_, err := encounter.Change(t.Context(), store, visit, joining("patient"))
			require.NoError(t, err)
		})
		all.Wait()
		e, err := store.Get(t.Context(), visit)
		require.NoError(t, err)
		require.Contains(t, e.Participants, "patient")
		require.Len(t, e.Participants, 1)
	})
}
