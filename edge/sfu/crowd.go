package sfu

import (
	"encoding/json"
	"slices"

	"github.com/wardline/wardline/core/signaling"
)

// manyLegs is how many legs make a room a crowd, until there are no more than fewLegs.
const manyLegs, fewLegs = 32, 24

// crowd is a room with many legs. What happens there is acted on once a tick, for all that came together, and everybody is
// told what has changed about the others instead of everything: what a join costs does not grow with the square of those
// who are there.
type crowd struct {
	here   bool
	behind bool // something changed that was not acted on yet
	// gathered counts how often the room became a crowd, told is what all know who were informed since.
	gathered uint64
	told     map[string]signaling.Peer
}

// gathers reports whether so many legs are a crowd.
func (c *crowd) gathers(legs int) bool {
	was := c.here
	if c.here = legs > manyLegs || c.here && legs > fewLegs; c.here && !was {
		c.gathered++
		c.told = nil
	}
	return c.here
}

// news is what has changed since everybody was told.
func (c *crowd) news(now []signaling.Peer) signaling.Peers {
	news := signaling.Peers{Partial: true, Peers: []signaling.Peer{}}
	here := make(map[string]signaling.Peer, len(now))
	for _, peer := range now {
		here[peer.Participant] = peer
		if before, known := c.told[peer.Participant]; !known || before != peer {
			news.Peers = append(news.Peers, peer)
		}
	}
	for participant := range c.told {
		if _, still := here[participant]; !still {
			news.Gone = append(news.Gone, participant)
		}
	}
	slices.Sort(news.Gone)
	c.told = here
	return news
}

// tellPeers tells every browser about the others.
func (r *room) tellPeers() {
	everybody := r.everybody()
	if !r.crowd.gathers(len(r.legs)) {
		for _, l := range r.legs {
			r.tellAll(l, everybody)
		}
		return
	}
	news := r.crowd.news(everybody)
	for _, l := range r.legs {
		if l.informed != r.crowd.gathered {
			r.tellAll(l, everybody)
		} else if l.toldPeers() {
			l.tellNews(news)
		}
	}
}

// tellNews tells a browser what has changed about the others, if anything has.
func (l *leg) tellNews(news signaling.Peers) {
	news.Route = l.route
	if slices.ContainsFunc(news.Peers, l.is) {
		news.Peers = slices.DeleteFunc(slices.Clone(news.Peers), l.is)
	}
	if len(news.Peers)+len(news.Gone) > 0 {
		l.send(news)
	}
}

// is reports whether a peer is the leg's own participant.
func (l *leg) is(p signaling.Peer) bool { return p.Participant == l.participant }

// tellPeersTo tells one browser about all the others.
func (r *room) tellPeersTo(l *leg) { r.tellAll(l, r.everybody()) }

// tellAll tells a browser about all the others, if it does not know.
func (r *room) tellAll(l *leg, everybody []signaling.Peer) {
	if !l.toldPeers() {
		return
	}
	others := slices.DeleteFunc(slices.Clone(everybody), l.is)
	message := signaling.Peers{Route: l.route, Peers: others}
	if r.crowd.here {
		l.informed, l.peers = r.crowd.gathered, ""
		l.send(message)
		return
	}
	text, err := json.Marshal(message)
	if err != nil || string(text) == l.peers {
		return
	}
	l.peers = string(text)
	l.send(message)
}

// toldPeers reports whether a leg is told about the others.
func (l *leg) toldPeers() bool {
	return l.kind == signaling.BrowserSession && l.room.admitted(l.participant)
}

// everybody lists who is admitted and has a leg that may send.
func (r *room) everybody() []signaling.Peer {
	peers := make([]signaling.Peer, 0, len(r.people))
	for _, l := range r.legs {
		if r.admitted(l.participant) && r.sender(l.participant) == l {
			peers = append(peers, l.sends())
		}
	}
	return peers
}

// sender is the newest leg of a participant that may send, nil if there is none.
func (r *room) sender(participant string) *leg {
	for _, l := range slices.Backward(r.people[participant]) {
		if l.kind != signaling.WHEPSession {
			return l
		}
	}
	return nil
}
