package api_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/edge/gateway/api"
	"github.com/wardline/wardline/edge/gateway/openapitest"
	"github.com/wardline/wardline/edge/gateway/quality"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// key makes the same key for the same name, so that tests are alike each time.
func key(name string) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(fmt.Sprintf("%-32s", name)))
}

func public(name string) []secrets.PublicKey {
	return []secrets.PublicKey{{ID: name, Key: ed25519.PublicKey(key(name)[ed25519.SeedSize:])}}
}

// keys is Wardline's own key and those of the tenants "clinic" and "other".
type keys struct{}

func (keys) PublicKeys(context.Context) ([]secrets.PublicKey, error) { return public("wardline"), nil }

func (keys) TenantKeys(_ context.Context, tenant string) ([]secrets.PublicKey, error) {
	if tenant != "clinic" && tenant != "other" {
		return nil, secrets.ErrNotFound
	}
	return public(tenant), nil
}

// kv is a store that can be told to fail.
type kv struct {
	*discovery.Memory
	// fail is what writing fails with, failList what listing does.
	fail, failList error
}

func (k *kv) List(ctx context.Context, prefix string) ([]discovery.Entry, error) {
	if k.failList != nil {
		return nil, k.failList
	}
	return k.Memory.List(ctx, prefix)
}

func (k *kv) CompareAndSet(ctx context.Context, name string, value []byte, index uint64) (discovery.Entry, error) {
	if k.fail != nil {
		return discovery.Entry{}, k.fail
	}
	return k.Memory.CompareAndSet(ctx, name, value, index)
}

// signer signs as Wardline, unless it is told to fail.
type signer struct {
	access.KeySigner
	fail error
}

func (s *signer) Sign(ctx context.Context, payload func(keyID string) ([]byte, error)) ([]byte, error) {
	if s.fail != nil {
		return nil, s.fail
	}
	return s.KeySigner.Sign(ctx, payload)
}

// world is a handler with everything around it.
type world struct {
	mux      *http.ServeMux
	handler  *api.Handler
	verifier *access.Verifier
	store    encounter.Store
	kv       *kv
	signer   *signer
	quality  *quality.Log
	logs     *strings.Builder
	spec     *openapitest.Spec
	pace     func(api.Caller, int) time.Duration
	maxKeys  int
	now      time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		signer: &signer{KeySigner: access.KeySigner{ID: "wardline", Key: key("wardline")}},
		kv:     &kv{Memory: discovery.NewMemory()}, logs: &strings.Builder{}, spec: openapitest.Load(t),
		now: time.Date(2026, 3, 1, 9, 0, 0, 123_456_789, time.UTC),
	}
	w.store = encounter.NewKVStore(w.kv)
	w.verifier = access.NewVerifier(keys{}, keys{}, w.clock)
	w.quality = quality.NewLog(prometheus.NewRegistry(), w.clock)
	w.restartGateway()
	return w
}

func (w *world) clock() time.Time { return w.now }

// restartGateway replaces the handler by one that remembers nothing.
func (w *world) restartGateway() {
	w.mux = http.NewServeMux()
	w.handler = api.New(api.Config{
		Verifier: w.verifier, Signer: w.signer, Store: w.store, KV: w.kv,
		MaxKeys: w.maxKeys, Pace: w.pace, Quality: w.quality,
		BaseURL: "https://visits.example/", Now: w.clock, Log: zerolog.New(zerolog.SyncWriter(w.logs)),
	})
	w.handler.Register(w.mux)
}

func (w *world) tenantToken(t *testing.T, tenant string) string {
	t.Helper()
	token, err := access.MintAPI(key(tenant), tenant, tenant, w.now, time.Hour)
	require.NoError(t, err)
	return token
}

func (w *world) joinToken(t *testing.T, visit string, role access.Role) string {
	t.Helper()
	token, err := access.Mint(t.Context(), access.KeySigner{ID: "wardline", Key: key("wardline")}, access.Grant{
		Tenant: "clinic", Encounter: visit, Participant: "p", Role: role, Expires: w.now.Add(time.Hour),
	}, w.now, w.now)
	require.NoError(t, err)
	return token
}

// request is one HTTP request of tenant "clinic" unless token says otherwise.
type request struct {
	method, path, body, token string
	header                    map[string]string
}

func (w *world) do(t *testing.T, q request) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), q.method, q.path, strings.NewReader(q.body))
	if q.token == "" {
		q.token = w.tenantToken(t, "clinic")
	}
	if q.token != "none" {
		r.Header.Set("Authorization", "Bearer "+q.token)
	}
	if q.method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, value := range q.header {
		r.Header.Set(name, value)
	}
	return w.spec.Serve(t, w.mux, r)
}

// answer is the union of what tests look at.
type answer struct {
	ID           string   `json:"id"`
	State        string   `json:"state"`
	Regions      []string `json:"regions"`
	E2EE         bool     `json:"e2ee"`
	JoinURL      string   `json:"join_url"`
	Code         string   `json:"code"`
	Detail       string   `json:"detail"`
	Participants []struct {
		ID        string    `json:"id"`
		Role      string    `json:"role"`
		JoinURL   string    `json:"join_url"`
		Expires   time.Time `json:"expires"`
		State     string    `json:"state"`
		Connected bool      `json:"connected"`
		Samples   []any     `json:"samples"`
	} `json:"participants"`
	Placement *encounter.Placement `json:"placement"`
}

func (w *world) ask(t *testing.T, q request, status int) answer {
	t.Helper()
	response := w.do(t, q)
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, status, response.StatusCode, string(text))
	require.Equal(t, "no-store", response.Header.Get("Cache-Control"))
	var a answer
	require.NoError(t, json.Unmarshal(text, &a))
	return a
}

func (w *world) grantOf(t *testing.T, joinURL string) access.Grant {
	t.Helper()
	token, found := strings.CutPrefix(joinURL, "https://visits.example/visit#")
	require.True(t, found, "the token is in the fragment: %.60s", joinURL)
	grant, err := w.verifier.Join(t.Context(), token)
	require.NoError(t, err)
	return grant
}
