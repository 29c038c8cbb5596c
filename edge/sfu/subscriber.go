package sfu

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/sfu/allocation"
)

// subscriber is the sending half of a leg. The room's lock guards it.
type subscriber struct {
	leg      *leg
	conn     *connection
	feedback *feedback
	slots    []*slot
	up       bool // connected
	share    allocation.Allocator
	view     view
	paused   []signaling.Track // what the client was told last is paused

	negotiation uint32 // of the newest offer
	offering    bool   // an offer is being made
	outstanding *signaling.Offer
	dirty       bool              // the client's picture of the slots is out of date, and an offer is due
	due         bool              // an offer is due whatever the slots carry
	selects     bool              // the leg gets a selection: slots change hands without an offer
	carried     []signaling.Track // what the client was told last that they carry, if it selects
	served      served
	restarting  bool   // the next offer restarts ICE
	restarted   uint32 // the newest offer that did

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
	agreed      bool   // the client has answered an offer with it
	track       *track // the source, nil while free
	paused      bool   // for lack of bandwidth
}

// maxSlots is how many media sections of each kind a subscriber is offered; all of them together have to
// fit into signaling.MaxSDPBytes.
const maxSlots = 39

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
	s.carry()
	s.connect(find)
	s.negotiate()
}

// release frees the slots of what is wanted no longer.
func (s *subscriber) release(wants []wanted) {
	for _, each := range s.slots {
		if each.participant == "" || slices.Contains(wants, each.wanted) {
			continue
		}
		each.down.follow(nil, time.Time{}, false)
		each.last = each.participant
		each.wanted, each.track, each.announced, each.paused = wanted{}, nil, false, false
		s.dirty = true
	}
}

// assign gives w a slot unless it has one: the one its participant had before if possible, for the
// sake of the client's lip sync, else any free one, else a new one.
func (s *subscriber) assign(w wanted) {
	var free *slot
	taken := 0
	for _, each := range s.slots {
		if each.wanted == w {
			return
		}
		if each.down.kind != kindOf(w.source) {
			continue
		}
		taken++
		if each.participant != "" {
			continue
		}
		if free == nil || each.last == w.participant {
			free = each
		}
	}
	if free == nil {
		if taken >= maxSlots {
			return
		}
		free = s.addSlot(kindOf(w.source))
	}
	free.wanted = w
	free.down.setLabel(s.labelOf(free))
	s.dirty = true
}

func (s *subscriber) addSlot(kind webrtc.RTPCodecType) *slot {
	added := s.newSlot(len(s.slots), kind)
	s.slots = append(s.slots, added)
	return added
}

func (s *subscriber) newSlot(index int, kind webrtc.RTPCodecType) *slot {
	return &slot{down: newDownTrack("t"+strconv.Itoa(index), kind, s.feedback, s.leg.room.server.metrics)}
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

// negotiate offers the slots as they are now, unless an offer is being made or answered.
func (s *subscriber) negotiate() {
	if !s.dirty || s.offering || s.outstanding != nil {
		return
	}
	s.offering = true
	s.leg.enqueue(s.offer)
}

// offer makes an offer, on the leg's worker. What changes meanwhile is in the next one.
func (s *subscriber) offer() {
	var conn *connection
	var added []*slot
	restart := false
	open := s.leg.whileOpen(func() {
		s.dirty, s.due, conn = false, false, s.conn
		restart, s.restarting = s.restarting, false
		for _, each := range s.slots {
			if each.transceiver == nil {
				added = append(added, each)
			}
		}
	})
	if !open {
		return
	}
	fresh := conn == nil
	conn, transceivers, description, err := s.describe(conn, added, restart)
	if err != nil {
		s.leg.log.Error().Err(err).Msg("offer failed")
	}
	open = s.leg.whileOpen(func() {
		s.offering = false
		if err != nil {
			s.dirty, s.due, s.restarting = true, true, s.restarting || restart
		}
		if err != nil && fresh {
			return
		}
		s.conn = conn
		for i, transceiver := range transceivers {
			s.started(added[i], transceiver)
		}
		if err == nil {
			s.offered(description, restart)
		}
	})
	if conn != nil && fresh && (!open || err != nil) {
		s.leg.room.server.retire(conn.pc)
	}
}

// describe makes the description of an offer with the added slots, on a new connection if there is none.
// With an error it returns the transceivers made so far.
func (s *subscriber) describe(conn *connection, added []*slot, restart bool) (*connection, []*webrtc.RTPTransceiver, string, error) {
	if conn == nil {
		var err error
		apis := s.leg.room.server.apis
		if conn, err = apis.newConnection(apis.sending, s.feedback, s.leg.stateChanged); err != nil {
			return nil, nil, "", err
		}
	}
	var transceivers []*webrtc.RTPTransceiver
	for _, each := range added {
		transceiver, err := conn.pc.AddTransceiverFromTrack(each.down, webrtc.RTPTransceiverInit{
			Direction: webrtc.RTPTransceiverDirectionSendonly,
		})
		if err != nil {
			return conn, transceivers, "", fmt.Errorf("add transceiver: %w", err)
		}
		transceivers = append(transceivers, transceiver)
	}
	description, err := conn.offer(restart)
	return conn, transceivers, description, err
}

// restartICE has the next offer look for new paths, unless one after that with this number did so already. Before the first
// offer there is nothing to restart.
func (s *subscriber) restartICE(negotiation uint32) {
	if s.conn == nil || negotiation < s.restarted {
		return
	}
	s.restarting, s.dirty, s.due = true, true, true
	s.negotiate()
}

// offered sends an offer.
func (s *subscriber) offered(description string, restart bool) {
	s.negotiation++
	if restart {
		s.restarted = s.negotiation
	}
	s.outstanding = &signaling.Offer{
		Route: s.leg.route, PC: signaling.Subscribe, Negotiation: s.negotiation, SDP: description, Tracks: s.announce(),
	}
	s.leg.send(*s.outstanding)
	s.tellCarried()
}

// started notes what carries a slot.
func (s *subscriber) started(each *slot, transceiver *webrtc.RTPTransceiver) {
	each.transceiver = transceiver
	each.down.goes(s.conn.transport)
	if s.up {
		each.down.connected(time.Now())
	}
}

// announce lists what the slots carry.
func (s *subscriber) announce() []signaling.Track {
	var tracks []signaling.Track
	for _, each := range s.slots {
		if each.participant != "" && each.transceiver != nil {
			tracks = append(tracks, signaling.Track{MID: each.transceiver.Mid(), Source: each.source, Participant: each.participant})
		}
	}
	return tracks
}

// expects reports whether an answer is to the outstanding offer; one to another is late and ignored.
func (s *subscriber) expects(m signaling.Answer) bool {
	return m.PC == signaling.Subscribe && s.outstanding != nil && m.Negotiation == s.outstanding.Negotiation
}

// answer takes the client's answer, on the leg's worker.
func (s *subscriber) answer(m signaling.Answer) error {
	var conn *connection
	sections := 0
	s.leg.whileOpen(func() {
		if s.expects(m) {
			conn, sections = s.conn, len(s.slots)
		}
	})
	if conn == nil {
		return nil
	}
	if _, err := checkDescription(m.SDP, sections); err != nil {
		return err
	}
	if err := conn.accept(m.SDP); err != nil {
		return err
	}
	s.leg.whileOpen(s.answeredByClient)
	return nil
}

// answeredByClient lets the slots flow that the client has agreed to.
func (s *subscriber) answeredByClient() {
	for _, known := range s.outstanding.Tracks {
		for _, each := range s.slots {
			if each.transceiver != nil && each.transceiver.Mid() == known.MID && each.wanted == (wanted{known.Participant, known.Source}) {
				each.announced = true
			}
		}
	}
	for _, each := range s.slots {
		each.agreed = each.agreed || each.transceiver != nil
	}
	s.outstanding = nil
	s.carry()
	s.connect(s.leg.room.find)
	s.negotiate()
}

// connected starts forwarding on a connection that has come up, or come back: then what was sent meanwhile is lost.
func (s *subscriber) connected() {
	s.up = true
	for _, each := range s.slots {
		each.down.connected(time.Now())
	}
}

func (s *subscriber) close() {
	s.feedback.path.close()
	for _, each := range s.slots {
		each.down.follow(nil, time.Time{}, false)
		each.track = nil
	}
}
