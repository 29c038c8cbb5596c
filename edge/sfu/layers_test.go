package sfu

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/edge/sfu/bandwidth"
)

func TestTopRung(t *testing.T) {
	const y, n = bandwidth.Rate(1), bandwidth.Rate(0)
	tests := map[string]struct {
		costs  []bandwidth.Rate
		videos int
		want   int
	}{
		"no layers":                   {nil, 1, -1},
		"one layer, many videos":      {[]bandwidth.Rate{y}, 20, 0},
		"few videos: largest":         {[]bandwidth.Rate{y, y, y}, 4, 2},
		"more videos: middle":         {[]bandwidth.Rate{y, y, y}, 5, 1},
		"many videos: smallest":       {[]bandwidth.Rate{y, y, y}, 10, 0},
		"largest stopped":             {[]bandwidth.Rate{y, y, n}, 1, 2},
		"smallest stopped":            {[]bandwidth.Rate{n, n, y}, 10, 2},
		"nothing lives: what we want": {[]bandwidth.Rate{n, n, n}, 1, 2},
		"two layers, middle":          {[]bandwidth.Rate{y, y}, 5, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.want, topRung([]int{1, 4, 16}[:len(test.costs)], test.costs, test.videos))
		})
	}
}

func TestTopRungOfFewSizes(t *testing.T) {
	sizes, costs := []int{1, 1, 1, 4, 4, 16, 16}, []bandwidth.Rate{1, 2, 3, 4, 5, 6, 7}
	for videos, want := range map[int]int{1: 6, fewVideos + 1: 4, manyVideos + 1: 2} {
		require.Equal(t, want, topRung(sizes, costs, videos), "all pictures of a size")
	}
	require.Equal(t, 3, topRung(sizes, []bandwidth.Rate{0, 0, 0, 4, 5, 6, 7}, manyVideos+1))
}

func TestMeter(t *testing.T) {
	var m meter
	tick := func(bytes int) bandwidth.Rate {
		m.add(bytes)
		m.tick()
		rate, _ := m.rate()
		return rate
	}
	for range meterReady - 1 {
		tick(1250)
		_, known := m.rate()
		require.False(t, known)
	}
	require.Equal(t, bandwidth.Rate(100_000), tick(1250), "1250 bytes each tenth of a second")
	for range meterTicks {
		tick(2500)
	}
	require.Equal(t, bandwidth.Rate(200_000), tick(2500))
	fallen := tick(0)
	require.Greater(t, fallen, bandwidth.Rate(190_000), "a peak is remembered")
	for range 10 * meterTicks {
		fallen = tick(0)
	}
	require.Less(t, fallen, bandwidth.Rate(10_000), "for some seconds")
}
