package sfu

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"

	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/sfu/downtrack"
	"github.com/wardline/wardline/edge/sfu/packetring"
)

// Limits of what one leg may publish.
const (
	maxTracks = 8
	maxLayers = 4
)

// publisher is the receiving half of a leg. The room's lock guards it.
type publisher struct {
	leg     *leg
	conn    *connection
	in      *incoming                   // of conn
	sources map[string]signaling.Source // by mid
	tracks  []*track

	answered signaling.Answer // to the newest offer
}

// offer answers the client's offer, on the leg's worker. An offer that was answered already gets the
// same answer again.
func (p *publisher) offer(m signaling.Offer) error {
	conn, in, before, answered, err := p.received(m)
	if answered || err != nil {
		return err
	}
	sections, err := checkDescription(m.SDP, maxOffered)
	if err != nil {
		return err
	}
	sources, fresh := sourcesOf(m.Tracks, sections), conn == nil
	if fresh {
		if conn, in, err = p.connect(); err != nil {
			return err
		}
	} else if !p.leg.whileOpen(func() { p.sources = sources }) { // before pion sees the first packet
		return nil
	}
	answer, err := conn.answer(m.SDP, nil)
	if err != nil {
		p.failed(conn, fresh, before)
		return err
	}
	answer = withDTX(inOrderOf(m.SDP, answer))
	var ended []*layer
	conn.transport.exclusive(func() { ended = in.describe(sections, conn.pc) })
	open := p.leg.whileOpen(func() {
		p.conn, p.in, p.sources = conn, in, sources
		p.end(ended)
		p.label()
		p.answered = signaling.Answer{Route: p.leg.route, PC: signaling.Publish, Negotiation: m.Negotiation, SDP: answer}
		p.leg.send(p.answered)
		p.leg.room.changed()
	})
	if !open && fresh {
		p.leg.room.server.retire(conn.pc)
	}
	return nil
}

// received looks at the state an offer meets: the connection there is, the sources it has so far, and
// whether there is nothing more to do.
func (p *publisher) received(m signaling.Offer) (
	conn *connection, in *incoming, sources map[string]signaling.Source, done bool, err error,
) {
	open := p.leg.whileOpen(func() {
		conn, in, sources = p.conn, p.in, p.sources
		switch {
		case conn != nil && m.Negotiation == p.answered.Negotiation:
			done = true
			p.leg.send(p.answered)
		case m.Negotiation < p.answered.Negotiation:
			err = fmt.Errorf("offer %d: %d was answered already", m.Negotiation, p.answered.Negotiation)
		}
	})
	return conn, in, sources, done || !open, err
}

// failed cleans up after an offer that pion gave up on half way. Where nothing had been agreed yet the
// next offer gets a new connection; otherwise this one takes no offers any more, and the leg is over.
func (p *publisher) failed(conn *connection, fresh bool, before map[string]signaling.Source) {
	if fresh {
		p.leg.room.server.retire(conn.pc)
		return
	}
	p.leg.whileOpen(func() {
		p.sources = before
		if conn.pc.SignalingState() != webrtc.SignalingStateStable {
			p.leg.room.end(p.leg, goneICE)
		}
	})
}

func (p *publisher) connect() (*connection, *incoming, error) {
	server := p.leg.room.server
	var in *incoming
	in = newIncoming(server.started, func(s *stream) { server.goroutines.Go(func() { p.begin(in, s) }) })
	conn, err := server.apis.newConnection(server.apis.receiving, in, p.leg.stateChanged)
	if err != nil {
		return nil, nil, err
	}
	in.way = conn.transport
	return conn, in, nil
}

// permitted takes over what the participant may publish from now on.
func (p *publisher) permitted() {
	p.label()
	if p.in != nil {
		p.conn.transport.exclusive(p.in.again)
	}
}

// label gives every track the source it may now be forwarded as.
func (p *publisher) label() {
	for _, t := range p.tracks {
		t.source = p.allowed(t.mid)
	}
}

// allowed is the source a media section carries, empty if the client announced none or may not send it.
func (p *publisher) allowed(mid string) signaling.Source {
	source := p.sources[mid]
	if !slices.Contains(p.leg.canPublish, source) {
		return ""
	}
	return source
}

// begin makes the layer of a stream whose first packet has come. It runs beside the packets' path, which waits for nobody.
func (p *publisher) begin(in *incoming, s *stream) {
	l, transport := p.layerFor(in, s)
	if transport == nil {
		return
	}
	out := transport.port.NewBatch()
	transport.exclusive(func() { in.began(s, l, out) })
	out.Flush()
}

// layerFor makes a stream's layer, nil if it is not to be forwarded. Without a transport the connection is over.
func (p *publisher) layerFor(in *incoming, s *stream) (*layer, *transport) {
	room := p.leg.room
	room.mu.Lock()
	defer room.mu.Unlock()
	if p.leg.closed || p.in != in {
		return nil, nil
	}
	mid, transport := s.section.mid, p.conn.transport
	var replaced bool
	transport.exclusive(func() { replaced = s.replaced })
	if replaced {
		return nil, transport
	}
	if p.allowed(mid) == "" {
		p.leg.log.Info().Str("mid", mid).Str("source", string(p.sources[mid])).Msg("track not forwarded: not announced or not allowed")
		return nil, transport
	}
	l, err := p.addLayer(s)
	if err != nil {
		p.leg.log.Warn().Err(err).Msg("track not forwarded")
		return nil, transport
	}
	transport.view.Sends(s.ssrc)
	p.leg.log.Debug().Str("source", string(l.track.source)).Str("rid", l.rid).Msg("receiving")
	room.changed()
	return l, transport
}

func (p *publisher) addLayer(s *stream) (*layer, error) {
	mid, kind := s.section.mid, s.section.kind
	var t *track
	if i := slices.IndexFunc(p.tracks, func(t *track) bool { return t.mid == mid }); i >= 0 {
		t = p.tracks[i]
	} else {
		if len(p.tracks) >= maxTracks {
			return nil, fmt.Errorf("more than %d tracks", maxTracks)
		}
		t = &track{leg: p.leg, mid: mid, kind: kind, source: p.allowed(mid), clock: p.leg.clock()}
		p.tracks = append(p.tracks, t)
	}
	// A stream that takes another's place is the same layer under a new SSRC.
	t.layers = slices.DeleteFunc(t.layers, func(each *layer) bool { return each.rid == s.rid })
	if len(t.layers) >= maxLayers {
		return nil, fmt.Errorf("more than %d simulcast layers", maxLayers)
	}
	server := p.leg.room.server
	transport, source := p.conn.transport, t.source
	l := &layer{
		id: downtrack.Source(server.sources.Add(1)), rid: s.rid, ssrc: s.ssrc, track: t, dialect: s.section.dialect,
		ring: packetring.New(ringSize(kind)), keyFrames: keyFrames{every: keyFrameEvery},
		request: func(ssrc uint32) { transport.sendControl(nil, &rtcp.PictureLossIndication{MediaSSRC: ssrc}) },
		metrics: server.metrics, since: server.started, wantedAt: time.Now(),
		police:  newPolice(kind),
		onLevel: func(level uint8) { p.leg.room.heard(t, level) },
		overran: sync.OnceFunc(func() {
			p.leg.log.Warn().Str("source", string(source)).Msg("sends more than a stream may: the rest is dropped")
		}),
	}
	l.lastPacket.Store(int64(time.Since(server.started)))
	t.addLayer(l)
	return l, nil
}

// end forgets layers whose streams are over.
func (p *publisher) end(layers []*layer) {
	for _, l := range layers {
		t := l.track
		t.layers = slices.DeleteFunc(t.layers, func(each *layer) bool { return each == l })
		if len(t.layers) == 0 {
			p.tracks = slices.DeleteFunc(p.tracks, func(each *track) bool { return each == t })
		}
	}
}

// tell lets the client hear how what it sends arrives, also while nothing does.
func (p *publisher) tell() {
	if p.in != nil {
		p.conn.transport.exclusive(p.in.tick)
	}
}

// track returns what is published as a source, nil if nothing is.
func (p *publisher) track(source signaling.Source) *track {
	for _, t := range p.tracks {
		if t.source == source && len(t.layers) > 0 {
			return t
		}
	}
	return nil
}
