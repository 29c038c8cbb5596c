package sfu

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestChooseLayer(t *testing.T) {
	const y, n = true, false
	tests := map[string]struct {
		live   []bool
		videos int
		want   int
	}{
		"no layers":                   {nil, 1, -1},
		"one layer, many videos":      {[]bool{y}, 20, 0},
		"few videos: largest":         {[]bool{y, y, y}, 4, 2},
		"more videos: middle":         {[]bool{y, y, y}, 5, 1},
		"many videos: smallest":       {[]bool{y, y, y}, 10, 0},
		"largest stopped":             {[]bool{y, y, n}, 1, 1},
		"only smallest lives":         {[]bool{y, n, n}, 1, 0},
		"smallest stopped":            {[]bool{n, y, y}, 10, 1},
		"nothing lives: what we want": {[]bool{n, n, n}, 1, 2},
		"two layers, middle":          {[]bool{y, y}, 5, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { require.Equal(t, test.want, chooseLayer(test.live, test.videos)) })
	}
}
