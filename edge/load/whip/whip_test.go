package whip

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/edge/load"
	"github.com/wardline/wardline/edge/load/synthetic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a WHIP and WHEP server: what is published at /NAME/whip is received at /NAME/whep.
type server struct {
	t   *testing.T
	api *webrtc.API

	mu       sync.Mutex
	tracks   map[string][]*webrtc.TrackLocalStaticRTP
	sessions map[string]*webrtc.PeerConnection
	refused  int
	ended    []string
	bearers  map[string]bool
}

func newServer(t *testing.T) (*server, string) {
	t.Helper()
	settings := webrtc.SettingEngine{}
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	engine := &webrtc.MediaEngine{}
	require.NoError(t, engine.RegisterDefaultCodecs())
	s := &server{
		t: t, api: webrtc.NewAPI(webrtc.WithSettingEngine(settings), webrtc.WithMediaEngine(engine)),
		tracks: map[string][]*webrtc.TrackLocalStaticRTP{}, sessions: map[string]*webrtc.PeerConnection{}, bearers: map[string]bool{},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{name}/whip", func(w http.ResponseWriter, r *http.Request) { s.open(w, r, s.publish) })
	mux.HandleFunc("POST /{name}/whep", func(w http.ResponseWriter, r *http.Request) { s.open(w, r, s.subscribe) })
	mux.HandleFunc("DELETE /session/{id}", s.end)
	listener := httptest.NewServer(mux)
	t.Cleanup(listener.Close)
	return s, listener.URL
}

func (s *server) open(w http.ResponseWriter, r *http.Request, prepare func(string, *webrtc.PeerConnection) bool) {
	offer, err := io.ReadAll(r.Body)
	require.NoError(s.t, err)
	require.Equal(s.t, "application/sdp", r.Header.Get("Content-Type"))
	pc, err := s.api.NewPeerConnection(webrtc.Configuration{})
	require.NoError(s.t, err)
	s.mu.Lock()
	s.bearers[r.Header.Get("Authorization")] = true
	ready := prepare(r.PathValue("name"), pc)
	s.mu.Unlock()
	if !ready {
		require.NoError(s.t, pc.GracefulClose())
		http.Error(w, "nobody publishes that", http.StatusNotFound)
		return
	}
	require.NoError(s.t, pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: string(offer)}))
	answer, err := pc.CreateAnswer(nil)
	require.NoError(s.t, err)
	gathered := webrtc.GatheringCompletePromise(pc)
	require.NoError(s.t, pc.SetLocalDescription(answer))
	<-gathered
	id := strings.NewReplacer("/", "-").Replace(r.URL.Path[1:]) + "-" + time.Now().Format("150405.000000000")
	s.mu.Lock()
	s.sessions[id] = pc
	s.mu.Unlock()
	w.Header().Set("Location", "/session/"+id)
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, pc.LocalDescription().SDP)
}

func (s *server) publish(name string, pc *webrtc.PeerConnection) bool {
	pc.OnTrack(func(from *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		to, err := webrtc.NewTrackLocalStaticRTP(from.Codec().RTPCodecCapability, from.Kind().String(), "s")
		if err != nil {
			return
		}
		s.mu.Lock()
		s.tracks[name] = append(s.tracks[name], to)
		s.mu.Unlock()
		for {
			packet, _, err := from.ReadRTP()
			if err != nil {
				return
			}
			_ = to.WriteRTP(packet)
		}
	})
	return true
}

func (s *server) subscribe(name string, pc *webrtc.PeerConnection) bool {
	if len(s.tracks[name]) < 2 {
		s.refused++
		return false
	}
	for _, track := range s.tracks[name] {
		_, err := pc.AddTrack(track)
		require.NoError(s.t, err)
	}
	return true
}

func (s *server) end(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := r.PathValue("id")
	if err := s.sessions[id].Close(); err != nil {
		s.t.Error(err)
	}
	s.ended = append(s.ended, id)
	w.WriteHeader(http.StatusNoContent)
}

func TestAMeetingOverWHIPAndWHEP(t *testing.T) {
	t.Parallel()
	s, url := newServer(t)
	door, err := New(Config{Publish: url + "/v{visit}p{publisher}/whip", Subscribe: url + "/v{visit}p{publisher}/whep", Bearer: "secret"})
	require.NoError(t, err)
	report, err := load.Run(t.Context(), load.Config{
		Visits: 1, Publishers: 2, Subscribers: 1, Duration: time.Second, JoinTimeout: 10 * time.Second, Door: door,
		Format: synthetic.Format{VideoBitrate: 300_000, AudioBitrate: 32_000, FrameRate: 30},
	})
	require.NoError(t, err)
	require.Empty(t, report.Problems)
	require.Equal(t, report.Joins.Wanted, report.Joins.Succeeded)
	require.NotZero(t, report.Packets.Forwarded)
	require.Equal(t, report.Packets.Expected, 2*report.Packets.Published)
	require.InDelta(t, 1, report.Packets.Delivered, 0.02)
	require.NotZero(t, s.refused, "who came too early asked again")
	require.Len(t, s.ended, 6, "two publish, and each of the others is received twice")
	require.Equal(t, map[string]bool{"Bearer secret": true}, s.bearers)
}

func TestARefusalIsToldWithoutTheToken(t *testing.T) {
	t.Parallel()
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no", http.StatusUnauthorized)
	}))
	defer refusing.Close()
	door, err := New(Config{Publish: refusing.URL + "/whip", Subscribe: refusing.URL + "/whep", Bearer: "secret"})
	require.NoError(t, err)
	report, err := load.Run(t.Context(), load.Config{
		Visits: 1, Publishers: 1, Subscribers: 2, Duration: time.Second, JoinTimeout: time.Second, Door: door,
		Format: synthetic.Format{AudioBitrate: 32_000, FrameRate: 30},
	})
	require.NoError(t, err)
	require.Equal(t, []load.Problem{{Text: "refused: 401 Unauthorized", Count: 3}}, report.Problems)
}

func TestEndpointsThatAreNotAllowed(t *testing.T) {
	for _, config := range []Config{
		{Publish: "127.0.0.1/whip"},
		{Publish: "ftp://a/whip"},
		{Publish: "http://me:secret@a/whip"},
		{Publish: "http://a/whip", Subscribe: "a/whep"},
	} {
		_, err := New(config)
		require.ErrorContains(t, err, "must be http(s)://HOST/PATH")
		require.NotContains(t, err.Error(), "secret")
	}
}

func TestAGuestReceivesFromWhomItShould(t *testing.T) {
	const each, one = "http://a/v{visit}p{publisher}", "http://a/v{visit}"
	publisher := &load.Guest{Visit: 3, Number: 2, Publishers: 3, Source: &synthetic.Source{}}
	subscriber := &load.Guest{Visit: 3, Number: 4, Publishers: 3}
	alone := &load.Guest{Visit: 1, Number: 1, Publishers: 1, Source: &synthetic.Source{}}
	for _, test := range []struct {
		subscribe string
		guest     *load.Guest
		want      []string
	}{
		{each, publisher, []string{"http://a/v3p1", "http://a/v3p3"}},
		{each, subscriber, []string{"http://a/v3p1", "http://a/v3p2", "http://a/v3p3"}},
		{one, subscriber, []string{"http://a/v3"}},
		{one, alone, nil},
		{"", subscriber, nil},
	} {
		d := &Door{Config: Config{Subscribe: test.subscribe}}
		require.Equal(t, test.want, d.endpoints(test.guest))
	}
}
