package federation_test

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/encounter/federation"
	"github.com/wardline/wardline/core/encounter/federation/federationtest"
)

const visitPath = "wardline/encounters/clinic/visit-1"

// world3 is a store in each of three regions.
type world3 struct {
	*federationtest.Network
	t       *testing.T
	backend func(string) encounter.KV
	stores  map[string]*federation.Store
}

func newWorld(t *testing.T) world3 {
	t.Helper()
	backend := federationtest.Memory()
	w := world3{t: t, Network: federationtest.NewNetwork(backend), backend: backend, stores: make(map[string]*federation.Store)}
	for _, region := range regions {
		w.stores[region] = open(t, w.Network, region)
	}
	return w
}

// inBubble runs a test on fake time, in which patience costs nothing and is exact.
func inBubble(t *testing.T, test func(w world3)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(newWorld(t)) })
}

func ensure(t *testing.T, store encounter.Store, policy ...string) encounter.Encounter {
	t.Helper()
	e, err := encounter.Ensure(t.Context(), store, encounter.Encounter{Key: visit, Created: time.Now(), Regions: policy})
	require.NoError(t, err)
	return e
}

func join(store encounter.Store, participant string) error {
	_, err := encounter.Change(context.Background(), store, visit, func(e *encounter.Encounter) error {
		held := encounter.Session{Kind: encounter.Browser, Gateway: "gw"}
		_, err := e.Join(participant, access.Provider, participant+"-session", held, nil, nil, true)
		return err
	})
	return err
}

// kept is the copy in a region, as stored.
func (w world3) kept(t *testing.T, region string) *encounter.Encounter {
	t.Helper()
	e, err := encounter.NewKVStore(w.backend(region)).Get(t.Context(), visit)
	require.NoError(t, err)
	return &e
}

// level waits until every region has one and the same copy.
func (w world3) level(t *testing.T) encounter.Encounter {
	t.Helper()
	var record encounter.Encounter
	require.Eventually(t, func() (same bool) {
		record, same = federationtest.Level(t.Context(), federationtest.World{Regions: regions, KV: w.KV}, visit)
		return same
	}, time.Minute, 10*time.Millisecond)
	return record
}

func TestEveryHomeGetsACopy(t *testing.T) {
	inBubble(t, func(w world3) {
		t := w.t
		created := ensure(t, w.stores["asia"])
		record := w.level(t)
		require.Equal(t, regions, record.Homes)
		require.Equal(t, encounter.Stamp{Region: "eu", Version: 1}, record.Stamp())
		require.Equal(t, record.Revision, created.Revision)
		require.Empty(t, created.Homes, "what only the store needs is not shown")
	})
}

func TestARecordIsKeptWherePolicyAllows(t *testing.T) {
	for name, c := range map[string]struct{ policy, homes []string }{
		"two of three":    {[]string{"us", "asia"}, []string{"us", "asia"}},
		"one":             {[]string{"asia"}, []string{"asia"}},
		"one unknown":     {[]string{"mars", "us"}, []string{"us"}},
		"one twice":       {[]string{"us", "us"}, []string{"us"}},
		"only unknown":    {[]string{"mars"}, regions},
		"any":             {nil, regions},
		"all, other home": {[]string{"asia", "eu", "us"}, []string{"asia", "eu", "us"}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w world3) {
				t := w.t
				ensure(t, w.stores["eu"], c.policy...)
				require.NoError(t, join(w.stores["us"], "p"))
				synctest.Wait()
				require.Equal(t, c.homes, w.kept(t, c.homes[0]).Homes)
				for _, region := range regions {
					_, err := w.backend(region).Get(t.Context(), visitPath)
					require.Equal(t, slices.Contains(c.homes, region), err == nil, "a copy in %s", region)
				}
			})
		})
	}
}

func TestTheNextHomeTakesOverAndKeepsTheWriting(t *testing.T) {
	inBubble(t, func(w world3) {
		t := w.t
		before := ensure(t, w.stores["us"])
		w.level(t)
		w.Isolate("eu", regions, federationtest.Path{Cut: true})

		start := time.Now()
		require.NoError(t, join(w.stores["asia"], "first"))
		require.Less(t, time.Since(start), 2*time.Second, "patience is spent once, not with each request")
		start = time.Now()
		require.NoError(t, join(w.stores["asia"], "second"))
		require.Less(t, time.Since(start), 10*time.Millisecond, "nobody waits for a region that is known to be out of reach")
		require.Equal(t, encounter.Stamp{Region: "us", Term: 1, Version: 3}, w.kept(t, "us").Stamp())
		now, err := w.stores["us"].Get(t.Context(), visit)
		require.NoError(t, err)
		require.Greater(t, now.Revision, before.Revision)

		w.Isolate("eu", regions, federationtest.Path{})
		record := w.level(t)
		require.Equal(t, encounter.Stamp{Region: "us", Term: 1, Version: 3}, record.Stamp(), "an older copy is brought up to date")
		require.NoError(t, join(w.stores["eu"], "third"))
		require.EqualValues(t, 1, w.level(t).Term, "the writing stays")

		require.Eventually(t, func() bool { return w.stores["asia"].Reach()["eu"] }, time.Minute, 10*time.Millisecond)
		w.Isolate("us", regions, federationtest.Path{Cut: true})
		require.NoError(t, join(w.stores["asia"], "fourth"))
		require.Equal(t, encounter.Stamp{Region: "eu", Term: 3, Version: 5}, w.kept(t, "eu").Stamp(), "home first, under a term of its own")
	})
}

func TestHalvesAreMergedAfterHealing(t *testing.T) {
	inBubble(t, func(w world3) {
		t := w.t
		ensure(t, w.stores["eu"])
		require.NoError(t, join(w.stores["eu"], "before"))
		w.level(t)
		w.Isolate("eu", regions, federationtest.Path{Cut: true})
		require.NoError(t, join(w.stores["eu"], "home"))
		require.NoError(t, join(w.stores["us"], "away"))
		require.NoError(t, join(w.stores["asia"], "far away"))
		w.Isolate("eu", regions, federationtest.Path{})

		record := w.level(t)
		require.ElementsMatch(t, []string{"before", "home", "away", "far away"}, record.AdmittedIDs())
		require.EqualValues(t, 1, record.Term)
		require.Equal(t, []encounter.Stamp{{Region: "eu", Term: 0, Version: 3}}, record.Past)
	})
}

func TestALostAnswerHasItsEffectOnce(t *testing.T) {
	for name, path := range map[string]federationtest.Path{
		"at once":        {Deaf: true, Refuse: true},
		"after patience": {Deaf: true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w world3) {
				t := w.t
				ensure(t, w.stores["us"])
				w.level(t)
				read, err := w.stores["us"].Get(t.Context(), visit)
				require.NoError(t, err)
				w.Set("us", "eu", path)
				_, err = read.Join("p", access.Provider, "s", encounter.Session{Kind: encounter.Browser}, nil, nil, true)
				require.NoError(t, err)
				written, err := w.stores["us"].CompareAndSet(t.Context(), read)
				require.NoError(t, err)
				require.Equal(t, "us", w.kept(t, "us").Writer(), "whose answers are lost cannot be written to")
				require.Greater(t, written.Revision, read.Revision)

				w.Set("us", "eu", federationtest.Path{})
				record := w.level(t)
				require.Equal(t, []string{"p"}, record.AdmittedIDs())
				require.Len(t, record.Participants["p"].Sessions, 1)
			})
		})
	}
}

func TestHalvesTooLargeForOneValueAreNotMerged(t *testing.T) {
	inBubble(t, func(w world3) {
		t := w.t
		ensure(t, w.stores["eu"])
		w.level(t)
		w.Isolate("eu", regions, federationtest.Path{Cut: true})
		for region, participant := range map[string]string{"eu": "home", "us": "away"} {
			_, err := encounter.Change(t.Context(), w.stores[region], visit, func(e *encounter.Encounter) error {
				badge := bytes.Repeat([]byte{1}, discovery.MaxValueBytes/2) // two thirds of a value in base64
				_, err := e.Join(participant, access.Provider, "s", encounter.Session{Kind: encounter.Browser}, badge, nil, true)
				return err
			})
			require.NoError(t, err)
		}
		w.Isolate("eu", regions, federationtest.Path{})
		time.Sleep(10 * time.Second) // fake, and looking again and again at such records costs real seconds
		record := w.level(t)
		require.Equal(t, []string{"away"}, record.AdmittedIDs())
		require.NoError(t, join(w.stores["eu"], "home"), "who is missing can come again")
	})
}

func TestADeletionIsSeenByWhoKnewTheRecord(t *testing.T) {
	inBubble(t, func(w world3) {
		t := w.t
		federationtest.Follow(t, w.stores["us"], visit)
		e := ensure(t, w.stores["asia"], "asia")
		synctest.Wait()
		require.NoError(t, w.stores["asia"].Delete(t.Context(), e))
		_, err := w.stores["us"].Get(t.Context(), visit)
		require.ErrorIs(t, err, encounter.ErrNotFound)
	})
}

func TestADamagedCopyIsLeftAloneAndTheOthersGoOn(t *testing.T) {
	inBubble(t, func(w world3) {
		t := w.t
		ensure(t, w.stores["us"])
		w.level(t)
		entry, err := w.backend("eu").Get(t.Context(), visitPath)
		require.NoError(t, err)
		damaged, err := w.backend("eu").CompareAndSet(t.Context(), visitPath, []byte(`{`), entry.Index)
		require.NoError(t, err)

		require.NoError(t, join(w.stores["us"], "p"))
		require.Eventually(t, func() bool { return w.kept(t, "asia").Writer() == "us" }, time.Second, time.Millisecond)
		now, err := w.backend("eu").Get(t.Context(), visitPath)
		require.NoError(t, err)
		require.Equal(t, damaged, now)
	})
	inBubble(t, func(w world3) {
		t := w.t
		_, err := w.backend("eu").CompareAndSet(t.Context(), visitPath, []byte(`{`), 0)
		require.NoError(t, err)
		_, err = encounter.Ensure(t.Context(), w.stores["us"], encounter.Encounter{Key: visit, Created: time.Now()})
		require.ErrorIs(t, err, encounter.ErrDamaged, "it is not created over the damage")
	})
}

func TestARecordOfOneRegionBecomesOneOfMany(t *testing.T) {
	inBubble(t, func(w world3) {
		t := w.t
		alone := encounter.NewKVStore(w.backend("us"))
		_, err := encounter.Ensure(t.Context(), alone, encounter.Encounter{Key: visit, Created: time.Now()})
		require.NoError(t, err)
		require.NoError(t, join(alone, "before"))
		require.NoError(t, join(w.stores["eu"], "after"))
		record := w.level(t)
		require.Equal(t, []string{"us", "eu", "asia"}, record.Homes, "where it was is its home")
		require.Equal(t, []string{"after", "before"}, record.AdmittedIDs())
	})
}

func TestNobodySeesARecordGoBack(t *testing.T) {
	inBubble(t, func(w world3) {
		t := w.t
		us := federationtest.Follow(t, w.stores["us"], visit)
		ensure(t, w.stores["eu"])
		w.level(t)
		w.Set("eu", "us", federationtest.Path{Cut: true}) // nobody spreads to the others
		w.Set("eu", "asia", federationtest.Path{Cut: true})
		w.Set("us", "us", federationtest.Path{Cut: true})
		w.Set("us", "asia", federationtest.Path{Cut: true})
		require.NoError(t, join(w.stores["eu"], "seen"))
		require.Eventually(t, func() bool { return len(us.Last().Participants) == 1 }, time.Second, time.Millisecond)

		w.Set("us", "eu", federationtest.Path{Cut: true}) // the home is lost with the only copy
		w.Set("us", "us", federationtest.Path{})
		w.Set("us", "asia", federationtest.Path{})
		require.Eventually(t, func() bool { return join(w.stores["us"], "next") == nil }, 10*time.Second, 100*time.Millisecond)
		require.Eventually(t, func() bool { return len(us.Last().Participants) == 2 }, time.Second, time.Millisecond)
		require.Empty(t, us.Faults())
		require.ElementsMatch(t, []string{"seen", "next"}, w.kept(t, "us").AdmittedIDs(),
			"what a gateway had seen is not lost with its region")
	})
}

func TestADeletedRecordIsGoneEverywhere(t *testing.T) {
	inBubble(t, func(w world3) {
		t := w.t
		ensure(t, w.stores["eu"])
		w.level(t)
		e, err := w.stores["asia"].Get(t.Context(), visit)
		require.NoError(t, err)
		require.NoError(t, w.stores["asia"].Delete(t.Context(), e))
		synctest.Wait()
		for _, region := range regions {
			_, err := w.backend(region).Get(t.Context(), visitPath)
			require.ErrorIs(t, err, discovery.ErrNotFound, region)
		}
	})
}

func TestTwoHomesOfOneRecordBecomeOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // against advice, each process prefers its own region
		network := federationtest.NewNetwork(federationtest.Memory())
		stores := make(map[string]*federation.Store)
		for i, own := range regions {
			order := append(append([]string{}, regions[i:]...), regions[:i]...)
			stores[own] = federation.New(federation.Config{
				Own: own, Order: func() []string { return order }, KV: func(to string) encounter.KV { return network.KV(own, to) },
			})
			t.Cleanup(stores[own].Close)
		}
		network.Isolate("eu", regions, federationtest.Path{Cut: true, Refuse: true})
		for _, own := range []string{"eu", "us"} {
			ensure(t, stores[own])
			require.NoError(t, join(stores[own], own))
		}
		network.Isolate("eu", regions, federationtest.Path{})
		require.Eventually(t, func() bool {
			record, level := federationtest.Level(t.Context(), federationtest.World{Regions: regions, KV: network.KV}, visit)
			return level && len(record.Participants) == 2
		}, time.Minute, 100*time.Millisecond)
	})
}
