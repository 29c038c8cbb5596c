package sfu

import (
	"slices"
	"time"

	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/sfu/selection"
)

const (
	// fewPublishers is of how many participants everybody gets everything. With more of them each subscriber gets a
	// selection, until there are no more than fewAgain.
	fewPublishers, fewAgain = 8, 6
	// selectedVoices and selectedVideos are how many of each a selection has at most. Voices that say nothing about their
	// loudness are heard beside them, no more than as many again.
	selectedVoices, selectedVideos = 3, 9
)

// program is what there is to receive in a room. It is worked out once for all legs, and no leg is touched for which it
// has not changed.
type program struct {
	generation uint64    // counts the changes
	tracks     []offered // of all who are admitted, in the order they came
	speaker    string

	selective bool
	voices    selection.Voices
	floor     selection.Floor
	selected  selected
}

// offered is one track that could be received.
type offered struct {
	wanted
	track *track
}

// selected is what a selective program is made of.
type selected struct {
	heard  []string          // the first selectedVoices for everybody, one more for those among them
	always []string          // those whose loudness is not known
	videos []selection.Video // in the order of the floor
}

// plan works out the program.
func (r *room) plan(now time.Time) {
	p := &r.program
	tracks := r.published()
	publishers := 0
	for i, each := range tracks {
		if i == 0 || each.participant != tracks[i-1].participant {
			publishers++
		}
	}
	selective := publishers > fewPublishers || p.selective && publishers > fewAgain
	if p.speaker != r.speaker || p.selective != selective || !slices.Equal(p.tracks, tracks) {
		p.generation++
	}
	p.tracks, p.speaker, p.selective = tracks, r.speaker, selective
	r.reselect(now)
}

// published lists what the admitted publish.
func (r *room) published() []offered {
	var tracks []offered
	for _, l := range r.legs {
		if r.people[l.participant][0] != l || !r.admitted(l.participant) {
			continue
		}
		for _, source := range []signaling.Source{signaling.Microphone, signaling.Camera, signaling.Screen} {
			w := wanted{l.participant, source}
			if t := r.find(w); t != nil {
				tracks = append(tracks, offered{w, t})
			}
		}
	}
	return tracks
}

// reselect decides who is heard and seen in a selective program, and reports whether that is news.
func (r *room) reselect(now time.Time) bool {
	p := &r.program
	if !p.selective {
		return false
	}
	var next selected
	var people []string
	var measured []selection.Microphone
	r.voices.Lock()
	for _, each := range p.tracks {
		if len(people) == 0 || people[len(people)-1] != each.participant {
			people = append(people, each.participant)
		}
		if each.source != signaling.Microphone {
			continue
		}
		level, spoke, known := r.voices.detector.Level(each.participant)
		if known || !each.track.settled() {
			measured = append(measured, selection.Microphone{Participant: each.participant, Level: level, Spoke: spoke})
		} else if len(next.always) < selectedVoices {
			next.always = append(next.always, each.participant)
		}
	}
	r.voices.Unlock()
	next.heard = slices.Clone(p.voices.Choose(now, selectedVoices, measured))
	for _, participant := range p.floor.Order(r.speaker, people) {
		for _, source := range []signaling.Source{signaling.Camera, signaling.Screen} {
			if r.find(wanted{participant, source}) != nil {
				next.videos = append(next.videos, selection.Video{Participant: participant, Source: source})
			}
		}
	}
	if p.selected.equal(next) {
		return false
	}
	p.selected = next
	p.generation++
	return true
}

func (s selected) equal(other selected) bool {
	return slices.Equal(s.heard, other.heard) && slices.Equal(s.always, other.always) && slices.Equal(s.videos, other.videos)
}

// served is by what a leg's slots were last assigned: for the same again there is nothing to do.
type served struct {
	generation uint64
	receives   bool
}

// bring makes a leg's slots carry what the program has for it, if that may have changed.
func (r *room) bring(l *leg) {
	if l.kind == signaling.WHIPSession {
		return
	}
	s := &l.subscriber
	now := served{r.program.generation, l.canSubscribe && r.admitted(l.participant)}
	if s.served == now && !s.dirty {
		return
	}
	s.served = now
	r.server.metrics.assignments.Inc()
	s.setSelects(r.program.selective && l.kind == signaling.BrowserSession)
	s.update(r.wants(l), r.find)
}

// viewChanged gives a leg what it now sees.
func (r *room) viewChanged(l *leg) {
	if r.program.selective {
		l.subscriber.served = served{}
		r.bring(l)
	}
}

// wants lists what a leg is to receive of the others, if it is admitted.
func (r *room) wants(l *leg) []wanted {
	switch {
	case !l.canSubscribe || !r.admitted(l.participant):
		return nil
	case l.kind == signaling.WHEPSession:
		return r.wantsOf(r.shown(l))
	case r.program.selective:
		return r.program.selected.of(l)
	}
	wants := make([]wanted, 0, len(r.program.tracks))
	for _, each := range r.program.tracks {
		if each.participant != l.participant {
			wants = append(wants, each.wanted)
		}
	}
	return wants
}

// of is what of a selection a leg is to receive.
func (s selected) of(l *leg) []wanted {
	var wants []wanted
	for _, voices := range [][]string{s.heard, s.always} {
		places := selectedVoices
		for _, participant := range voices {
			if participant != l.participant && places > 0 {
				wants = append(wants, wanted{participant, signaling.Microphone})
				places--
			}
		}
	}
	videos := selection.Videos(selectedVideos, s.videos, func(v selection.Video) selection.Attention {
		if v.Participant == l.participant {
			return selection.Hidden
		}
		return l.subscriber.view.attention(wanted{v.Participant, v.Source})
	})
	for _, v := range videos {
		wants = append(wants, wanted{v.Participant, v.Source})
	}
	return wants
}

// wantsOf is what a WHEP leg gets of a participant.
func (r *room) wantsOf(participant string) []wanted {
	var wants []wanted
	if r.admitted(participant) {
		for _, source := range []signaling.Source{signaling.Microphone, signaling.Camera} {
			if w := (wanted{participant, source}); r.find(w) != nil {
				wants = append(wants, w)
			}
		}
	}
	return wants
}

// shown is whom a WHEP leg gets: its target, or the active speaker, who stays until another speaks. As
// long as nobody has spoken it is the first who has video.
func (r *room) shown(l *leg) string {
	if l.target != "" {
		if l.target == l.participant {
			return ""
		}
		return l.target
	}
	candidates := []string{r.speaker, l.subscriber.heard}
	for _, each := range r.program.tracks {
		if each.source == signaling.Camera {
			candidates = append(candidates, each.participant)
		}
	}
	l.subscriber.heard = ""
	i := slices.IndexFunc(candidates, func(participant string) bool {
		return participant != "" && participant != l.participant && r.admitted(participant) &&
			r.find(wanted{participant, signaling.Camera}) != nil
	})
	if i >= 0 {
		l.subscriber.heard = candidates[i]
	}
	return l.subscriber.heard
}
