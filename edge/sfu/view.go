package sfu

import (
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/sfu/allocation"
	"github.com/wardline/wardline/edge/sfu/bandwidth"
	"github.com/wardline/wardline/edge/sfu/selection"
)

// view is how a client shows its videos; nil while it has not said.
type view map[wanted]signaling.Tile

func newView(m signaling.View) view {
	v := make(view, len(m.Tiles))
	for _, tile := range m.Tiles {
		v[wanted{tile.Participant, tile.Source}] = tile
	}
	return v
}

// enough is how many pixels of a tile a pixel of video covers without being seen: a third more each way.
const enough = 2

// top is the largest layer that is worth sending for a tile: the smallest whose picture fills it, None if it
// cannot be seen. Without a tile it is fallback.
func (v view) top(of wanted, sizes []int, costs []bandwidth.Rate, fallback int) int {
	tile, known := v[of]
	if !known {
		return fallback
	}
	pixels := tile.Width * tile.Height
	if pixels == 0 {
		return allocation.None
	}
	for i, size := range sizes {
		last := i+1 == len(sizes) || sizes[i+1] != size // of the rungs of that size
		if last && size*enough >= pixels {
			return atLeastOne(costs, i)
		}
	}
	return len(sizes) - 1
}

// attention is what the client makes of a video.
func (v view) attention(of wanted) selection.Attention {
	tile, known := v[of]
	switch {
	case !known:
		return selection.Unknown
	case tile.Width*tile.Height == 0:
		return selection.Hidden
	case tile.Pinned:
		return selection.Pinned
	default:
		return selection.Seen
	}
}

// usualPixels is the size of a picture by layer, for a camera of 1280 by 720.
func usualPixels(rid string) int {
	const full = 1280 * 720
	switch rid {
	case "h":
		return full / 4
	case "q":
		return full / 16
	default:
		return full
	}
}
