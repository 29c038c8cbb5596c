package sfu

import (
	"fmt"
	"slices"
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

// offer answers the client's offer. An offer that was answered already gets the same answer again.
func (p *publisher) offer(m signaling.Offer) (signaling.Answer, error) {
	switch {
	case p.conn != nil && m.Negotiation == p.answered.Negotiation:
		return p.answered, nil
	case m.Negotiation < p.answered.Negotiation:
		return signaling.Answer{}, fmt.Errorf("offer %d: %d was answered already", m.Negotiation, p.answered.Negotiation)
	}
	sections, err := checkDescription(m.SDP)
	if err != nil {
		return signaling.Answer{}, err
	}
	fresh := p.conn == nil
	if fresh {
		if err := p.connect(); err != nil {
			return signaling.Answer{}, err
		}
	}
	p.sources = sourcesOf(m.Tracks, sections)
	answer, err := p.conn.answer(m.SDP, nil)
	if err != nil {
		p.failed(fresh)
		return signaling.Answer{}, err
	}
	for _, t := range p.tracks {
		t.source = p.allowed(t.mid)
	}
	p.answered = signaling.Answer{Route: m.Route, PC: signaling.Publish, Negotiation: m.Negotiation, SDP: withDTX(answer)}
	return p.answered, nil
}

// failed cleans up after an offer that pion gave up on half way. Where nothing had been agreed yet the
// next offer gets a new connection; otherwise this one takes no offers any more, and the leg is over.
func (p *publisher) failed(fresh bool) {
	switch {
	case fresh:
		p.leg.room.server.retire(p.conn.pc)
		p.conn = nil
	case p.conn.pc.SignalingState() != webrtc.SignalingStateStable:
		p.leg.room.end(p.leg, goneICE)
	}
}

func (p *publisher) connect() error {
	conn, err := newConnection(p.leg.room.server.apis.publish, func(state webrtc.PeerConnectionState) {
		p.leg.stateChanged(state, nil)
	})
	if err != nil {
		return err
	}
	conn.pc.OnTrack(p.onTrack)
	p.conn = conn
	return nil
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
	if p.leg.closed {
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
	participant := p.leg.participant
	server := room.server
	server.goroutines.Go(func() { l.readReports(receiver) })
	server.goroutines.Go(func() {
		l.read(func(level uint8) { room.heard(participant, level) })
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
	conn := p.conn
	l := &layer{
		id: downtrack.Source(server.sources.Add(1)), rid: remote.RID(), track: t, remote: remote,
		dialect: newDialect(receiver.GetParameters(), sdp.AudioLevelURI),
		ring:    packetring.New(size), keyFrame: throttle{every: keyFrameEvery},
		request: func(ssrc webrtc.SSRC) { conn.send(&rtcp.PictureLossIndication{MediaSSRC: uint32(ssrc)}) },
		metrics: server.metrics, since: server.started,
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
