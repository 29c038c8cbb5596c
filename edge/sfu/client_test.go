package sfu

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/signaling"
)

// client is a participant with a plain pion peer connection each way.
type client struct {
	w        *world
	g        *gateway
	session  string
	attach   signaling.Attach
	api      *webrtc.API
	pub      *webrtc.PeerConnection
	sub      *webrtc.PeerConnection
	offers   uint32
	video    string // codec
	plis     atomic.Int32
	redirect func(sdp string) string // where the server is said to be
	edit     func(sdp string) string // what is offered on the publishing connection

	mu       sync.Mutex
	gateways sync.Mutex
	tracks   map[string]signaling.Track // by mid, of the newest offer
	received map[string]*heard          // by mid
	running  sync.WaitGroup
	quit     chan struct{}
}

// heard is what came on one media section.
type heard struct {
	mu      sync.Mutex
	packets []rtp.Packet
	times   []time.Time // of their arrivals
	ssrc    uint32
	mime    string
}

func (r *heard) snapshot() []rtp.Packet {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]rtp.Packet(nil), r.packets...)
}

// join attaches a session and starts following what the server offers it.
func (g *gateway) join(m signaling.Attach, settings ...func(*webrtc.SettingEngine)) *client {
	g.w.Helper()
	c := g.newClient(m, settings...)
	g.send(c.session, m)
	require.False(g.w, await[signaling.Attached](g, c.session).Resumed)
	if m.Kind == signaling.BrowserSession {
		c.running.Go(c.follow)
	}
	return c
}

func newAPI(settings webrtc.SettingEngine, engine *webrtc.MediaEngine, registry *interceptor.Registry) *webrtc.API {
	return webrtc.NewAPI(
		webrtc.WithMediaEngine(engine), webrtc.WithInterceptorRegistry(registry), webrtc.WithSettingEngine(settings),
	)
}

func (g *gateway) newClient(m signaling.Attach, settings ...func(*webrtc.SettingEngine)) *client {
	g.w.Helper()
	engine := &webrtc.MediaEngine{}
	require.NoError(g.w, engine.RegisterDefaultCodecs())
	require.NoError(g.w, webrtc.ConfigureSimulcastExtensionHeaders(engine))
	level := webrtc.RTPHeaderExtensionCapability{URI: sdp.AudioLevelURI}
	require.NoError(g.w, engine.RegisterHeaderExtension(level, webrtc.RTPCodecTypeAudio))
	setting := webrtc.SettingEngine{}
	setting.SetIncludeLoopbackCandidate(true)
	_ = setting.SetAnsweringDTLSRole(webrtc.DTLSRoleClient) // as browsers do
	for _, each := range settings {
		each(&setting)
	}
	c := &client{
		w: g.w, g: g, session: sessionOf(m.Participant) + "-" + string(m.Kind), attach: m,
		api:    newAPI(setting, engine, &interceptor.Registry{}),
		tracks: map[string]signaling.Track{}, received: map[string]*heard{}, quit: make(chan struct{}), video: webrtc.MimeTypeVP8,
		redirect: func(sdp string) string { return sdp }, edit: func(sdp string) string { return sdp },
	}
	g.w.Cleanup(c.close)
	return c
}

func (c *client) close() {
	select {
	case <-c.quit:
		return
	default:
		close(c.quit)
	}
	c.running.Wait()
	for _, pc := range []*webrtc.PeerConnection{c.pub, c.sub} {
		if pc != nil {
			_ = pc.GracefulClose()
		}
	}
}

func (c *client) gateway() *gateway {
	c.gateways.Lock()
	defer c.gateways.Unlock()
	return c.g
}

// follow answers the server's offers.
func (c *client) follow() {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-c.quit:
			return
		case <-ticker.C:
		}
		if offer, ok := take[signaling.Offer](c.gateway(), c.session); ok {
			c.answer(offer)
		}
		if carried, ok := take[signaling.Tracks](c.gateway(), c.session); ok {
			c.carry(carried.Tracks)
		}
	}
}

// carry notes what the media sections carry.
func (c *client) carry(tracks []signaling.Track) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tracks = map[string]signaling.Track{}
	for _, t := range tracks {
		c.tracks[t.MID] = t
	}
}

// carries reports whether a source is sent to the client, as far as it was told.
func (c *client) carries(participant string, source signaling.Source) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.tracks {
		if t.Participant == participant && t.Source == source {
			return true
		}
	}
	return false
}

func (c *client) answer(offer signaling.Offer) {
	if c.sub == nil {
		c.sub = c.peerConnection()
		c.sub.OnTrack(c.onTrack)
	}
	c.carry(offer.Tracks)
	if !noError(c.w, c.sub.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: c.redirect(offer.SDP)})) {
		return
	}
	answer, err := c.sub.CreateAnswer(nil)
	if !noError(c.w, err) || !noError(c.w, c.sub.SetLocalDescription(answer)) {
		return
	}
	c.gateway().send(c.session, signaling.Answer{
		Route: c.attach.Route, PC: signaling.Subscribe, Negotiation: offer.Negotiation, SDP: answer.SDP,
	})
}

func noError(w *world, err error) bool {
	if err != nil && !errors.Is(err, webrtc.ErrConnectionClosed) { // a server that goes closes it
		w.Error(err)
	}
	return err == nil
}

func (c *client) peerConnection() *webrtc.PeerConnection {
	pc, err := c.api.NewPeerConnection(webrtc.Configuration{})
	require.NoError(c.w, err)
	return pc
}

func (c *client) onTrack(track *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) {
	mid := receiver.RTPTransceiver().Mid()
	r := &heard{ssrc: uint32(track.SSRC()), mime: track.Codec().MimeType}
	c.mu.Lock()
	c.received[mid] = r
	c.mu.Unlock()
	for {
		p, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		r.mu.Lock()
		r.packets = append(r.packets, *p)
		r.times = append(r.times, time.Now())
		r.mu.Unlock()
	}
}

// reception returns what came from a participant's source, nil before anything did.
func (c *client) reception(participant string, source signaling.Source) *heard {
	c.mu.Lock()
	defer c.mu.Unlock()
	for mid, t := range c.tracks {
		if t.Participant == participant && t.Source == source {
			return c.received[mid]
		}
	}
	return nil
}

// awaitPackets waits until at least n packets that like came from a source, and returns all that came.
func (c *client) awaitPackets(participant string, source signaling.Source, n int, like func(rtp.Packet) bool) []rtp.Packet {
	c.w.Helper()
	var packets []rtp.Packet
	require.Eventually(c.w, func() bool {
		r := c.reception(participant, source)
		if r == nil {
			return false
		}
		packets = r.snapshot()
		count := 0
		for _, p := range packets {
			if like == nil || like(p) {
				count++
			}
		}
		return count >= n
	}, patience, 10*time.Millisecond, "%s gets too little of %s's %s", c.attach.Participant, participant, source)
	return packets
}
