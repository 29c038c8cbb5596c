package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/pion/interceptor"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/signaling"
)

// patience is an upper bound that only a broken test meets.
const patience = 20 * time.Second

// fakeGateway is a gateway that says what a test tells it to.
type fakeGateway struct {
	t       *testing.T
	url     string
	mute    atomic.Bool // answers no ping
	sockets chan *fakeSocket
}

// fakeSocket is one participant's connection after its join.
type fakeSocket struct {
	t     *testing.T
	conn  *websocket.Conn
	join  signaling.Join
	inbox chan signaling.Message
}

func newFakeGateway(t *testing.T) *fakeGateway {
	t.Helper()
	g := &fakeGateway{t: t, sockets: make(chan *fakeSocket, 16)}
	mux := http.NewServeMux()
	mux.HandleFunc(signalPath, g.serve)
	mux.HandleFunc(regionsPath, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"regions": []region{
			{Region: "here", URLs: []string{g.url}}, {Region: "gone", URLs: []string{"http://127.0.0.1:1"}}, {Region: "no such name"},
		}})
	})
	server := httptest.NewServer(mux)
	g.url = server.URL
	t.Cleanup(server.Close)
	return g
}

func (g *fakeGateway) serve(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{subprotocol}})
	if err != nil {
		return
	}
	conn.SetReadLimit(signaling.MaxMessageBytes)
	defer func() { _ = conn.CloseNow() }()
	s := &fakeSocket{t: g.t, conn: conn, inbox: make(chan signaling.Message, 1000)}
	for first := true; ; first = false {
		_, data, err := conn.Read(r.Context())
		if err != nil {
			close(s.inbox)
			return
		}
		m, err := signaling.Decode(data)
		if err != nil {
			g.t.Errorf("the participant said what no gateway understands: %v", err)
			continue
		}
		switch m := m.(type) {
		case signaling.Join:
			if !first {
				g.t.Error("a second join")
			}
			s.join = m
			g.sockets <- s
		case signaling.Ping:
			if !g.mute.Load() {
				s.send(signaling.Pong(m))
			}
		default:
			s.inbox <- m
		}
	}
}

// accept waits for the next participant.
func (g *fakeGateway) accept() *fakeSocket {
	g.t.Helper()
	select {
	case s := <-g.sockets:
		return s
	case <-time.After(patience):
		g.t.Fatal("nobody joins")
		return nil
	}
}

// welcome accepts the next participant and lets it in.
func (g *fakeGateway) welcome(m signaling.Welcome) *fakeSocket {
	g.t.Helper()
	s := g.accept()
	s.welcome(m)
	return s
}

func (s *fakeSocket) welcome(m signaling.Welcome) {
	if m.Session == "" {
		m.Session = "session-1"
	}
	m.PingMs = 250
	m.You.Participant, m.You.Role, m.You.Name = "me", "provider", "Dr. Secret"
	m.You.Permissions = []string{"publish-audio", "publish-video", "admit"}
	s.send(m)
}

func (s *fakeSocket) send(m signaling.Message) {
	data, err := signaling.Encode(m)
	if err != nil {
		s.t.Error(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = s.conn.Write(ctx, websocket.MessageText, data)
}

// awaitMessage waits for a message of a type that satisfies all conditions.
func awaitMessage[M signaling.Message](s *fakeSocket, conditions ...func(M) bool) M {
	s.t.Helper()
	var wanted M
	late := time.After(patience)
next:
	for {
		select {
		case m, ok := <-s.inbox:
			if !ok {
				s.t.Fatalf("the socket closed while waiting for %s", wanted.Type())
			}
			found, is := m.(M)
			if !is {
				continue
			}
			for _, condition := range conditions {
				if !condition(found) {
					continue next
				}
			}
			return found
		case <-late:
			s.t.Fatalf("waiting for %s", wanted.Type())
		}
	}
}

// fakeSFU is one leg's other end: it takes what is published and sends as somebody else.
type fakeSFU struct {
	s              *fakeSocket
	route          signaling.Route
	pub, sub       *webrtc.PeerConnection
	api            *webrtc.API
	audio, video   *webrtc.TrackLocalStaticRTP
	sounds, images atomic.Int64 // packets received
	paused         atomic.Bool
	quit           chan struct{}
	stop           sync.Once
	running        sync.WaitGroup
}

func newFakeSFU(s *fakeSocket, route signaling.Route) *fakeSFU {
	s.t.Helper()
	settings := webrtc.SettingEngine{LoggerFactory: pionLog(Config{}.Log)}
	settings.SetLite(true)
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	engine := &webrtc.MediaEngine{}
	require.NoError(s.t, engine.RegisterDefaultCodecs())
	from, err := newSources(Config{})
	require.NoError(s.t, err)
	f := &fakeSFU{s: s, route: route, audio: from.microphone, video: from.camera, quit: make(chan struct{}), api: webrtc.NewAPI(
		webrtc.WithSettingEngine(settings), webrtc.WithMediaEngine(engine), webrtc.WithInterceptorRegistry(&interceptor.Registry{}))}
	f.pub, err = f.api.NewPeerConnection(webrtc.Configuration{})
	require.NoError(s.t, err)
	f.sub, err = f.api.NewPeerConnection(webrtc.Configuration{})
	require.NoError(s.t, err)
	f.pub.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		count := &f.images
		if track.Kind() == webrtc.RTPCodecTypeAudio {
			count = &f.sounds
		}
		for {
			if _, _, err := track.ReadRTP(); err != nil {
				return
			}
			count.Add(1)
		}
	})
	s.t.Cleanup(f.close)
	return f
}

func (f *fakeSFU) close() {
	f.stop.Do(func() { close(f.quit) })
	f.running.Wait()
	_ = f.pub.GracefulClose()
	_ = f.sub.GracefulClose()
}

// takeOffer waits for what is published and answers it.
func (f *fakeSFU) takeOffer() signaling.Offer {
	f.s.t.Helper()
	offer := awaitMessage(f.s, func(m signaling.Offer) bool { return m.Route == f.route })
	f.answer(offer)
	return offer
}

func (f *fakeSFU) answer(offer signaling.Offer) {
	f.s.t.Helper()
	require.Equal(f.s.t, signaling.Publish, offer.PC)
	require.NoError(f.s.t, f.pub.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer.SDP}))
	answer, err := f.pub.CreateAnswer(nil)
	require.NoError(f.s.t, err)
	f.s.send(signaling.Answer{
		Route: f.route, PC: signaling.Publish, Negotiation: offer.Negotiation, SDP: f.settle(f.pub, answer),
	})
}

// settle sets a description and returns it with all candidates.
func (f *fakeSFU) settle(pc *webrtc.PeerConnection, description webrtc.SessionDescription) string {
	f.s.t.Helper()
	gathered := webrtc.GatheringCompletePromise(pc)
	require.NoError(f.s.t, pc.SetLocalDescription(description))
	<-gathered
	return pc.LocalDescription().SDP
}

// offerTracks offers somebody's microphone and camera, and sends once that is answered.
func (f *fakeSFU) offerTracks(participant string) signaling.Offer {
	f.s.t.Helper()
	offer := signaling.Offer{Route: f.route, PC: signaling.Subscribe, Negotiation: 1}
	mids := map[*webrtc.RTPTransceiver]signaling.Source{}
	for source, track := range map[signaling.Source]webrtc.TrackLocal{signaling.Microphone: f.audio, signaling.Camera: f.video} {
		transceiver, err := f.sub.AddTransceiverFromTrack(track, sendOnly)
		require.NoError(f.s.t, err)
		mids[transceiver] = source
	}
	description, err := f.sub.CreateOffer(nil)
	require.NoError(f.s.t, err)
	offer.SDP = f.settle(f.sub, description)
	for transceiver, source := range mids {
		offer.Tracks = append(offer.Tracks, signaling.Track{MID: transceiver.Mid(), Source: source, Participant: participant})
	}
	f.s.send(offer)
	answer := awaitMessage(f.s, func(m signaling.Answer) bool { return m.Route == f.route })
	require.Equal(f.s.t, signaling.Subscribe, answer.PC)
	require.NoError(f.s.t, f.sub.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer.SDP}))
	f.running.Go(f.play)
	return offer
}

func (f *fakeSFU) play() {
	ticker := time.NewTicker(audioEvery)
	defer ticker.Stop()
	for n := uint32(0); ; n++ {
		select {
		case <-f.quit:
			return
		case <-ticker.C:
		}
		if f.paused.Load() {
			continue
		}
		for _, each := range []struct {
			track  *webrtc.TrackLocalStaticRTP
			packet *rtp.Packet
		}{{f.audio, audioPacket(n, opusSilence)}, {f.video, videoPacket(n, keyFrame)}} {
			_ = each.track.WriteRTP(each.packet)
		}
	}
}

// visitor is a running participant.
type visitor struct {
	t      *testing.T
	events chan Event
	leave  context.CancelFunc
	ended  chan error
}

// start runs a participant until the test ends.
func start(t *testing.T, config Config) *visitor {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	v := &visitor{t: t, events: make(chan Event, 1000), leave: cancel, ended: make(chan error, 1)}
	config.Token = "secret-token"
	config.Events = func(e Event) { v.events <- e }
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		v.ended <- Run(ctx, config)
	}()
	t.Cleanup(func() { cancel(); <-stopped })
	return v
}

// hiccup is the longest gap, in milliseconds, that a busy machine may cause by itself.
const hiccup = 1000

// await waits for an event; the kinds of never must not come before it, hiccups aside.
func (v *visitor) await(kind Kind, never ...Kind) Event {
	v.t.Helper()
	late := time.After(patience)
	for {
		select {
		case e := <-v.events:
			text, err := json.Marshal(e)
			require.NoError(v.t, err)
			require.NotContains(v.t, string(text), "ecret", "neither token nor name")
			if e.Kind == kind {
				return e
			}
			if e.Kind != Gap || e.Ms > hiccup {
				require.NotContains(v.t, never, e.Kind, string(text))
			}
		case <-late:
			v.t.Fatalf("waiting for %s", kind)
		}
	}
}

// result waits for what Run returns.
func (v *visitor) result() error {
	v.t.Helper()
	select {
	case err := <-v.ended:
		return err
	case <-time.After(patience):
		v.t.Fatal("does not end")
		return nil
	}
}
