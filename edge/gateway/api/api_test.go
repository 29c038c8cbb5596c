package api_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway/api"
	"github.com/wardline/wardline/edge/gateway/openapitest"
	"github.com/wardline/wardline/edge/gateway/throttle"
)

const visit = `{"id":"visit-1","regions":["us-east","us-west"],"ttl_seconds":600,
	"participants":[{"id":"doc","role":"provider","name":"Dr. Ada"},{"role":"patient","name":"Jane Doe"}]}`

func TestCreatedEncounterComesWithLinksThatWork(t *testing.T) {
	w := newWorld(t)
	a := w.ask(t, request{method: "POST", path: "/v1/encounters", body: visit}, http.StatusCreated)
	require.Equal(t, "visit-1", a.ID)
	require.Len(t, a.Participants, 2)
	grant := w.grantOf(t, a.Participants[0].JoinURL)
	require.Equal(t, "doc", grant.Participant)
	require.Equal(t, access.Provider, grant.Role)
	require.Equal(t, "Dr. Ada", grant.Name)
	require.Equal(t, []string{"us-east", "us-west"}, grant.Regions)
	require.Equal(t, "clinic", grant.Tenant)
	require.Equal(t, w.now.Truncate(time.Second).Add(10*time.Minute), grant.Expires.UTC())
	require.True(t, grant.Expires.Equal(a.Participants[0].Expires))
	patient := w.grantOf(t, a.Participants[1].JoinURL)
	require.Equal(t, a.Participants[1].ID, patient.Participant)
	require.True(t, signaling.ValidID(patient.Participant))

	e, err := w.store.Get(t.Context(), encounter.Key{Tenant: "clinic", ID: "visit-1"})
	require.NoError(t, err)
	require.Equal(t, []string{"us-east", "us-west"}, e.Regions)
	require.Equal(t, http.StatusCreated, w.do(t, request{method: "POST", path: "/v1/encounters", body: "{}"}).StatusCode)
	require.NotContains(t, w.logs.String(), "Jane")
}

func TestEndToEndEncryptionIsChosenAtTheCreation(t *testing.T) {
	w := newWorld(t)
	for body, want := range map[string]bool{`{"e2ee":true}`: true, `{"e2ee":false}`: false, `{}`: false} {
		a := w.ask(t, request{method: "POST", path: "/v1/encounters", body: body}, http.StatusCreated)
		require.Equal(t, want, a.E2EE, body)
		added := request{method: "POST", path: "/v1/encounters/" + a.ID + "/participants", body: `{"role":"patient"}`}
		require.Equal(t, want, w.grantOf(t, w.ask(t, added, http.StatusCreated).JoinURL).E2EE, body)
		require.Equal(t, want, w.ask(t, request{method: "GET", path: "/v1/encounters/" + a.ID}, http.StatusOK).E2EE, body)
		e, err := w.store.Get(t.Context(), encounter.Key{Tenant: "clinic", ID: a.ID})
		require.NoError(t, err)
		require.Equal(t, want, e.E2EE, body)
	}
	wrong := request{method: "POST", path: "/v1/encounters", body: `{"e2ee":"yes"}`}
	require.Contains(t, w.ask(t, wrong, http.StatusUnprocessableEntity).Detail, "e2ee: must be of type boolean, not string")
	invited := request{method: "POST", path: "/v1/encounters", body: `{"e2ee":true,"participants":[{"role":"provider"}]}`}
	require.True(t, w.grantOf(t, w.ask(t, invited, http.StatusCreated).Participants[0].JoinURL).E2EE)
	again := request{method: "POST", path: "/v1/encounters", body: `{"e2ee":true}`, header: map[string]string{"Idempotency-Key": "k"}}
	w.ask(t, again, http.StatusCreated)
	again.body = `{}`
	require.Equal(t, "idempotency-key-reused", w.ask(t, again, http.StatusUnprocessableEntity).Code, "it is another request")
}

func TestNothingPersonalAndNoTokenIsStored(t *testing.T) {
	w := newWorld(t)
	a := w.ask(t, request{
		method: "POST", path: "/v1/encounters", body: visit, header: map[string]string{"Idempotency-Key": "4711"},
	}, http.StatusCreated)
	entries, err := w.kv.List(t.Context(), "wardline/")
	require.NoError(t, err)
	require.Len(t, entries, 2)
	for _, entry := range entries {
		for _, secret := range []string{"Jane", "Ada", "4711", "eyJ", strings.Split(a.Participants[0].JoinURL, "#")[1]} {
			require.NotContains(t, entry.Key+string(entry.Value), secret)
		}
	}
}

func TestEncounterCanBeReadAndEnded(t *testing.T) {
	w := newWorld(t)
	w.ask(t, request{method: "POST", path: "/v1/encounters", body: visit}, http.StatusCreated)
	k := encounter.Key{Tenant: "clinic", ID: "visit-1"}
	_, err := encounter.Change(t.Context(), w.store, k, func(e *encounter.Encounter) error {
		browser := encounter.Session{Kind: encounter.Browser, Gateway: "g"}
		if _, err := e.Join("doc", access.Provider, "s-1", browser, []byte("badge"), nil, false); err != nil {
			return err
		}
		if _, err := e.Join("pat", access.Patient, "s-2", browser, nil, nil, false); err != nil {
			return err
		}
		e.Lose("pat", "s-2", w.now)
		return e.Place(encounter.Placement{Region: "us-east", SFU: "sfu-1", Epoch: 1})
	})
	require.NoError(t, err)

	a := w.ask(t, request{method: "GET", path: "/v1/encounters/visit-1"}, http.StatusOK)
	require.Equal(t, "open", a.State)
	require.Equal(t, "sfu-1", a.Placement.SFU)
	require.Equal(t, "doc", a.Participants[0].ID)
	require.Equal(t, "admitted", a.Participants[0].State)
	require.True(t, a.Participants[0].Connected)
	require.Equal(t, "waiting", a.Participants[1].State)
	require.False(t, a.Participants[1].Connected)

	for range 2 {
		require.Equal(t, http.StatusNoContent, w.do(t, request{method: "DELETE", path: "/v1/encounters/visit-1"}).StatusCode)
	}
	a = w.ask(t, request{method: "GET", path: "/v1/encounters/visit-1"}, http.StatusOK)
	require.Equal(t, "ended", a.State)
	require.False(t, a.Participants[0].Connected, "nobody is in a visit that has ended")
	late := request{method: "POST", path: "/v1/encounters/visit-1/participants", body: `{"role":"family"}`}
	require.Equal(t, "encounter-ended", w.ask(t, late, http.StatusConflict).Code)
}

func TestAddedParticipantGetsALink(t *testing.T) {
	w := newWorld(t)
	w.ask(t, request{method: "POST", path: "/v1/encounters", body: visit}, http.StatusCreated)
	q := request{
		method: "POST", path: "/v1/encounters/visit-1/participants",
		body:   `{"id":"int","role":"interpreter","name":"Ivo","ttl_seconds":60}`,
		header: map[string]string{"Idempotency-Key": "k"},
	}
	a := w.ask(t, q, http.StatusCreated)
	grant := w.grantOf(t, a.JoinURL)
	require.Equal(t, access.Interpreter, grant.Role)
	require.Equal(t, []string{"us-east", "us-west"}, grant.Regions)
	require.Equal(t, a, w.ask(t, q, http.StatusCreated))

	_, err := encounter.Change(t.Context(), w.store, encounter.Key{Tenant: "clinic", ID: "visit-1"}, func(e *encounter.Encounter) error {
		if _, err := e.Join("int", access.Interpreter, "s", encounter.Session{Kind: encounter.Browser}, nil, nil, false); err != nil {
			return err
		}
		return e.Remove("int")
	})
	require.NoError(t, err)
	require.Equal(t, "participant-removed", w.ask(t, q, http.StatusForbidden).Code, "no link leads back in")
}

func TestQualityIsForTheTenantAndRolesThatMayReadIt(t *testing.T) {
	w := newWorld(t)
	w.ask(t, request{method: "POST", path: "/v1/encounters", body: visit}, http.StatusCreated)
	rtt := 30.0
	w.quality.Record(encounter.Key{Tenant: "clinic", ID: "visit-1"}, "pat", access.Patient,
		signaling.Stats{Route: signaling.Route{Leg: 1}, ICEState: "connected", Path: "udp", RTTMs: &rtt}, w.now)
	path := "/v1/encounters/visit-1/quality"
	provider, supervisor := w.joinToken(t, "visit-1", access.Provider), w.joinToken(t, "visit-1", access.Supervisor)
	for _, token := range []string{w.tenantToken(t, "clinic"), provider, supervisor} {
		a := w.ask(t, request{method: "GET", path: path, token: token}, http.StatusOK)
		require.Len(t, a.Participants[0].Samples, 1)
	}
	expired := w.tenantToken(t, "clinic")
	patient, foreign := w.joinToken(t, "visit-1", access.Patient), w.joinToken(t, "visit-2", access.Provider)
	require.Equal(t, "not-allowed", w.ask(t, request{method: "GET", path: path, token: patient}, http.StatusForbidden).Code)
	require.Equal(t, "token-other-encounter", w.ask(t, request{method: "GET", path: path, token: foreign}, http.StatusForbidden).Code)
	require.Equal(t, "not-found", w.ask(t, request{method: "GET", path: path, token: w.tenantToken(t, "other")}, http.StatusNotFound).Code)
	_, err := encounter.Change(t.Context(), w.store, encounter.Key{Tenant: "clinic", ID: "visit-1"}, func(e *encounter.Encounter) error {
		if _, err := e.Join("p", access.Supervisor, "s", encounter.Session{Kind: encounter.Browser}, nil, nil, false); err != nil {
			return err
		}
		return e.Remove("p")
	})
	require.NoError(t, err)
	require.Equal(t, "participant-removed", w.ask(t, request{method: "GET", path: path, token: supervisor}, http.StatusForbidden).Code)
	w.ask(t, request{method: "GET", path: path}, http.StatusOK)
	w.now = w.now.Add(2 * time.Hour)
	require.Equal(t, "token-expired", w.ask(t, request{method: "GET", path: path, token: expired}, http.StatusUnauthorized).Code)
	require.Equal(t, "token-expired", w.ask(t, request{method: "GET", path: path, token: patient}, http.StatusUnauthorized).Code)
}

func TestTenantThatAsksTooOftenWaits(t *testing.T) {
	w := newWorld(t)
	w.ask(t, request{method: "POST", path: "/v1/encounters", body: visit}, http.StatusCreated)
	w.pace = throttle.NewPace[api.Caller](throttle.Config{Burst: 1, Every: 3 * time.Second, Now: w.clock}).TakeN
	w.restartGateway()
	get := request{method: "GET", path: "/v1/encounters/visit-1"}
	w.ask(t, get, http.StatusOK)
	response := w.do(t, get)
	require.Equal(t, http.StatusTooManyRequests, response.StatusCode)
	require.Equal(t, "3", response.Header.Get("Retry-After"))
	create := request{method: "POST", path: "/v1/encounters", body: "{}"}
	require.Equal(t, "rate-limited", w.ask(t, create, http.StatusTooManyRequests).Code)
	create.token = w.tenantToken(t, "other")
	w.ask(t, create, http.StatusCreated)
	quality := request{method: "GET", path: get.path + "/quality", token: w.joinToken(t, "visit-1", access.Provider)}
	w.ask(t, quality, http.StatusOK)
	require.Equal(t, "rate-limited", w.ask(t, quality, http.StatusTooManyRequests).Code)
	w.now = w.now.Add(3 * time.Second)
	w.ask(t, quality, http.StatusOK)
	w.ask(t, get, http.StatusOK) // a participant uses up nothing of their tenant's
}

func TestEachLinkOfATenantCounts(t *testing.T) {
	w := newWorld(t)
	w.pace = throttle.NewPace[api.Caller](throttle.Config{Burst: 100, Every: time.Second, Now: w.clock}).TakeN
	w.restartGateway()
	people := strings.TrimSuffix(strings.Repeat(`{"role":"family"},`, 90), ",")
	create := request{method: "POST", path: "/v1/encounters", body: `{"participants":[` + people + `]}`}
	w.ask(t, create, http.StatusCreated)
	response := w.do(t, create)
	require.Equal(t, http.StatusTooManyRequests, response.StatusCode)
	require.Equal(t, "80", response.Header.Get("Retry-After"))
	create.body = "{}"
	w.ask(t, create, http.StatusCreated)
	w.now = w.now.Add(90 * time.Second)
	create.body = `{"participants":[` + people + `]}`
	w.ask(t, create, http.StatusCreated)
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	w.ask(t, request{method: "POST", path: "/v1/encounters", body: visit}, http.StatusCreated)
	const create, people, this = "/v1/encounters", "/v1/encounters/visit-1/participants", "/v1/encounters/visit-1"
	foreign := w.tenantToken(t, "other")
	post := func(path, body string) request { return request{method: "POST", path: path, body: body} }
	with := func(q request, name, value string) request {
		q.header = map[string]string{name: value}
		return q
	}
	as := func(token, method, path string) request {
		return request{method: method, path: path, token: token, body: `{"role":"family"}`}
	}
	crowd := `{"participants":[{"role":"family"}` + strings.Repeat(`,{"role":"family"}`, 100) + `]}`
	twins := `{"participants":[{"id":"a","role":"family"},{"id":"a","role":"family"}]}`
	for name, c := range map[string]struct {
		request request
		status  int
		code    string
		says    string
	}{
		"no token":           {as("none", "POST", create), 401, "token-malformed", ""},
		"join token":         {as(w.joinToken(t, "visit-1", access.Provider), "GET", this), 401, "token-audience", ""},
		"other tenant reads": {as(foreign, "GET", this), 404, "not-found", ""},
		"other tenant ends":  {as(foreign, "DELETE", this), 404, "not-found", ""},
		"other tenant adds":  {as(foreign, "POST", people), 404, "not-found", ""},
		"no such encounter":  {as("", "GET", "/v1/encounters/none"), 404, "not-found", ""},
		"odd id":             {as("", "GET", "/v1/encounters/%2e%2e%2fx"), 404, "not-found", ""},
		"wrong method":       {as("", "PUT", create), 405, "method-not-allowed", "POST"},

		"form":        {with(post(create, "{}"), "Content-Type", "text/plain"), 415, "unsupported-media-type", "application/json"},
		"cut off":     {post(create, `{"id":`), 400, "bad-message", ""},
		"array":       {post(create, `[]`), 400, "bad-message", "JSON object"},
		"null":        {post(create, `null`), 400, "bad-message", "JSON object"},
		"two objects": {post(create, `{}{}`), 400, "bad-message", "nothing after"},
		"syntax":      {post(create, `{"id" "x"}`), 400, "bad-message", "byte"},
		"too large":   {post(create, `{"id":"`+strings.Repeat("x", 70_000)+`"}`), 413, "too-large", "65536"},

		"unknown member":    {post(create, `{"color":"red"}`), 422, "invalid", `"color"`},
		"unknown in person": {post(create, `{"participants":[{"role":"patient","ssn":"1"}]}`), 422, "invalid", `"ssn"`},
		"text for number":   {post(create, `{"ttl_seconds":"1h"}`), 422, "invalid", "ttl_seconds: must be of type integer"},
		"text for list":     {post(create, `{"participants":"Jane"}`), 422, "invalid", "must be of type array"},
		"text for object":   {post(create, `{"participants":["Jane"]}`), 422, "invalid", "must be of type object"},
		"number for text":   {post(create, `{"id":1}`), 422, "invalid", "must be of type string"},
		"bad id":            {post(create, `{"id":"a b"}`), 422, "invalid", "id"},
		"bad region":        {post(create, `{"regions":["/"]}`), 422, "invalid", "regions"},
		"many regions":      {post(create, `{"regions":["a"`+strings.Repeat(`,"a"`, 16)+`]}`), 422, "invalid", "at most 16"},
		"long ttl":          {post(create, `{"ttl_seconds":86401}`), 422, "invalid", "86400"},
		"no ttl":            {post(people, `{"role":"family","ttl_seconds":0}`), 422, "invalid", "ttl_seconds"},
		"bad role":          {post(people, `{"role":"boss"}`), 422, "invalid", "provider, patient"},
		"no role":           {post(people, `{}`), 422, "invalid", "role"},
		"bad participant":   {post(people, `{"role":"family","id":"/"}`), 422, "invalid", "id"},
		"control character": {post(people, `{"role":"family","name":"a\u0007"}`), 422, "invalid", "name"},
		"reversed name":     {post(people, `{"role":"family","name":"a\u202eb"}`), 422, "invalid", "name"},
		"same id twice":     {post(create, twins), 422, "invalid", "twice"},
		"crowd":             {post(create, crowd), 422, "invalid", "at most 100"},

		"long idempotency key": {
			with(post(create, `{}`), "Idempotency-Key", strings.Repeat("k", 256)), 400, "invalid", "Idempotency-Key",
		},
		"exists": {post(create, visit), 409, "encounter-exists", ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.ask(t, c.request, c.status)
			require.Equal(t, c.code, a.Code)
			require.Contains(t, a.Detail, c.says)
			require.NotContains(t, a.Detail, "Jane")
		})
	}
}

func TestStoreOutOfReachIsSaidWithoutDetails(t *testing.T) {
	w := newWorld(t)
	for err, status := range map[error]int{
		fmt.Errorf("dial 10.0.0.1: %w", discovery.ErrUnavailable): 503,
		errors.New("dial 10.0.0.1"):                               500,
	} {
		w.kv.fail = err
		for _, header := range []map[string]string{nil, {"Idempotency-Key": "k"}} {
			a := w.ask(t, request{method: "POST", path: "/v1/encounters", body: "{}", header: header}, status)
			require.NotContains(t, a.Detail, "10.0.0.1")
		}
	}
	require.Contains(t, w.logs.String(), "10.0.0.1", "the operator is told")
	w.kv.fail = discovery.ErrConflict
	q := request{method: "POST", path: "/v1/encounters", body: "{}", header: map[string]string{"Idempotency-Key": "k"}}
	require.Equal(t, "unavailable", w.ask(t, q, 503).Code)
}

func TestAddressWithManyBadTokensWaits(t *testing.T) {
	w := newWorld(t)
	w.mux = http.NewServeMux()
	api.New(api.Config{
		Verifier: w.verifier, Throttle: throttle.New(throttle.Config{Burst: 1, Now: w.clock}), Log: zerolog.New(zerolog.SyncWriter(w.logs)),
	}).Register(w.mux)
	q := request{method: "GET", path: "/v1/encounters/visit-1", token: "sesame"}
	require.Equal(t, "token-malformed", w.ask(t, q, http.StatusUnauthorized).Code)
	require.Equal(t, "rate-limited", w.ask(t, q, http.StatusTooManyRequests).Code)
	require.Contains(t, w.logs.String(), "token refused")
	require.NotContains(t, w.logs.String(), "sesame")
}

func TestEveryRouteIsDescribed(t *testing.T) {
	var routes openapitest.Routes
	api.New(api.Config{Log: zerolog.Nop()}).Register(&routes)
	openapitest.Load(t).Described(t, &routes, "/v1/encounters")
}
