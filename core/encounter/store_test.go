package encounter_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/encounter/encountertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStoreOnMemoryConforms(t *testing.T) {
	encountertest.Run(t, func(*testing.T) encounter.Store { return encounter.NewKVStore(discovery.NewMemory()) })
}

func TestStoreOnFolderConforms(t *testing.T) {
	encountertest.Run(t, func(t *testing.T) encounter.Store {
		t.Helper()
		folder, err := discovery.OpenFolder(t.TempDir())
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, folder.Close()) })
		return encounter.NewKVStore(folder)
	})
}

var visit = encounter.Key{Tenant: "clinic", ID: "visit-1"}

const visitPath = "wardline/encounters/clinic/visit-1"

func TestDamagedRecordIsReportedAndNeverOverwritten(t *testing.T) {
	for name, damaged := range map[string]string{
		"not JSON":        `{"tenant":`,
		"empty":           ``,
		"another key":     `{"tenant":"clinic","id":"visit-2"}`,
		"no key":          `{}`,
		"wrong type":      `{"tenant":"clinic","id":"visit-1","participants":[]}`,
		"just a number":   `7`,
		"timestamp no on": `{"tenant":"clinic","id":"visit-1","created":"yesterday"}`,
	} {
		t.Run(name, func(t *testing.T) {
			kv := discovery.NewMemory()
			stored, err := kv.CompareAndSet(t.Context(), visitPath, []byte(damaged), 0)
			require.NoError(t, err)
			store := encounter.NewKVStore(kv)

			_, err = store.Get(t.Context(), visit)
			require.ErrorIs(t, err, encounter.ErrDamaged)
			require.ErrorContains(t, err, visitPath)
			sound, err := encounter.Ensure(t.Context(), store, encounter.Encounter{
				Key: encounter.Key{Tenant: "clinic", ID: "sound"}, Created: time.Now(),
			})
			require.NoError(t, err)
			listed, err := store.List(t.Context(), "clinic")
			require.ErrorIs(t, err, encounter.ErrDamaged)
			require.ErrorContains(t, err, visitPath)
			require.Len(t, listed, 1, "the others are listed all the same")
			require.Equal(t, sound.Key, listed[0].Key)
			_, err = encounter.Ensure(t.Context(), store, encounter.Encounter{Key: visit, Created: time.Now()})
			require.ErrorIs(t, err, encounter.ErrDamaged)
			_, err = encounter.Change(t.Context(), store, visit, func(e *encounter.Encounter) error {
				e.Locked = true
				return nil
			})
			require.ErrorIs(t, err, encounter.ErrDamaged)

			kept, err := kv.Get(t.Context(), visitPath)
			require.NoError(t, err)
			require.Equal(t, stored, kept)
		})
	}
}

func TestWatchSkipsDamageAndDeletion(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	kv := discovery.NewMemory()
	store := encounter.NewKVStore(kv)
	watch := store.Watch(ctx, visit)
	entry, err := kv.CompareAndSet(ctx, visitPath, []byte("damaged"), 0)
	require.NoError(t, err)
	require.NoError(t, kv.Delete(ctx, visitPath, entry.Index))
	e, err := encounter.Ensure(ctx, store, encounter.Encounter{Key: visit, Created: time.Now()})
	require.NoError(t, err)
	require.Equal(t, e, <-watch)
}

func TestRecordTooLargeForOneValueIsRefused(t *testing.T) {
	store := encounter.NewKVStore(discovery.NewMemory())
	e := encounter.Encounter{Key: visit, Participants: map[string]encounter.Participant{
		"p": {Role: access.Patient, Badge: []byte(strings.Repeat("x", discovery.MaxValueBytes))},
	}}
	_, err := store.CompareAndSet(t.Context(), e)
	require.ErrorIs(t, err, encounter.ErrTooLarge)
	require.ErrorContains(t, err, "at most 524288")
	_, err = store.Get(t.Context(), visit)
	require.ErrorIs(t, err, encounter.ErrNotFound)
}

// As many participants as an encounter may have, each with a name and a lost session.
func TestLargestEncounterFitsIntoOneValue(t *testing.T) {
	store := encounter.NewKVStore(discovery.NewMemory())
	e := encounter.Encounter{Key: visit, Created: time.Now(), Regions: []string{"eu-central-1", "eu-west-1", "us-east-1"}}
	rtt := map[string]float64{"eu-central-1": 12.345678, "eu-west-1": 23.456789, "us-east-1": 101.234567}
	for i := range encounter.MaxParticipants {
		id, session := fmt.Sprintf("participant-with-a-long-id-%08d", i), fmt.Sprintf("session-%032d", i)
		_, err := e.Join(id, access.Interpreter, session, encounter.Session{Kind: encounter.Browser, Gateway: "gateway-eu-central-1-0001"},
			make([]byte, 128), rtt, true)
		require.NoError(t, err)
		e.Lose(id, session, time.Now())
	}
	_, err := store.CompareAndSet(t.Context(), e)
	require.NoError(t, err)
}

func TestChangeThatAltersNothingIsNotWritten(t *testing.T) {
	store := encounter.NewKVStore(discovery.NewMemory())
	e, err := encounter.Ensure(t.Context(), store, encounter.Encounter{Key: visit, Created: time.Now()})
	require.NoError(t, err)
	same, err := encounter.Change(t.Context(), store, visit, func(e *encounter.Encounter) error {
		e.SetLocked(false)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, e.Revision, same.Revision)
}

func TestChangeReturnsTheErrorOfItsChange(t *testing.T) {
	store := encounter.NewKVStore(discovery.NewMemory())
	_, err := encounter.Ensure(t.Context(), store, encounter.Encounter{Key: visit, Created: time.Now()})
	require.NoError(t, err)
	_, err = encounter.Change(t.Context(), store, visit, func(e *encounter.Encounter) error {
		e.SetLocked(true)
		return e.Admit("nobody")
	})
	require.Equal(t, encounter.ErrUnknownParticipant, err)
	e, err := store.Get(t.Context(), visit)
	require.NoError(t, err)
	require.False(t, e.Locked, "nothing is written after an error")
}

// busyKV loses every compare-and-set, as if somebody else were always faster.
type busyKV struct{ *discovery.Memory }

func (busyKV) CompareAndSet(context.Context, string, []byte, uint64) (discovery.Entry, error) {
	return discovery.Entry{}, discovery.ErrConflict
}

func TestChangeTriesUntilItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := discovery.NewMemory()
		_, err := encounter.Ensure(t.Context(), encounter.NewKVStore(kv), encounter.Encounter{Key: visit, Created: time.Now()})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		runs := 0
		_, err = encounter.Change(ctx, encounter.NewKVStore(busyKV{kv}), visit, func(e *encounter.Encounter) error {
			runs++
			e.SetLocked(true)
			return nil
		})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Greater(t, runs, 10)
		require.Less(t, runs, 200, "it backs off")
	})
}

// brokenKV cannot be reached.
type brokenKV struct{ *discovery.Memory }

var errBackend = errors.New("connection refused")

func (brokenKV) Get(context.Context, string) (discovery.Entry, error) {
	return discovery.Entry{}, errBackend
}

func (brokenKV) CompareAndSet(context.Context, string, []byte, uint64) (discovery.Entry, error) {
	return discovery.Entry{}, errBackend
}

func (brokenKV) List(context.Context, string) ([]discovery.Entry, error) { return nil, errBackend }

func TestErrorsOfTheBackendAreNotMistakenForAnswers(t *testing.T) {
	store := encounter.NewKVStore(brokenKV{})
	_, get := store.Get(t.Context(), visit)
	_, set := store.CompareAndSet(t.Context(), encounter.Encounter{Key: visit})
	_, list := store.List(t.Context(), "")
	_, ensure := encounter.Ensure(t.Context(), store, encounter.Encounter{Key: visit, Created: time.Now()})
	for _, err := range []error{get, set, list, ensure} {
		require.ErrorIs(t, err, errBackend)
		require.NotErrorIs(t, err, encounter.ErrNotFound)
		require.NotErrorIs(t, err, encounter.ErrConflict)
	}
}

func FuzzStoredRecord(f *testing.F) {
	f.Add([]byte(`{"tenant":"clinic","id":"visit-1"}`))
	f.Add([]byte(`{"tenant":"clinic","id":"visit-1","participants":{"p":{"state":"waiting","sessions":{"s":{"kind":"browser"}}}}}`))
	f.Add([]byte(`{"tenant":"../..","id":""}`))
	f.Add([]byte(`{"tenant":"clinic","id":"visit-1","homes":["east","west"],"term":3,"version":4,"past":[{"r":"east","t":0,"v":3}]}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, record []byte) {
		kv := discovery.NewMemory()
		entry, err := kv.CompareAndSet(t.Context(), visitPath, record, 0)
		if err != nil {
			t.Skip("larger than any store keeps")
		}
		e, err := encounter.NewKVStore(kv).Get(t.Context(), visit)
		if err != nil {
			require.ErrorIs(t, err, encounter.ErrDamaged)
			return
		}
		require.Equal(t, visit, e.Key)
		require.Equal(t, entry.Index, e.Revision)
		_, _ = e.Join("p", access.Patient, "s2", encounter.Session{Kind: encounter.WHIP}, nil, nil, false)
		e.Lose("p", "s2", time.Now())
		e.Expire(lostFor(time.Now().Add(time.Hour), time.Minute))
		_ = e.NeedsPlacement()
		require.Less(t, e.Stamp().Revision(), uint64(1)<<53)
		require.LessOrEqual(t, len(e.Homes), encounter.MaxHomes)
	})
}
