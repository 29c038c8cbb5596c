package client

import (
	"maps"
	"slices"
	"strings"
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
	calm   time.Time // nobody falls silent before
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

// listener is what is noted of one stream on one leg. One goroutine notes.
type listener struct {
	*reception
	on     *hearing
	stream stream
	person *person // nil until something was heard
}

// listen prepares for packets of a stream, so that each of them is looked up no more.
func (r *reception) listen(on *hearing, s stream) *listener {
	return &listener{reception: r, on: on, stream: s}
}

// packet notes one received packet and reports whether it is the first of its stream on this leg.
func (l *listener) packet(now time.Time) (first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.person == nil {
		first = l.begin()
	}
	from := l.person
	from.present = true
	if l.stream.source != signaling.Microphone {
		from.videoPackets++
		return first
	}
	from.packets++
	if ended, ok := from.audio.heard(now); ok {
		l.emit(Event{
			Kind: Gap, From: l.stream.participant, Leg: l.on.leg,
			Start: ended.start.UTC(), End: ended.end.UTC(), Ms: milliseconds(ended.length()),
		})
	}
	return first
}

// begin finds whose packets come, and reports whether they are the first of the stream on the leg.
func (l *listener) begin() (first bool) {
	l.person = l.people[l.stream.participant]
	if l.person == nil {
		l.person = &person{}
		l.people[l.stream.participant] = l.person
	}
	if l.on.streams[l.stream] {
		return false
	}
	l.on.streams[l.stream] = true
	l.emit(Event{Kind: Media, From: l.stream.participant, Source: string(l.stream.source), Leg: l.on.leg})
	return true
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
	if now.Before(r.calm) {
		return
	}
	r.calm = now.Add(silentAfter)
	var fallen []Event
	for id, each := range r.people {
		if due, ok := each.audio.due(); ok && due.Before(r.calm) {
			r.calm = due
		}
		if !each.present {
			continue
		}
		if since, fell := each.audio.fellSilent(now); fell {
			fallen = append(fallen, Event{Kind: Silent, From: id, Since: since.UTC()})
		}
	}
	slices.SortFunc(fallen, func(a, b Event) int { return strings.Compare(a.From, b.From) })
	for _, each := range fallen {
		r.emit(each)
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
