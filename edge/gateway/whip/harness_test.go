package whip_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway/openapitest"
	"github.com/wardline/wardline/edge/gateway/whip"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// offer is a publisher's offer as an encoder sends it, shortened to what matters.
const offer = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n" +
	"a=fingerprint:sha-256 AA:BB\r\na=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n" +
	"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=setup:actpass\r\na=sendonly\r\n" +
	"a=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n"

var playback = strings.Replace(offer, "sendonly", "recvonly", 1)

const (
	trickle = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n" +
		"a=candidate:1 1 udp 2130706431 192.0.2.1 50000 typ host\r\na=end-of-candidates\r\n"
	restartFragment = "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n"
	sdpType         = "application/sdp"
	fragmentType    = "application/trickle-ice-sdpfrag"
)

// grants is a Verifier whose tokens are the keys.
type grants map[string]access.Grant

func (g grants) Join(_ context.Context, token string) (access.Grant, error) {
	grant, ok := g[token]
	if !ok {
		return access.Grant{}, &access.Refusal{Code: access.CodeSignature, Detail: "the signature does not match"}
	}
	return grant, nil
}

func (g grants) Resume(ctx context.Context, token string) (access.Grant, error) {
	return g.Join(ctx, strings.TrimPrefix(token, expired))
}

// expired starts tokens that are no longer good for a new session.
const expired = "expired-"

func grant(participant string, role access.Role) access.Grant {
	return access.Grant{Tenant: "clinic", Encounter: "visit-1", Participant: participant, Role: role}
}

var tokens = grants{
	"patient":  grant("pat", access.Patient),
	"provider": grant("doc", access.Provider),
	"scribe":   grant("scr", access.Scribe),
	"nobody":   grant("who", "janitor"),
	"other":    {Tenant: "clinic", Encounter: "visit-2", Participant: "pat", Role: access.Patient},
}

// sessions is a Sessions that writes the record as it must and remembers what it was asked.
type sessions struct {
	store encounter.Store

	mu         sync.Mutex
	fail       error
	target     string
	candidates []whip.Candidate
	closed     []string
}

func (s *sessions) Open(
	ctx context.Context, g access.Grant, kind signaling.SessionKind, target, _ string,
) (whip.Opened, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return whip.Opened{}, s.fail
	}
	s.target = target
	key := encounter.Key{Tenant: g.Tenant, ID: g.Encounter}
	id := string(kind) + "-" + g.Participant
	_, err := encounter.Change(ctx, s.store, key, func(e *encounter.Encounter) error {
		_, err := e.Join(g.Participant, g.Role, id, encounter.Session{Kind: encounter.SessionKind(kind)}, nil, nil, false)
		return err
	})
	return whip.Opened{ID: id, AnswerSDP: "v=0\r\n"}, err
}

func (s *sessions) Trickle(_ context.Context, _ encounter.Key, _, _ string, candidates []whip.Candidate) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.candidates = append(s.candidates, candidates...)
	return s.fail
}

func (s *sessions) Restart(context.Context, encounter.Key, string, string, string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return "a=ice-ufrag:SRVR\r\n", s.fail
}

func (s *sessions) Close(ctx context.Context, key encounter.Key, participant, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = append(s.closed, id)
	_, err := encounter.Change(ctx, s.store, key, func(e *encounter.Encounter) error {
		e.Leave(participant, id)
		return nil
	})
	return err
}

func (s *sessions) ICEServers(encounter.Key, string, string) []signaling.ICEServer {
	return []signaling.ICEServer{
		{URLs: []string{"stun:stun.example.net"}},
		{URLs: []string{"turn:turn.example.net?transport=udp", "turns:turn.example.net"}, Username: `17:pa"t`, Credential: "s3cret"},
	}
}

func (s *sessions) failWith(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// world is a handler with everything around it.
type world struct {
	mux      *http.ServeMux
	sessions *sessions
	store    encounter.Store
	logs     *strings.Builder
	spec     *openapitest.Spec
}

func newWorld(t *testing.T) *world {
	t.Helper()
	store := encounter.NewKVStore(discovery.NewMemory())
	_, err := encounter.Ensure(t.Context(), store, encounter.Encounter{
		Key: encounter.Key{Tenant: "clinic", ID: "visit-1"}, Created: time.Unix(1, 0),
	})
	require.NoError(t, err)
	w := &world{store: store, sessions: &sessions{store: store}, logs: &strings.Builder{}, spec: openapitest.Load(t)}
	w.restartGateway()
	return w
}

// restartGateway replaces the handler by one that remembers nothing.
func (w *world) restartGateway() {
	w.mux = http.NewServeMux()
	log := zerolog.New(zerolog.SyncWriter(w.logs))
	whip.New(whip.Config{Verifier: tokens, Sessions: w.sessions, Store: w.store, Log: log}).Register(w.mux)
}

// request is one HTTP request; a header value "-" removes the header that would be there otherwise.
type request struct {
	method, path, token, body string
	header                    map[string]string
}

func (w *world) do(t *testing.T, q request) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), q.method, q.path, strings.NewReader(q.body))
	if q.token != "" {
		r.Header.Set("Authorization", "Bearer "+q.token)
	}
	switch q.method {
	case http.MethodPost:
		r.Header.Set("Content-Type", sdpType)
	case http.MethodPatch:
		r.Header.Set("Content-Type", fragmentType)
	}
	for name, value := range q.header {
		r.Header.Set(name, value)
	}
	return w.spec.Serve(t, w.mux, r)
}

func (w *world) publish(t *testing.T) (location, etag string) {
	t.Helper()
	res := w.do(t, request{method: "POST", path: "/whip/visit-1", token: "patient", body: offer})
	require.Equal(t, http.StatusCreated, res.StatusCode)
	return res.Header.Get("Location"), res.Header.Get("ETag")
}

func bodyOf(t *testing.T, res *http.Response) string {
	t.Helper()
	data, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return string(data)
}
