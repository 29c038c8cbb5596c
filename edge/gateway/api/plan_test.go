package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/secrets"
)

func TestIdempotencyKeyIsForOneResource(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"one", "two"} {
		w.ask(t, request{method: "POST", path: "/v1/encounters", body: `{"id":"` + id + `"}`}, http.StatusCreated)
	}
	add := request{body: `{"role":"family"}`, method: "POST", header: map[string]string{"Idempotency-Key": "once"}}
	add.path = "/v1/encounters/one/participants"
	w.ask(t, add, http.StatusCreated)
	add.path = "/v1/encounters/two/participants"
	require.Equal(t, "idempotency-key-reused", w.ask(t, add, http.StatusUnprocessableEntity).Code)
}

func TestSameIdempotencyKeyGetsTheSameAnswer(t *testing.T) {
	w := newWorld(t)
	header := map[string]string{"Idempotency-Key": "once"}
	first := request{
		method: "POST", path: "/v1/encounters", body: `{"participants":[{"role":"patient","name":"Jane"}]}`, header: header,
	}
	a := w.ask(t, first, http.StatusCreated)

	w.restartGateway()
	w.now = w.now.Add(5 * time.Minute)
	first.body = "{ \"participants\" : [ { \"name\":\"Jane\", \"role\":\"patient\" } ] }"
	require.Equal(t, a, w.ask(t, first, http.StatusCreated), "the same meaning, spelled differently, gets the same links")

	first.body = `{"participants":[{"role":"patient","name":"June"}]}`
	require.Equal(t, "idempotency-key-reused", w.ask(t, first, http.StatusUnprocessableEntity).Code)
	elsewhere := request{method: "POST", path: "/v1/encounters/" + a.ID + "/participants", body: `{"role":"family"}`, header: header}
	require.Equal(t, "idempotency-key-reused", w.ask(t, elsewhere, http.StatusUnprocessableEntity).Code)

	first.token = w.tenantToken(t, "other")
	require.NotEqual(t, a.ID, w.ask(t, first, http.StatusCreated).ID, "keys of tenants have nothing to do with each other")

	w.now = w.now.Add(25 * time.Hour)
	first.token = ""
	require.NotEqual(t, a.ID, w.ask(t, first, http.StatusCreated).ID, "a day later the key is free again")
}

func TestSimultaneousRequestsWithOneKeyMakeOneEncounter(t *testing.T) {
	w := newWorld(t)
	token := w.tenantToken(t, "clinic")
	const body = `{"participants":[{"role":"patient"}]}`
	bodies := make([]string, 8)
	var wait sync.WaitGroup
	for i := range bodies {
		wait.Go(func() {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/encounters", strings.NewReader(body))
			r.Header.Set("Authorization", "Bearer "+token)
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Idempotency-Key", "race")
			recorder := httptest.NewRecorder()
			w.mux.ServeHTTP(recorder, r)
			bodies[i] = recorder.Body.String()
		})
	}
	wait.Wait()
	for _, body := range bodies {
		require.Equal(t, bodies[0], body)
	}
	all, err := w.store.List(t.Context(), "clinic")
	require.NoError(t, err)
	require.Len(t, all, 1)
}

func TestRequestThatDiedHalfwayCanBeMadeAgain(t *testing.T) {
	w := newWorld(t)
	q := request{method: "POST", path: "/v1/encounters", body: visit, header: map[string]string{"Idempotency-Key": "k"}}
	a := w.ask(t, q, http.StatusCreated)
	entry, err := w.kv.Get(t.Context(), "wardline/encounters/clinic/visit-1")
	require.NoError(t, err)
	require.NoError(t, w.kv.Delete(t.Context(), entry.Key, entry.Index), "as if the gateway had stopped after deciding")
	require.Equal(t, a, w.ask(t, q, http.StatusCreated))
	q.header["Idempotency-Key"] = "another"
	w.now = w.now.Add(time.Nanosecond)
	require.Equal(t, "encounter-exists", w.ask(t, q, http.StatusConflict).Code)
}

func TestRefusedRequestLeavesNothingBehind(t *testing.T) {
	for name, header := range map[string]map[string]string{"plain": nil, "with a key": {"Idempotency-Key": "k"}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			q := request{method: "POST", path: "/v1/encounters", header: header}
			q.body = `{"id":"visit-1","participants":[{"role":"patient","name":"a\u202eb"}]}`
			require.Equal(t, "invalid", w.ask(t, q, http.StatusUnprocessableEntity).Code)
			q.body = visit
			w.signer.fail = secrets.ErrUnavailable
			require.Equal(t, "unavailable", w.ask(t, q, http.StatusServiceUnavailable).Code)
			w.signer.fail = nil
			require.Len(t, w.ask(t, q, http.StatusCreated).Participants, 2)
		})
	}
}

func TestOldIdempotencyKeysAreForgotten(t *testing.T) {
	w := newWorld(t)
	use := func(name string) {
		q := request{method: "POST", path: "/v1/encounters", body: "{}", header: map[string]string{"Idempotency-Key": name}}
		require.Equal(t, http.StatusCreated, w.do(t, q).StatusCode)
	}
	remembered := func() int {
		entries, err := w.kv.List(t.Context(), "wardline/idempotency/")
		require.NoError(t, err)
		return len(entries)
	}
	use("a")
	w.now = w.now.Add(23 * time.Hour)
	use("b")
	w.handler.Sweep(t.Context())
	require.Equal(t, 2, remembered())
	w.now = w.now.Add(61 * time.Minute)
	w.kv.failList = discovery.ErrUnavailable
	use("c")
	w.handler.Sweep(t.Context())
	require.Contains(t, w.logs.String(), "not removed")
	w.kv.failList = nil
	require.Equal(t, 3, remembered(), "a request waits for no tidying up")
	w.handler.Sweep(t.Context())
	require.Equal(t, 2, remembered(), "b and c are younger than a day")
}

func TestATenantCannotFillTheStoreWithIdempotencyKeys(t *testing.T) {
	w := newWorld(t)
	w.maxKeys = 2
	w.restartGateway()
	w.ask(t, request{method: "POST", path: "/v1/encounters", body: visit}, http.StatusCreated)
	add := func(tenant, name string) *http.Response {
		q := request{method: "POST", path: "/v1/encounters/visit-1/participants", body: `{"role":"family"}`}
		if q.token = w.tenantToken(t, tenant); name != "" {
			q.header = map[string]string{"Idempotency-Key": name}
		}
		return w.do(t, q)
	}
	for _, name := range []string{"a", "b", "a"} {
		require.Equal(t, http.StatusCreated, add("clinic", name).StatusCode)
	}
	refused := func() {
		t.Helper()
		response := add("clinic", "c")
		require.Equal(t, http.StatusTooManyRequests, response.StatusCode)
		require.Equal(t, "3600", response.Header.Get("Retry-After"))
	}
	refused()
	require.Equal(t, http.StatusCreated, add("clinic", "").StatusCode, "it needs none")
	require.Equal(t, http.StatusNotFound, add("other", "c").StatusCode, "each tenant has its own")
	w.restartGateway()
	w.handler.Sweep(t.Context())
	refused()
	w.now = w.now.Add(25 * time.Hour)
	w.handler.Sweep(t.Context())
	require.Equal(t, http.StatusCreated, add("clinic", "c").StatusCode)
}
