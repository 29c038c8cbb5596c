package allocation_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/wardline/wardline/edge/sfu/allocation"
	"github.com/wardline/wardline/edge/sfu/bandwidth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const none = allocation.None

func rates(kilobits ...int) (all []bandwidth.Rate) {
	for _, k := range kilobits {
		all = append(all, bandwidth.Rate(k)*1000)
	}
	return all
}

func camera(priority, current int) allocation.Track {
	return allocation.Track{Priority: priority, Layers: rates(100, 400, 1600), Top: 2, Current: current}
}

func TestShare(t *testing.T) {
	screen := allocation.Track{Priority: 3, Layers: rates(2000), Top: 0, Current: none}
	small := camera(0, none)
	small.Top = 0
	hidden := camera(0, 2)
	hidden.Top = none
	holed := camera(0, none)
	holed.Layers = rates(100, 0, 1600)
	dead := camera(0, 2)
	dead.Layers = rates(100, 400, 0)
	tests := map[string]struct {
		rate    int
		tracks  []allocation.Track
		want    []int
		missing int
	}{
		"nobody":                           {1000, nil, []int{}, 0},
		"plenty":                           {9000, []allocation.Track{camera(0, none), camera(0, none)}, []int{2, 2}, 0},
		"one, nearly":                      {1650, []allocation.Track{camera(0, none)}, []int{1}, 1696},
		"what is sent needs no margin":     {1650, []allocation.Track{camera(0, 2)}, []int{2}, 0},
		"equals take turns":                {1000, []allocation.Track{camera(0, none), camera(0, none)}, []int{1, 1}, 2096},
		"the first rises first":            {1900, []allocation.Track{camera(0, none), camera(1, none)}, []int{0, 2}, 2024},
		"everybody before anybody's best":  {300, []allocation.Track{camera(5, none), camera(0, none)}, []int{0, 0}, 524},
		"who comes last is paused":         {150, []allocation.Track{camera(0, none), camera(1, none)}, []int{none, 0}, 424},
		"all paused":                       {90, []allocation.Track{camera(0, none)}, []int{none}, 106},
		"a screen that does not fit":       {500, []allocation.Track{screen, camera(0, none)}, []int{none, 1}, 2520},
		"a small tile is content":          {9000, []allocation.Track{small}, []int{0}, 0},
		"a hidden one gets nothing":        {9000, []allocation.Track{hidden}, []int{none}, 0},
		"a layer that is not sent":         {1000, []allocation.Track{holed}, []int{0}, 1696},
		"a layer that stopped being sent":  {9000, []allocation.Track{dead}, []int{1}, 0},
		"shortage takes from the last":     {1750, []allocation.Track{camera(1, 2), camera(0, 2)}, []int{2, 0}, 2024},
		"shortage pauses only as it must":  {120, []allocation.Track{camera(1, 2), camera(0, 2)}, []int{0, none}, 424},
		"nothing is left of a lost budget": {-50, []allocation.Track{camera(1, 2)}, []int{none}, 106},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var a allocation.Allocator
			choice, missing := a.Share(time.Minute, bandwidth.Rate(test.rate)*1000, test.tracks)
			require.Equal(t, test.want, choice)
			require.Equal(t, bandwidth.Rate(test.missing)*1000, missing)
		})
	}
}

func TestASmallShortageIsBorneForAWhile(t *testing.T) {
	var a allocation.Allocator
	share := func(at time.Duration, kilobits int) int {
		choice, _ := a.Share(at, bandwidth.Rate(kilobits)*1000, []allocation.Track{camera(0, 2)})
		return choice[0]
	}
	require.Equal(t, 2, share(1*time.Second, 1400))
	require.Equal(t, 2, share(3*time.Second, 1700), "it recovered")
	require.Equal(t, 2, share(4*time.Second, 1400))
	require.Equal(t, 2, share(8*time.Second, 1400))
	require.Equal(t, 1, share(9*time.Second+time.Millisecond, 1400), "for too long")
	require.Equal(t, 1, share(20*time.Second, 700), "too large to be borne at all")
}

func TestAStepUpThatFailedIsNotRepeatedSoon(t *testing.T) {
	var a allocation.Allocator
	current := 1
	share := func(at time.Duration, kilobits int) int {
		choice, _ := a.Share(at, bandwidth.Rate(kilobits)*1000, []allocation.Track{camera(0, current)})
		current = choice[0]
		return current
	}
	pause := func(from time.Duration) time.Duration {
		for at := from; ; at += 100 * time.Millisecond {
			if share(at, 1800) == 2 {
				return at - from
			}
		}
	}
	require.Equal(t, 2, share(time.Minute, 1800))
	require.Equal(t, 1, share(61*time.Second, 500))
	require.Equal(t, 4*time.Second, pause(61*time.Second))
	require.Equal(t, 1, share(66*time.Second, 500))
	require.Equal(t, 8*time.Second, pause(66*time.Second), "longer each time")
	require.Equal(t, 1, share(75*time.Second, 500))
	require.Equal(t, 2, share(75*time.Second+100*time.Millisecond, 5000), "unless there is far more")
	require.Equal(t, 1, share(10*time.Minute, 500))
	require.Equal(t, 2*time.Second, pause(10*time.Minute), "forgiven")
}

// TestShareKeepsItsPromises plays any tracks: what is chosen is there, fits unless a shortage is borne, and
// no track gets more than its smallest layer while one of higher priority that could be given its own goes
// without.
func TestShareKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tracks []allocation.Track
		for range rapid.IntRange(0, 6).Draw(t, "tracks") {
			var track allocation.Track
			track.Priority = rapid.IntRange(0, 3).Draw(t, "priority")
			cost := 0
			for range rapid.IntRange(0, 3).Draw(t, "layers") {
				cost += rapid.IntRange(1, 2000).Draw(t, "more")
				layer := rates(cost)[0]
				if rapid.IntRange(0, 4).Draw(t, "off") == 0 {
					layer = 0
				}
				track.Layers = append(track.Layers, layer)
			}
			track.Top = rapid.IntRange(none, 3).Draw(t, "top")
			track.Current = rapid.IntRange(none, 3).Draw(t, "current")
			tracks = append(tracks, track)
		}
		rate := rates(rapid.IntRange(0, 8000).Draw(t, "rate"))[0]
		var a allocation.Allocator
		choice, missing := a.Share(time.Hour, rate, tracks)
		require.Len(t, choice, len(tracks))
		var spent, before bandwidth.Rate
		for i, track := range tracks {
			if choice[i] == none {
				continue
			}
			require.LessOrEqual(t, choice[i], track.Top)
			require.Positive(t, track.Layers[choice[i]])
			spent += track.Layers[choice[i]]
			if choice[i] <= track.Current {
				before += track.Layers[choice[i]]
			}
		}
		if spent > rate {
			require.Equal(t, before, spent, "a shortage is borne only without any change")
			require.LessOrEqual(t, float64(spent)*0.8, float64(rate))
		}
		if missing > 0 {
			require.Greater(t, missing, spent)
		}
	})
}

func BenchmarkShare(b *testing.B) {
	var a allocation.Allocator
	tracks := make([]allocation.Track, 25)
	for i := range tracks {
		tracks[i] = camera(i%3, 1)
	}
	b.ReportAllocs()
	for b.Loop() {
		a.Share(time.Second, 9e6, tracks)
	}
}
