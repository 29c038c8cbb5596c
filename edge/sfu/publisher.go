package sfu

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/sdp/v3"
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
	sources map[string]signaling.Source // by mid
	tracks  []*track

	answered signaling.Answer // to the newest offer
}

// offer answers the client's offer, on the leg's worker. An offer that was answered already gets the
// same answer again.
func (p *publisher) offer(m signaling.Offer) error {
	conn, before, answered, err := p.received(m)
	if answered || err != nil {
		return err
	}
	sections, err := checkDescription(m.SDP, maxOffered)
	if err != nil {
		return err
	}
	sources, fresh := sourcesOf(m.Tracks, sections), conn == nil
	if fresh {
		if conn, err = p.connect(); err != nil {
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
	open := p.leg.whileOpen(func() {
		p.conn, p.sources = conn, sources
		p.label()
		p.answered = signaling.Answer{Route: p.leg.route, PC: signaling.Publish, Negotiation: m.Negotiation, SDP: withDTX(answer)}
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
func (p *publisher) received(m signaling.Offer) (conn *connection, sources map[string]signaling.Source, done bool, err error) {
	open := p.leg.whileOpen(func() {
		conn, sources = p.conn, p.sources
		switch {
		case conn != nil && m.Negotiation == p.answered.Negotiation:
			done = true
			p.leg.send(p.answered)
		case m.Negotiation < p.answered.Negotiation:
			err = fmt.Errorf("offer %d: %d was answered already", m.Negotiation, p.answered.Negotiation)
		}
	})
	return conn, sources, done || !open, err
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

func (p *publisher) connect() (*connection, error) {
	conn, err := newConnection(p.leg.room.server.apis.publish, p.leg.stateChanged)
	if err != nil {
		return nil, err
	}
	conn.pc.OnTrack(p.onTrack)
	return conn, nil
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

// onTrack starts receiving one RTP stream.
func (p *publisher) onTrack(remote *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) {
	room := p.leg.room
	room.mu.Lock()
	defer room.mu.Unlock()
	if p.leg.closed || p.conn == nil {
		return
	}
	mid := receiver.RTPTransceiver().Mid()
	if p.allowed(mid) == "" {
		p.leg.log.Info().Str("mid", mid).Str("source", string(p.sources[mid])).Msg("track not forwarded: not announced or not allowed")
		return
	}
	l, err := p.addLayer(mid, remote, receiver)
	if err != nil {
		p.leg.log.Warn().Err(err).Msg("track not forwarded")
		return
	}
	p.leg.log.Debug().Str("source", string(l.track.source)).Str("rid", l.rid).Msg("receiving")
	server := room.server
	server.goroutines.Go(func() { l.readReports(receiver) })
	server.goroutines.Go(func() {
		l.read(func(level uint8) { room.heard(l.track, level) })
		p.ended(l)
	})
	room.changed()
}

func (p *publisher) addLayer(mid string, remote *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) (*layer, error) {
	var t *track
	if i := slices.IndexFunc(p.tracks, func(t *track) bool { return t.mid == mid }); i >= 0 {
		t = p.tracks[i]
	} else {
		if len(p.tracks) >= maxTracks {
			return nil, fmt.Errorf("more than %d tracks", maxTracks)
		}
		t = &track{leg: p.leg, mid: mid, kind: remote.Kind(), source: p.allowed(mid), clock: p.leg.clock()}
		p.tracks = append(p.tracks, t)
	}
	if len(t.layers) >= maxLayers {
		return nil, fmt.Errorf("more than %d simulcast layers", maxLayers)
	}
	server := p.leg.room.server
	size := videoRing
	if t.kind == webrtc.RTPCodecTypeAudio {
		size = audioRing
	}
	conn, source := p.conn, t.source
	l := &layer{
		id: downtrack.Source(server.sources.Add(1)), rid: remote.RID(), track: t, remote: remote,
		dialect: newDialect(receiver.GetParameters(), sdp.AudioLevelURI),
		ring:    packetring.New(size), keyFrame: throttle{every: keyFrameEvery},
		request: func(ssrc webrtc.SSRC) { conn.send(&rtcp.PictureLossIndication{MediaSSRC: uint32(ssrc)}) },
		metrics: server.metrics, since: server.started, wantedAt: time.Now(),
		police: newPolice(t.kind),
		overran: sync.OnceFunc(func() {
			p.leg.log.Warn().Str("source", string(source)).Msg("sends more than a stream may: the rest is dropped")
		}),
	}
	l.lastPacket.Store(int64(time.Since(server.started)))
	t.addLayer(l)
	return l, nil
}

// ended forgets a layer whose stream is over.
func (p *publisher) ended(l *layer) {
	room := p.leg.room
	room.mu.Lock()
	defer room.mu.Unlock()
	t := l.track
	t.layers = slices.DeleteFunc(t.layers, func(each *layer) bool { return each == l })
	if len(t.layers) == 0 {
		p.tracks = slices.DeleteFunc(p.tracks, func(each *track) bool { return each == t })
	}
	room.changed()
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
