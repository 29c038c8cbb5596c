package client

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/wardline/wardline/core/signaling"
)

// stream is one source of a participant.
type stream struct {
	participant string
	source      signaling.Source
}

// hearing is what has come over one leg. The reception's lock guards it.
type hearing struct {
	leg     uint32
	streams map[stream]bool // that have carried a packet
}

func newHearing(leg uint32) *hearing { return &hearing{leg: leg, streams: make(map[stream]bool)} }

// reception is what a participant hears and sees of the others, over all legs. It is safe for concurrent use.
type reception struct {
	emit func(Event)

	mu     sync.Mutex
	people map[string]*person
}

// person is one other participant.
type person struct {
	audio        gaps
	present      bool
	packets      int
	videoPackets int
}

func newReception(emit func(Event)) *reception {
	return &reception{emit: emit, people: make(map[string]*person)}
}

// packet notes one received packet and reports whether it is the first of its stream on this leg.
func (r *reception) packet(on *hearing, s stream, now time.Time) (first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	from := r.people[s.participant]
	if from == nil {
		from = &person{}
		r.people[s.participant] = from
	}
	from.present = true
	if first = !on.streams[s]; first {
		on.streams[s] = true
		r.emit(Event{Kind: Media, From: s.participant, Source: string(s.source), Leg: on.leg})
	}
	if s.source != signaling.Microphone {
		from.videoPackets++
		return first
	}
	from.packets++
	if ended, ok := from.audio.heard(now); ok {
		r.emit(Event{
			Kind: Gap, From: s.participant, Leg: on.leg,
			Start: ended.start.UTC(), End: ended.end.UTC(), Ms: milliseconds(ended.length()),
		})
	}
	return first
}

// has reports whether a stream has carried a packet on this leg.
func (r *reception) has(on *hearing, s stream) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return on.streams[s]
}

// only stops telling about everybody but these. When somebody who was gone is heard again, the time in between is a
// gap all the same: a roster that forgot somebody must not hide it.
func (r *reception) only(present []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, each := range r.people {
		each.present = slices.Contains(present, id)
	}
}

// expect stops telling about the silence of who is not among the selected streams: nobody is sent their voice.
func (r *reception) expect(selected map[string]stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	voices := make(map[string]bool, len(selected))
	for _, each := range selected {
		if each.source == signaling.Microphone {
			voices[each.participant] = true
		}
	}
	for id, each := range r.people {
		if !voices[id] {
			each.audio = gaps{}
		}
	}
}

// silences tells about everybody who fell silent.
func (r *reception) silences(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(r.people)) {
		each := r.people[id]
		if !each.present {
			continue
		}
		if since, fell := each.audio.fellSilent(now); fell {
			r.emit(Event{Kind: Silent, From: id, Since: since.UTC()})
		}
	}
}

// stats tells about everybody since the last time; common has what is the same for all.
func (r *reception) stats(now time.Time, common Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(r.people)) {
		each := r.people[id]
		event := common
		event.Kind, event.From = Stats, id
		event.Packets, event.VideoPackets = each.packets, each.videoPackets
		event.LongestGapMs = milliseconds(each.audio.harvest(now))
		each.packets, each.videoPackets = 0, 0
		if each.present {
			r.emit(event)
		}
	}
}
