package sfu

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/wardline/wardline/core/signaling"
)

// track is what a leg publishes in one media section. It is guarded by its room's lock, the layers'
// own state aside.
type track struct {
	leg      *leg
	mid      string
	kind     webrtc.RTPCodecType
	source   signaling.Source // empty while the client announces none for the section
	clock    string           // names the publisher's clock
	layers   []*layer         // from small to large
	active   []string         // the layers the client was told last are wanted, nil before that
	ladder   ladder
	fallback fallback

	// audible says that this is the microphone of somebody admitted. It is set under the room's lock and
	// read by every audio packet.
	audible atomic.Bool
}

func (t *track) clockRate() uint32 { return clockRateOf(t.kind) }

func clockRateOf(kind webrtc.RTPCodecType) uint32 {
	if kind == webrtc.RTPCodecTypeAudio {
		return audioClockRate
	}
	return videoClockRate
}

// settled reports whether packets have come for so long that what they do not say (RFC 6464) is not said.
func (t *track) settled() bool {
	const ticks = int(time.Second / tickEvery)
	return len(t.layers) > 0 && t.layers[0].meter.ticks >= ticks && t.layers[0].meter.bytes.Load() > 0
}

func (t *track) addLayer(l *layer) {
	t.layers = append(t.layers, l)
	slices.SortStableFunc(t.layers, func(a, b *layer) int {
		if by := layerRank(a.rid) - layerRank(b.rid); by != 0 {
			return by
		}
		return strings.Compare(a.rid, b.rid)
	})
}

// kindOf is the kind of media of a source.
func kindOf(source signaling.Source) webrtc.RTPCodecType {
	if source == signaling.Microphone {
		return webrtc.RTPCodecTypeAudio
	}
	return webrtc.RTPCodecTypeVideo
}
