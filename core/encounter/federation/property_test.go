package federation_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/encounter/federation"
	"github.com/wardline/wardline/core/encounter/federation/federationtest"
)

// event is one step of a random history: a change of a path, or something a gateway writes.
type event struct {
	what, region, other string
	// everywhere has gateways in all regions do it at once.
	everywhere bool
	path       federationtest.Path
	pause      time.Duration
}

func (e event) String() string {
	return fmt.Sprintf("%s %s %s (everywhere %t) %+v, then %v", e.what, e.region, e.other, e.everywhere, e.path, e.pause)
}

func drawEvent(t *rapid.T) event {
	return event{
		what: rapid.SampledFrom([]string{
			"join", "isolate", "join", "both ways", "place", "path", "remove", "replace", "lock",
		}).Draw(t, "what"),
		region: rapid.SampledFrom(regions).Draw(t, "region"),
		other:  rapid.SampledFrom(regions).Draw(t, "other"), everywhere: rapid.Bool().Draw(t, "everywhere"),
		path: rapid.SampledFrom([]federationtest.Path{
			{Cut: true}, {}, {Cut: true, Refuse: true}, {Deaf: true}, {Deaf: true, Refuse: true}, {Delay: 300 * time.Millisecond},
		}).Draw(t, "path"),
		pause: time.Duration(rapid.SampledFrom([]int{0, 5, 400, 3000}).Draw(t, "pause")) * time.Millisecond,
	}
}

// history plays events and notes what was acknowledged.
type history struct {
	network *federationtest.Network
	stores  map[string]*federation.Store

	mu       sync.Mutex
	joined   map[string]string // session by participant
	removed  map[string]bool
	locked   bool
	epochs   uint64
	sequence int
}

// write changes the record from a region and reports whether that was acknowledged.
func (h *history) write(ctx context.Context, region string, change func(*encounter.Encounter) error) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := encounter.Ensure(ctx, h.stores[region], encounter.Encounter{Key: visit, Created: time.Now()}); err != nil {
		return false
	}
	_, err := encounter.Change(ctx, h.stores[region], visit, change)
	return err == nil
}

// note runs f if ok, under the lock.
func (h *history) note(ok bool, f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ok {
		f()
	}
}

func (h *history) count() (n int) {
	h.note(true, func() { h.sequence++; n = h.sequence })
	return n
}

func (h *history) play(ctx context.Context, e event) {
	switch e.what {
	case "path":
		h.network.Set(e.region, e.other, e.path)
		return
	case "both ways":
		h.network.Set(e.region, e.other, e.path)
		h.network.Set(e.other, e.region, e.path)
		return
	case "isolate":
		h.network.Isolate(e.region, regions, e.path)
		return
	}
	var all sync.WaitGroup
	for _, region := range regions {
		if region == e.region || e.everywhere {
			all.Go(func() { h.act(ctx, e, region) })
		}
	}
	all.Wait()
}

// act does what one gateway does in an event.
func (h *history) act(ctx context.Context, e event, region string) {
	switch e.what {
	case "join":
		n := h.count()
		participant, session := fmt.Sprintf("p%d", n), fmt.Sprintf("s%d", n)
		ok := h.write(ctx, region, func(r *encounter.Encounter) error {
			held := encounter.Session{Kind: encounter.Browser, Gateway: "gw"}
			_, err := r.Join(participant, access.Provider, session, held, nil, nil, true)
			return err
		})
		h.note(ok, func() { h.joined[participant] = session })
	case "place", "replace":
		var placed encounter.Placement
		ok := h.write(ctx, region, func(r *encounter.Encounter) error {
			if e.what == "place" && r.Placement.Placed() {
				return errors.New("placed")
			}
			placed = encounter.Placement{Region: region, SFU: region, Epoch: r.Placement.Epoch + 1, Term: r.Placement.Term}
			return r.Place(placed)
		})
		h.note(ok, func() { h.epochs = max(h.epochs, placed.Epoch) })
	case "remove":
		participant := fmt.Sprintf("p%d", h.count()/2)
		ok := h.write(ctx, region, func(r *encounter.Encounter) error { return r.Remove(participant) })
		h.note(ok, func() { h.removed[participant] = true })
	case "delete":
		if record, err := h.stores[region].Get(ctx, visit); err == nil {
			_ = h.stores[region].Delete(ctx, record) // it may be too late, or out of reach
		}
	case "lock": // nobody new may join then, so it comes late
		if h.count() > 20 {
			ok := h.write(ctx, region, func(r *encounter.Encounter) error { r.SetLocked(true); return nil })
			h.note(ok, func() { h.locked = true })
		}
	}
}

func TestWhateverIsCutNothingAcknowledgedIsLost(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		events := rapid.SliceOfN(rapid.Custom(drawEvent), 5, 30).Draw(rt, "events")
		ok := t.Run("", func(t *testing.T) { synctest.Test(t, func(t *testing.T) { playAll(t, events) }) })
		if !ok {
			rt.FailNow()
		}
	})
}

func TestWhateverIsCutADeletedRecordIsGoneOrGoesOnEverywhere(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		events := rapid.SliceOfN(rapid.Custom(drawEvent), 5, 20).Draw(rt, "events")
		for i := range events {
			if rapid.IntRange(0, 2).Draw(rt, "delete instead") == 0 {
				events[i].what = "delete"
			}
		}
		ok := t.Run("", func(t *testing.T) { synctest.Test(t, func(t *testing.T) { deleteAmong(t, events) }) })
		if !ok {
			rt.FailNow()
		}
	})
}

func deleteAmong(t *testing.T, events []event) {
	t.Helper()
	w := newWorld(t)
	h := &history{network: w.Network, stores: w.stores, joined: make(map[string]string), removed: make(map[string]bool)}
	for _, e := range events {
		h.play(t.Context(), e)
		time.Sleep(e.pause)
	}
	for _, region := range regions {
		w.Isolate(region, regions, federationtest.Path{})
		w.Set(region, region, federationtest.Path{})
	}
	require.Eventually(t, func() bool {
		copies := 0
		for _, region := range regions {
			_, err := w.stores[region].List(t.Context(), "") // as whoever sweeps does
			_, _ = w.stores[region].Get(t.Context(), visit)  // as whoever wants to join does
			if _, kept := w.backend(region).Get(t.Context(), visitPath); kept == nil {
				copies++
			}
			if err != nil {
				return false
			}
		}
		record, level := federationtest.Level(t.Context(), federationtest.World{Regions: regions, KV: w.KV}, visit)
		return copies == 0 || level && !record.Gone
	}, 5*time.Minute, time.Second, "neither gone nor there: %v", events)
}

func playAll(t *testing.T, events []event) {
	t.Helper()
	network := federationtest.NewNetwork(federationtest.Memory())
	h := &history{
		network: network, stores: make(map[string]*federation.Store),
		joined: make(map[string]string), removed: make(map[string]bool),
	}
	watchers := make(map[string]*federationtest.Watcher)
	for _, region := range regions {
		h.stores[region] = open(t, network, region)
		watchers[region] = federationtest.Follow(t, h.stores[region], visit)
	}
	for _, e := range events {
		h.play(t.Context(), e)
		time.Sleep(e.pause)
	}
	for _, region := range regions {
		for _, other := range regions {
			network.Set(region, other, federationtest.Path{})
		}
	}
	if len(h.joined) == 0 {
		return // perhaps nobody could even create it
	}
	w := federationtest.World{Regions: regions, KV: network.KV}
	var record encounter.Encounter
	require.Eventually(t, func() bool {
		var level bool
		record, level = federationtest.Level(t.Context(), w, visit)
		return level
	}, time.Minute, 100*time.Millisecond, "the copies stay apart: %v", events)
	time.Sleep(time.Second)
	for region, watcher := range watchers {
		require.Empty(t, watcher.Faults(), "what %s saw: %v", region, events)
		require.Equal(t, record.Revision, watcher.Last().Revision, "what %s sees: %v", region, events)
	}
	for participant, session := range h.joined {
		p, known := record.Participants[participant]
		require.True(t, known, "%s is stranded: %v", participant, events)
		if !h.removed[participant] && p.State != encounter.Removed {
			require.Contains(t, p.Sessions, session, "%s: %v", participant, events)
		}
	}
	for participant := range h.removed {
		require.Equal(t, encounter.Removed, record.Participants[participant].State, "%s came back: %v", participant, events)
	}
	require.True(t, record.Locked || !h.locked, "%v", events)
	require.GreaterOrEqual(t, record.Placement.Epoch, h.epochs, "%v", events)
}
