package selection

import (
	"slices"

	"github.com/wardline/wardline/core/signaling"
)

// Floor remembers who spoke, for whose video to show first. The zero value is ready. It is not safe for concurrent use.
type Floor struct{ order []string }

// Order says who comes first as of now: the active speaker, who may be empty, then who spoke last, then who has not spoken
// yet, as in present. It is good until the next call.
func (f *Floor) Order(speaker string, present []string) []string {
	here := make(map[string]bool, len(present))
	for _, id := range present {
		here[id] = true
	}
	f.order = slices.DeleteFunc(f.order, func(id string) bool { return !here[id] })
	for _, id := range f.order {
		delete(here, id)
	}
	for _, id := range present {
		if here[id] {
			f.order = append(f.order, id)
			delete(here, id)
		}
	}
	if at := slices.Index(f.order, speaker); at > 0 {
		copy(f.order[1:at+1], f.order[:at])
		f.order[0] = speaker
	}
	return f.order
}

// Video is one that could be seen.
type Video struct {
	Participant string
	Source      signaling.Source
}

// Attention is what a subscriber makes of a video.
type Attention int

// What a subscriber can make of a video. Unknown is one that it has said nothing about.
const (
	Unknown Attention = iota
	Hidden
	Seen
	Pinned
)

// Videos chooses at most limit videos for a subscriber. among are those that there are, in the order of the floor. Pinned
// ones come first, then shared screens, then the first camera, which is the active speaker's, then what the subscriber sees.
// It gets none that it has hidden, nor more than screens and the first camera of those that it has said nothing about: a
// large encounter has more videos than anybody who does not ask for them wants.
func Videos(limit int, among []Video, attention func(Video) Attention) []Video {
	chosen := make([]Video, 0, min(limit, len(among)))
	first := slices.IndexFunc(among, func(v Video) bool { return v.Source == signaling.Camera && attention(v) != Hidden })
	for _, wanted := range []func(i int, v Video) bool{
		func(_ int, v Video) bool { return attention(v) == Pinned },
		func(_ int, v Video) bool { return v.Source == signaling.Screen && attention(v) != Hidden },
		func(i int, _ Video) bool { return i == first },
		func(_ int, v Video) bool { return attention(v) == Seen },
	} {
		for i, v := range among {
			if len(chosen) < limit && wanted(i, v) && !slices.Contains(chosen, v) {
				chosen = append(chosen, v)
			}
		}
	}
	return chosen
}
