package sfu

import (
	"slices"
	"sync"
	"time"

	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/core/signaling/control"
	"github.com/wardline/wardline/edge/sfu/speaker"
)

// roomLinger is how long a room without anybody is remembered, for the membership and epoch it has seen.
const roomLinger = 10 * time.Minute

// room is one encounter on this server. Its lock guards everything in it but the packets' path.
type room struct {
	server *Server
	ref    signaling.EncounterRef

	mu         sync.Mutex
	legs       []*leg            // in the order they came
	people     map[string][]*leg // the same by participant
	epoch      uint64
	membership signaling.Membership
	admits     map[string]bool // the membership's Admitted
	known      bool            // a membership was seen
	speaker    string
	program    program
	crowd      crowd
	idle       time.Time // since when nobody is here
	dead       bool      // forgotten by the server; a new room takes its place

	voices struct {
		sync.Mutex // taken by every audio packet, so apart from the room's
		detector   *speaker.Detector
	}
}

func newRoom(s *Server, ref signaling.EncounterRef, now time.Time) *room {
	r := &room{server: s, ref: ref, idle: now, people: make(map[string][]*leg)}
	r.voices.detector = speaker.NewDetector()
	return r
}

// sawEpoch remembers the highest epoch.
func (r *room) sawEpoch(epoch uint64) { r.epoch = max(r.epoch, epoch) }

func (r *room) admitted(participant string) bool { return r.admits[participant] }

// leg finds a leg of a session, nil if it is not here.
func (r *room) leg(session string, number uint32) *leg {
	if l := r.server.leg(session, number); l != nil && l.room == r {
		return l
	}
	return nil
}

// maxLegs is how many legs one participant may have: those of a browser that moves, and of WHIP and WHEP.
const maxLegs = 16

// add takes a leg in; the caller says changed afterwards.
func (r *room) add(l *leg) {
	r.legs = append(r.legs, l)
	r.people[l.participant] = append(r.people[l.participant], l)
}

// remove closes a leg; the caller says changed afterwards.
func (r *room) remove(l *leg) {
	is := func(each *leg) bool { return each == l }
	r.legs = slices.DeleteFunc(r.legs, is)
	r.people[l.participant] = slices.DeleteFunc(r.people[l.participant], is)
	l.close()
	r.server.removeLeg(l)
	if len(r.people[l.participant]) == 0 {
		delete(r.people, l.participant)
		r.server.capacity.leave(r.ref)
		r.unheard(l.participant)
	}
	if len(r.legs) == 0 {
		r.idle = time.Now()
	}
}

// end closes a leg that is over on this server, and tells the gateways.
func (r *room) end(l *leg, reason string) {
	l.log.Info().Str("reason", reason).Msg("leg ended")
	r.remove(l)
	r.server.control.Broadcast(signaling.Frame{Session: l.session, Message: signaling.Gone{
		Route: l.route, EncounterRef: r.ref, Participant: l.participant, Kind: l.kind, Reason: reason,
	}})
	r.changed()
}

// setMembership takes a newer membership over: who is not in it is closed.
func (r *room) setMembership(m signaling.Membership) {
	if r.known && m.Revision < r.membership.Revision {
		return
	}
	r.sawEpoch(m.Epoch)
	r.membership, r.known = m, true
	r.admits = setOf(m.Admitted)
	waits := setOf(m.Waiting)
	for _, l := range slices.Clone(r.legs) {
		switch {
		case m.Ended:
			r.end(l, goneEnded)
		case !r.admits[l.participant] && !waits[l.participant]:
			r.end(l, goneRemoved)
		}
	}
	r.changed()
}

func setOf(ids []string) map[string]bool {
	set := make(map[string]bool, len(ids))
	for _, id := range ids {
		set[id] = true
	}
	return set
}

// changed brings everybody up to date after tracks, legs or membership changed: at once in a room of few, with the next tick
// in a crowd, where many come and go at a time.
func (r *room) changed() {
	if r.crowd.gathers(len(r.legs)) {
		r.crowd.behind = true
		return
	}
	r.update(time.Now())
}

// update does what changed calls for.
func (r *room) update(now time.Time) {
	r.crowd.behind = false
	for _, l := range r.legs {
		r.listen(l)
	}
	r.plan(now)
	for _, l := range r.legs {
		r.bring(l)
	}
	r.tellPeers()
}

// listen heeds the voice of whoever is admitted, and of nobody else.
func (r *room) listen(l *leg) {
	admitted := r.admitted(l.participant)
	for _, t := range l.publisher.tracks {
		t.audible.Store(admitted && t.source == signaling.Microphone)
	}
	if !admitted {
		r.unheard(l.participant)
	}
}

// find is where something wanted comes from: the newest leg that publishes it, nil if none does.
func (r *room) find(w wanted) *track {
	for _, l := range slices.Backward(r.people[w.participant]) {
		if t := l.publisher.track(w.source); t != nil {
			return t
		}
	}
	return nil
}

// refresh tells a gateway that took a leg over everything the client may have missed.
func (r *room) refresh(l *leg) {
	l.peers, l.informed = "", 0
	r.tellPeersTo(l)
	if l.kind == signaling.BrowserSession && r.admitted(l.participant) {
		l.send(signaling.Speaker{Route: l.route, Participant: r.speaker})
	}
	if l.subscriber.outstanding != nil {
		l.send(*l.subscriber.outstanding)
	}
	l.subscriber.tellCarried()
	l.publisher.retell()
	if len(l.subscriber.paused) > 0 {
		l.send(signaling.Paused{Route: l.route, Tracks: l.subscriber.paused})
	}
}

// heard takes the audio level of one packet.
func (r *room) heard(from *track, level uint8) {
	r.voices.Lock()
	defer r.voices.Unlock()
	if from.audible.Load() { // asked with the lock, so that nobody is heard after unheard
		r.voices.detector.Observe(from.leg.participant, level, time.Now())
	}
}

// unheard forgets the voice of a participant.
func (r *room) unheard(participant string) {
	r.voices.Lock()
	defer r.voices.Unlock()
	r.voices.detector.Forget(participant)
}

// tick does what is due: the active speaker, layers, orphans.
func (r *room) tick(now time.Time) {
	r.voices.Lock()
	speaking := r.voices.detector.Active(now)
	r.voices.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if speaking != "" && !r.admitted(speaking) {
		speaking = ""
	}
	if speaking != r.speaker {
		r.speaker = speaking
		r.tellSpeaker()
		r.changed()
	}
	if r.crowd.behind || r.reselect(now) {
		r.update(now)
	}
	for _, l := range slices.Clone(r.legs) {
		if l.link == nil && l.forsaken(now) {
			r.end(l, goneOrphaned)
			continue
		}
		l.subscriber.tune(now)
	}
	for _, l := range r.legs {
		l.publisher.cast(now)
		l.publisher.fallBack(now)
		l.publisher.tell()
		for _, t := range l.publisher.tracks {
			for _, each := range t.layers {
				each.tick(now)
			}
		}
	}
}

func (r *room) tellSpeaker() {
	for _, l := range r.legs {
		if l.kind == signaling.BrowserSession && r.admitted(l.participant) {
			l.send(signaling.Speaker{Route: l.route, Participant: r.speaker})
		}
	}
}

// lost takes note that a gateway is gone: media goes on, and its legs wait for another.
func (r *room) lost(link *control.Link, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.legs {
		if l.link == link {
			l.link, l.orphaned = nil, now
		}
	}
}

// forgettable reports whether the server can drop the room, and if so marks it.
func (r *room) forgettable(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dead = len(r.legs) == 0 && now.Sub(r.idle) >= roomLinger
	return r.dead
}

// shutdown ends every leg.
func (r *room) shutdown() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range slices.Clone(r.legs) {
		r.end(l, goneShutdown)
	}
}
