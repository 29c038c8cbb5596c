package sfu

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/wardline/wardline/core/signaling"
)

// subscriber is the sending half of a leg. The room's lock guards it.
type subscriber struct {
	leg   *leg
	conn  *connection
	slots []*slot
	up    bool // connected

	negotiation uint32 // of the newest offer
	outstanding *signaling.Offer
	dirty       bool // the client's picture of the slots is out of date

	answered signaling.Answer // WHEP: to the client's offer
	heard    string           // WHEP: the active speaker being shown
}

// slot is one media section and its down track. It stays for the life of the connection and is given to
// another source when its own goes.
type slot struct {
	down        *downTrack
	transceiver *webrtc.RTPTransceiver
	wanted             // what it carries, zero while free
	last        string // participant it carried last
	announced   bool   // the client knows what it carries
	track       *track // the source, nil while free
}

// wanted names what a subscriber should receive.
type wanted struct {
	participant string
	source      signaling.Source
}

// update makes the slots carry what is wanted, offering anew if the client has to know.
func (s *subscriber) update(wants []wanted, find func(wanted) *track) {
	if s.leg.kind == signaling.WHEPSession {
		s.fill(wants, find)
		return
	}
	s.release(wants)
	for _, w := range wants {
		s.assign(w)
	}
	s.connect(find)
	s.negotiate()
}

// release frees the slots of what is wanted no longer.
func (s *subscriber) release(wants []wanted) {
	for _, each := range s.slots {
		if each.participant == "" || slices.Contains(wants, each.wanted) {
			continue
		}
		each.down.follow(nil, time.Time{})
		each.last = each.participant
		each.wanted, each.track, each.announced = wanted{}, nil, false
		s.dirty = true
	}
}

// assign gives w a slot unless it has one: the one its participant had before if possible, for the
// sake of the client's lip sync, else any free one, else a new one.
func (s *subscriber) assign(w wanted) {
	var free *slot
	for _, each := range s.slots {
		if each.wanted == w {
			return
		}
		if each.participant != "" || each.down.kind != kindOf(w.source) {
			continue
		}
		if free == nil || each.last == w.participant {
			free = each
		}
	}
	if free == nil {
		free = s.addSlot(kindOf(w.source))
	}
	free.wanted = w
	free.down.setLabel(w.participant)
	s.dirty = true
}

func (s *subscriber) addSlot(kind webrtc.RTPCodecType) *slot {
	added := &slot{down: newDownTrack("t"+strconv.Itoa(len(s.slots)), kind, s.leg.room.server.metrics)}
	s.slots = append(s.slots, added)
	return added
}

// connect lets every slot that the client knows follow its source.
func (s *subscriber) connect(find func(wanted) *track) {
	for _, each := range s.slots {
		if each.participant != "" && each.announced {
			each.track = find(each.wanted)
		}
	}
	s.tune(time.Now())
}

// tune chooses the layers.
func (s *subscriber) tune(now time.Time) {
	videos := 0
	for _, each := range s.slots {
		if each.track != nil && each.down.kind == webrtc.RTPCodecTypeVideo {
			videos++
		}
	}
	for _, each := range s.slots {
		if each.track == nil {
			continue
		}
		if l := each.track.pick(videos, now); l != nil {
			each.down.follow(l, now)
		}
		each.down.retry(now)
	}
}

// negotiate offers the slots as they are now, unless an offer is being answered.
func (s *subscriber) negotiate() {
	if !s.dirty || s.outstanding != nil {
		return
	}
	if err := s.offer(); err != nil {
		s.leg.log.Error().Err(err).Msg("offer failed")
	}
}

func (s *subscriber) offer() error {
	if s.conn == nil {
		if err := s.open(); err != nil {
			return err
		}
	}
	for _, each := range s.slots {
		if each.transceiver != nil {
			continue
		}
		if err := s.addTransceiver(each); err != nil {
			return err
		}
	}
	description, err := s.conn.offer()
	if err != nil {
		return err
	}
	s.dirty = false
	s.negotiation++
	s.outstanding = &signaling.Offer{
		Route: s.leg.route, PC: signaling.Subscribe, Negotiation: s.negotiation, SDP: description, Tracks: s.announce(),
	}
	s.leg.send(*s.outstanding)
	return nil
}

func (s *subscriber) open() error {
	conn, err := newConnection(s.leg.room.server.apis.subscribe, func(state webrtc.PeerConnectionState) {
		s.leg.stateChanged(state, s)
	})
	if err != nil {
		return err
	}
	s.conn = conn
	return nil
}

func (s *subscriber) addTransceiver(each *slot) error {
	transceiver, err := s.conn.pc.AddTransceiverFromTrack(each.down, webrtc.RTPTransceiverInit{
		Direction: webrtc.RTPTransceiverDirectionSendonly,
	})
	if err != nil {
		return fmt.Errorf("add transceiver: %w", err)
	}
	s.started(each, transceiver)
	return nil
}

// started reads the feedback about a slot for as long as its sender lives.
func (s *subscriber) started(each *slot, transceiver *webrtc.RTPTransceiver) {
	each.transceiver = transceiver
	sender := transceiver.Sender()
	each.down.control(s.conn.send)
	s.leg.room.server.goroutines.Go(func() { each.down.readRTCP(sender) })
	if s.up {
		each.down.connected(time.Now())
	}
}

// announce lists what the slots carry.
func (s *subscriber) announce() []signaling.Track {
	var tracks []signaling.Track
	for _, each := range s.slots {
		if each.participant != "" {
			tracks = append(tracks, signaling.Track{MID: each.transceiver.Mid(), Source: each.source, Participant: each.participant})
		}
	}
	return tracks
}

// answer takes the client's answer. One to another offer than the outstanding one is late and ignored.
func (s *subscriber) answer(m signaling.Answer, find func(wanted) *track) error {
	if s.outstanding == nil || m.Negotiation != s.outstanding.Negotiation {
		return nil
	}
	if _, err := checkDescription(m.SDP); err != nil {
		return err
	}
	if err := s.conn.accept(m.SDP); err != nil {
		return err
	}
	for _, known := range s.outstanding.Tracks {
		for _, each := range s.slots {
			if each.transceiver != nil && each.transceiver.Mid() == known.MID && each.wanted == (wanted{known.Participant, known.Source}) {
				each.announced = true
			}
		}
	}
	s.outstanding = nil
	s.connect(find)
	s.negotiate()
	return nil
}

// connected starts forwarding on a connection that has come up.
func (s *subscriber) connected() {
	if s.up {
		return
	}
	s.up = true
	for _, each := range s.slots {
		each.down.connected(time.Now())
	}
}

func (s *subscriber) close() {
	for _, each := range s.slots {
		each.down.follow(nil, time.Time{})
		each.track = nil
	}
}
