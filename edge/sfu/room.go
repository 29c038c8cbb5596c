package sfu

import (
	"encoding/json"
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
	legs       []*leg // in the order they came
	epoch      uint64
	membership signaling.Membership
	known      bool // a membership was seen
	speaker    string
	idle       time.Time // since when nobody is here
	dead       bool      // forgotten by the server; a new room takes its place

	voices struct {
		sync.Mutex // taken by every audio packet, so apart from the room's
		detector   *speaker.Detector
	}
}

func newRoom(s *Server, ref signaling.EncounterRef, now time.Time) *room {
	r := &room{server: s, ref: ref, idle: now}
	r.voices.detector = speaker.NewDetector()
	return r
}

// sawEpoch remembers the highest epoch.
func (r *room) sawEpoch(epoch uint64) { r.epoch = max(r.epoch, epoch) }

func (r *room) admitted(participant string) bool {
	return r.known && slices.Contains(r.membership.Admitted, participant)
}

// leg finds a leg of a session, nil if it is not here.
func (r *room) leg(session string, number uint32) *leg {
	for _, l := range r.legs {
		if l.session == session && l.route.Leg == number {
			return l
		}
	}
	return nil
}

// maxLegs is how many legs one participant may have: those of a browser that moves, and of WHIP and WHEP.
const maxLegs = 16

// count is how many legs a participant has.
func (r *room) count(participant string) int {
	legs := 0
	for _, l := range r.legs {
		if l.participant == participant {
			legs++
		}
	}
	return legs
}

// remove closes a leg; the caller says changed afterwards.
func (r *room) remove(l *leg) {
	r.legs = slices.DeleteFunc(r.legs, func(each *leg) bool { return each == l })
	l.close()
	r.server.removeLeg(l)
	if r.count(l.participant) == 0 {
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
	for _, l := range slices.Clone(r.legs) {
		switch {
		case m.Ended:
			r.end(l, goneEnded)
		case !slices.Contains(m.Admitted, l.participant) && !slices.Contains(m.Waiting, l.participant):
			r.end(l, goneRemoved)
		}
	}
	r.changed()
}

// changed brings everybody up to date after tracks, legs or membership changed.
func (r *room) changed() {
	for _, l := range r.legs {
		r.listen(l)
		if l.kind != signaling.WHIPSession {
			l.subscriber.update(r.wants(l), r.find)
		}
		r.tellPeers(l)
	}
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
	for _, l := range slices.Backward(r.legs) {
		if l.participant != w.participant {
			continue
		}
		if t := l.publisher.track(w.source); t != nil {
			return t
		}
	}
	return nil
}

// wants lists what a leg is to receive: every track of the others, if it is admitted and they are.
func (r *room) wants(l *leg) []wanted {
	if !l.canSubscribe || !r.admitted(l.participant) {
		return nil
	}
	if l.kind == signaling.WHEPSession {
		return r.wantsOf(r.shown(l), signaling.Microphone, signaling.Camera)
	}
	var wants []wanted
	seen := map[string]bool{l.participant: true}
	for _, other := range r.legs {
		if !seen[other.participant] {
			seen[other.participant] = true
			wants = append(wants, r.wantsOf(other.participant, signaling.Microphone, signaling.Camera, signaling.Screen)...)
		}
	}
	return wants
}

func (r *room) wantsOf(participant string, sources ...signaling.Source) []wanted {
	if !r.admitted(participant) {
		return nil
	}
	var wants []wanted
	for _, source := range sources {
		if w := (wanted{participant, source}); r.find(w) != nil {
			wants = append(wants, w)
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
	shows := func(participant string) bool {
		return participant != "" && participant != l.participant && r.admitted(participant) &&
			r.find(wanted{participant, signaling.Camera}) != nil
	}
	candidates := []string{r.speaker, l.subscriber.heard}
	for _, other := range r.legs {
		candidates = append(candidates, other.participant)
	}
	l.subscriber.heard = ""
	if i := slices.IndexFunc(candidates, shows); i >= 0 {
		l.subscriber.heard = candidates[i]
	}
	return l.subscriber.heard
}

// tellPeers sends a browser the others, if they are not what it was told last.
func (r *room) tellPeers(l *leg) {
	if l.kind != signaling.BrowserSession || !r.admitted(l.participant) {
		return
	}
	message := signaling.Peers{Route: l.route, Peers: r.peersOf(l)}
	text, err := json.Marshal(message)
	if err != nil || string(text) == l.peers {
		return
	}
	l.peers = string(text)
	l.send(message)
}

func (r *room) peersOf(l *leg) []signaling.Peer {
	peers := []signaling.Peer{}
	seen := map[string]bool{l.participant: true}
	for _, other := range slices.Backward(r.legs) {
		if seen[other.participant] || other.kind == signaling.WHEPSession || !r.admitted(other.participant) {
			continue
		}
		seen[other.participant] = true
		peers = append(peers, other.sends())
	}
	slices.Reverse(peers)
	return peers
}

// refresh tells a gateway that took a leg over everything the client may have missed.
func (r *room) refresh(l *leg) {
	l.peers = ""
	r.tellPeers(l)
	if l.kind == signaling.BrowserSession && r.admitted(l.participant) {
		l.send(signaling.Speaker{Route: l.route, Participant: r.speaker})
	}
	if l.subscriber.outstanding != nil {
		l.send(*l.subscriber.outstanding)
	}
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
	for _, l := range slices.Clone(r.legs) {
		if l.link == nil && l.needsGateway() && now.Sub(l.orphaned) >= r.server.cfg.OrphanAfter {
			r.end(l, goneOrphaned)
			continue
		}
		l.subscriber.tune(now)
	}
	for _, l := range r.legs {
		l.publisher.cast(now)
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
