// Package encountertest is the conformance suite of encounter.Store.
package encountertest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
)

// patience bounds every wait: only a failing test waits that long.
const patience = 20 * time.Second

// Run checks an implementation. open returns a Store that is ready for use and cleans up with the test;
// it may hold what earlier tests left.
func Run(t *testing.T, open func(t *testing.T) encounter.Store) {
	t.Helper()
	for _, part := range []struct {
		name string
		run  func(t *testing.T, s encounter.Store)
	}{
		{"a missing encounter is not found", missing},
		{"every member survives the way through the store", roundTrip},
		{"an encounter is created once", createOnce},
		{"a stale revision conflicts and changes nothing", staleRevision},
		{"ids that cannot be part of a key are refused", invalidKeys},
		{"list knows tenants apart", list},
		{"a deleted encounter is gone, unless it changed", deletion},
		{"a watch sends the present value, then changes", watch},
		{"a slow watcher gets the last value", watchLast},
		{"a watch closes when its context ends", watchCloses},
		{"concurrent changes lose nothing", concurrentChanges},
		{"concurrent first joins create one encounter", concurrentEnsure},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, open(t)) })
	}
}

// key returns a key that no other test, and no earlier run, uses.
func key() encounter.Key {
	return encounter.Key{Tenant: fmt.Sprintf("tenant-%016x", rand.Uint64()), ID: fmt.Sprintf("visit-%016x", rand.Uint64())}
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func create(t *testing.T, s encounter.Store, e encounter.Encounter) encounter.Encounter {
	t.Helper()
	created, err := s.CompareAndSet(deadline(t), e)
	require.NoError(t, err)
	require.NotZero(t, created.Revision)
	return created
}

// until reads a watch until a value satisfies done.
func until(t *testing.T, watch <-chan encounter.Encounter, done func(encounter.Encounter) bool) {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e, open := <-watch:
			require.True(t, open, "the watch closed")
			if done(e) {
				return
			}
		case <-timeout:
			require.FailNow(t, "the expected value never came")
		}
	}
}

func missing(t *testing.T, s encounter.Store) {
	t.Helper()
	_, err := s.Get(deadline(t), key())
	require.ErrorIs(t, err, encounter.ErrNotFound)
	_, err = s.CompareAndSet(deadline(t), encounter.Encounter{Key: key(), Revision: 3})
	require.ErrorIs(t, err, encounter.ErrConflict)
	_, err = encounter.Change(deadline(t), s, key(), func(*encounter.Encounter) error { return nil })
	require.ErrorIs(t, err, encounter.ErrNotFound)
}

func full() encounter.Encounter {
	at := time.Date(2026, 3, 4, 5, 6, 7, 8000, time.UTC)
	return encounter.Encounter{
		Key: key(), Created: at, Ended: at.Add(time.Hour), Vacated: at.Add(time.Minute), Locked: true, Regions: []string{"eu", "us"},
		Placement: encounter.Placement{Region: "eu", SFU: "sfu-1", Epoch: 3, Term: 2},
		Participants: map[string]encounter.Participant{
			"p1": {
				Role: access.Patient, State: encounter.Admitted, Cleared: true, Badge: []byte{0, 255, 7},
				Sessions: map[string]encounter.Session{
					"s1": {Kind: encounter.Browser, Gateway: "gw-1", Lost: at.Add(time.Minute)},
					"s2": {Kind: encounter.WHEP, Gateway: "gw-2"},
				},
				RTT: map[string]float64{"eu": 12.5, "us": 90},
			},
			"p2": {Role: access.Provider, State: encounter.Left},
		},
	}
}

func roundTrip(t *testing.T, s encounter.Store) {
	t.Helper()
	want := full()
	created := create(t, s, want)
	want.Revision = created.Revision
	require.Equal(t, want, created)
	got, err := s.Get(deadline(t), want.Key)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func createOnce(t *testing.T, s encounter.Store) {
	t.Helper()
	e := full()
	create(t, s, e)
	_, err := s.CompareAndSet(deadline(t), e)
	require.ErrorIs(t, err, encounter.ErrConflict)
}

func staleRevision(t *testing.T, s encounter.Store) {
	t.Helper()
	first := create(t, s, encounter.Encounter{Key: key()})
	second := first
	second.Locked = true
	second = create(t, s, second)
	require.Greater(t, second.Revision, first.Revision)
	_, err := s.CompareAndSet(deadline(t), first)
	require.ErrorIs(t, err, encounter.ErrConflict)
	got, err := s.Get(deadline(t), first.Key)
	require.NoError(t, err)
	require.Equal(t, second, got)
}

func invalidKeys(t *testing.T, s encounter.Store) {
	t.Helper()
	for _, bad := range []encounter.Key{
		{}, {Tenant: "t"}, {ID: "e"}, {Tenant: "..", ID: "e"}, {Tenant: "t", ID: "../x"}, {Tenant: "t/e", ID: "e"},
	} {
		_, err := s.Get(deadline(t), bad)
		require.Error(t, err, "get %+v", bad)
		require.NotErrorIs(t, err, encounter.ErrNotFound)
		_, err = s.CompareAndSet(deadline(t), encounter.Encounter{Key: bad})
		require.Error(t, err, "set %+v", bad)
		_, open := <-s.Watch(deadline(t), bad)
		require.False(t, open, "watch %+v", bad)
	}
	_, err := s.List(deadline(t), "a/b")
	require.Error(t, err)
}

func list(t *testing.T, s encounter.Store) {
	t.Helper()
	a, longer := key(), key()
	b := encounter.Key{Tenant: a.Tenant, ID: "another"}
	longer.Tenant = a.Tenant + "x"
	for _, k := range []encounter.Key{a, b, longer} {
		create(t, s, encounter.Encounter{Key: k})
	}
	require.ElementsMatch(t, []encounter.Key{a, b}, keys(t, s, a.Tenant))
	require.Equal(t, []encounter.Key{longer}, keys(t, s, longer.Tenant))
	require.Empty(t, keys(t, s, key().Tenant))
	require.Subset(t, keys(t, s, ""), []encounter.Key{a, b, longer})
}

func deletion(t *testing.T, s encounter.Store) {
	t.Helper()
	first := create(t, s, encounter.Encounter{Key: key()})
	second := first
	second.Locked = true
	second, err := s.CompareAndSet(deadline(t), second)
	require.NoError(t, err)
	require.ErrorIs(t, s.Delete(deadline(t), first), encounter.ErrConflict)
	require.NoError(t, s.Delete(deadline(t), second))
	_, err = s.Get(deadline(t), first.Key)
	require.ErrorIs(t, err, encounter.ErrNotFound)
	require.NoError(t, s.Delete(deadline(t), second), "deleting again changes nothing")
}

func keys(t *testing.T, s encounter.Store, tenant string) []encounter.Key {
	t.Helper()
	list, err := s.List(deadline(t), tenant)
	require.NoError(t, err)
	out := make([]encounter.Key, 0, len(list))
	for _, e := range list {
		require.NotZero(t, e.Revision)
		out = append(out, e.Key)
	}
	return out
}

func watch(t *testing.T, s encounter.Store) {
	t.Helper()
	k := key()
	early := s.Watch(deadline(t), k)
	e := create(t, s, encounter.Encounter{Key: k})
	late := s.Watch(deadline(t), k)
	e.Locked = true
	e = create(t, s, e)
	for _, watch := range []<-chan encounter.Encounter{early, late} {
		until(t, watch, func(got encounter.Encounter) bool { return got.Revision == e.Revision && got.Locked })
	}
}

func watchLast(t *testing.T, s encounter.Store) {
	t.Helper()
	e := create(t, s, encounter.Encounter{Key: key()})
	watch := s.Watch(deadline(t), e.Key)
	for epoch := range uint64(30) {
		e.Placement = encounter.Placement{SFU: "sfu-1", Epoch: epoch + 1}
		e = create(t, s, e)
	}
	seen := uint64(0)
	until(t, watch, func(got encounter.Encounter) bool {
		require.Greater(t, got.Revision, seen, "values come in order, none twice")
		seen = got.Revision
		return got.Placement.Epoch == 30
	})
}

func watchCloses(t *testing.T, s encounter.Store) {
	t.Helper()
	ctx, cancel := context.WithCancel(deadline(t))
	e := create(t, s, encounter.Encounter{Key: key()})
	watch := s.Watch(ctx, e.Key)
	cancel()
	timeout := time.After(patience)
	for {
		select {
		case _, open := <-watch:
			if !open {
				return
			}
		case <-timeout:
			require.FailNow(t, "the watch stayed open")
		}
	}
}

func concurrentChanges(t *testing.T, s encounter.Store) {
	t.Helper()
	const writers = 50
	e := create(t, s, encounter.Encounter{Key: key()})
	group, ctx := errgroup.WithContext(deadline(t))
	for i := range writers {
		group.Go(func() error {
			_, err := encounter.Change(ctx, s, e.Key, func(e *encounter.Encounter) error {
				session := encounter.Session{Kind: encounter.Browser, Gateway: "gw"}
				_, err := e.Join(fmt.Sprintf("p%d", i), access.Provider, fmt.Sprintf("s%d", i), session, nil, nil, false)
				return err
			})
			return err
		})
	}
	require.NoError(t, group.Wait())
	got, err := s.Get(deadline(t), e.Key)
	require.NoError(t, err)
	require.Len(t, got.AdmittedIDs(), writers)
}

func concurrentEnsure(t *testing.T, s encounter.Store) {
	t.Helper()
	k, now := key(), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	group, ctx := errgroup.WithContext(deadline(t))
	revisions := make([]uint64, 20)
	for i := range revisions {
		group.Go(func() error {
			e, err := encounter.Ensure(ctx, s, encounter.Encounter{Key: k, Created: now.Add(time.Duration(i)), Regions: []string{"eu"}})
			revisions[i] = e.Revision
			return err
		})
	}
	require.NoError(t, group.Wait())
	got, err := s.Get(deadline(t), k)
	require.NoError(t, err)
	require.Equal(t, []string{"eu"}, got.Regions)
	for _, revision := range revisions {
		require.Equal(t, got.Revision, revision)
	}
}
