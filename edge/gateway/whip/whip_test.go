package whip_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway/openapitest"
	"github.com/wardline/wardline/edge/gateway/whip"
)

func TestPublisherGetsASessionWithEverythingRFC9725Promises(t *testing.T) {
	w := newWorld(t)
	res := w.do(t, request{method: "POST", path: "/whip/visit-1", token: "patient", body: offer})
	require.Equal(t, http.StatusCreated, res.StatusCode)
	require.Equal(t, sdpType, res.Header.Get("Content-Type"))
	require.Equal(t, "/whip/visit-1/whip-pat", res.Header.Get("Location"))
	require.Regexp(t, `^"[0-9a-f]+"$`, res.Header.Get("ETag"))
	require.Equal(t, fragmentType, res.Header.Get("Accept-Patch"))
	require.Equal(t, "*", res.Header.Get("Access-Control-Allow-Origin"))
	require.Equal(t, []string{
		`<stun:stun.example.net>; rel="ice-server"`,
		`<turn:turn.example.net?transport=udp>; rel="ice-server"; username="17:pa\"t"; credential="s3cret"; credential-type="password"`,
		`<turns:turn.example.net>; rel="ice-server"; username="17:pa\"t"; credential="s3cret"; credential-type="password"`,
	}, res.Header.Values("Link"))
	require.Equal(t, "v=0\r\n", bodyOf(t, res))
	require.NotContains(t, w.logs.String(), "s3cret")
}

func TestReceiverNamesAParticipantOrGetsTheActiveSpeaker(t *testing.T) {
	w := newWorld(t)
	for path, target := range map[string]string{"/whep/visit-1/doc": "doc", "/whep/visit-1": ""} {
		res := w.do(t, request{method: "POST", path: path, token: "scribe", body: playback})
		require.Equal(t, http.StatusCreated, res.StatusCode, path)
		require.Equal(t, "/whep/visit-1/-/whep-scr", res.Header.Get("Location"))
		require.Equal(t, target, w.sessions.target)
	}
	res := w.do(t, request{method: "DELETE", path: "/whep/visit-1/-/whep-scr", token: "scribe"})
	require.Equal(t, http.StatusOK, res.StatusCode)
}

func TestTrickledCandidatesReachTheSession(t *testing.T) {
	w := newWorld(t)
	location, etag := w.publish(t)
	res := w.do(t, request{
		method: "PATCH", path: location, token: "patient", body: trickle,
		header: map[string]string{"If-Match": `W/"weak", ` + etag},
	})
	require.Equal(t, http.StatusNoContent, res.StatusCode)
	require.Equal(t, []whip.Candidate{
		{MID: "0", Candidate: "candidate:1 1 udp 2130706431 192.0.2.1 50000 typ host"}, {MID: "0"},
	}, w.sessions.candidates)
}

func TestICERestartGivesANewETagThatAnyGatewayKnows(t *testing.T) {
	w := newWorld(t)
	location, first := w.publish(t)
	restart := request{
		method: "PATCH", path: location, token: "patient", body: restartFragment, header: map[string]string{"If-Match": "*"},
	}
	res := w.do(t, restart)
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.Equal(t, fragmentType, res.Header.Get("Content-Type"))
	require.Equal(t, "a=ice-ufrag:SRVR\r\n", bodyOf(t, res))
	second := res.Header.Get("ETag")
	require.NotEqual(t, first, second)

	w.restartGateway()
	for tag, status := range map[string]int{first: http.StatusPreconditionFailed, second: http.StatusNoContent} {
		res = w.do(t, request{method: "PATCH", path: location, token: "patient", body: trickle, header: map[string]string{"If-Match": tag}})
		require.Equal(t, status, res.StatusCode)
	}
	require.NotEqual(t, second, w.do(t, restart).Header.Get("ETag"))
}

func TestDeleteEndsTheSessionOnce(t *testing.T) {
	w := newWorld(t)
	location, _ := w.publish(t)
	stale := w.do(t, request{method: "DELETE", path: location, token: "patient", header: map[string]string{"If-Match": `"old"`}})
	require.Equal(t, http.StatusPreconditionFailed, stale.StatusCode)
	require.Equal(t, http.StatusOK, w.do(t, request{method: "DELETE", path: location, token: "patient"}).StatusCode)
	require.Equal(t, []string{"whip-pat"}, w.sessions.closed)
	require.Equal(t, http.StatusNotFound, w.do(t, request{method: "DELETE", path: location, token: "patient"}).StatusCode)
}

func TestPreflightAllowsOtherOrigins(t *testing.T) {
	w := newWorld(t)
	for path, methods := range map[string]string{
		"/whip/visit-1": "POST, OPTIONS", "/whep/visit-1": "POST, OPTIONS", "/whep/visit-1/doc": "POST, OPTIONS",
		"/whip/visit-1/s": "PATCH, DELETE, OPTIONS", "/whep/visit-1/-/s": "PATCH, DELETE, OPTIONS",
	} {
		res := w.do(t, request{method: "OPTIONS", path: path, header: map[string]string{"Origin": "https://encoder.example"}})
		require.Equal(t, http.StatusNoContent, res.StatusCode)
		require.Equal(t, "*", res.Header.Get("Access-Control-Allow-Origin"))
		require.Equal(t, methods, res.Header.Get("Access-Control-Allow-Methods"))
		require.Contains(t, res.Header.Get("Access-Control-Allow-Headers"), "If-Match")
		if strings.HasPrefix(methods, "POST") {
			require.Equal(t, sdpType, res.Header.Get("Accept-Post"))
		} else {
			require.Equal(t, fragmentType, res.Header.Get("Accept-Patch"))
		}
	}
}

func TestEveryRouteIsDescribed(t *testing.T) {
	var routes openapitest.Routes
	whip.New(whip.Config{Log: zerolog.Nop()}).Register(&routes)
	openapitest.Load(t).Described(t, &routes, "/whip/", "/whep/")
}

func TestRefusals(t *testing.T) {
	endpoint, session := "/whip/visit-1", "/whip/visit-1/whip-pat"
	post := func(change func(*request)) request {
		q := request{method: "POST", path: endpoint, token: "patient", body: offer, header: map[string]string{}}
		change(&q)
		return q
	}
	patch := func(change func(*request)) request {
		q := request{method: "PATCH", path: session, token: "patient", body: trickle, header: map[string]string{"If-Match": `"x"`}}
		change(&q)
		return q
	}
	for name, c := range map[string]struct {
		request request
		status  int
		code    string
	}{
		"no token":           {post(func(q *request) { q.token = "" }), 401, "token-malformed"},
		"foreign token":      {post(func(q *request) { q.token = "forged" }), 401, "token-signature"},
		"other encounter":    {post(func(q *request) { q.token = "other" }), 403, "token-other-encounter"},
		"scribe publishes":   {post(func(q *request) { q.token = "scribe" }), 403, "not-allowed"},
		"unknown role":       {post(func(q *request) { q.token, q.path = "nobody", "/whep/visit-1" }), 403, "not-allowed"},
		"wrong media type":   {post(func(q *request) { q.header["Content-Type"] = "application/json" }), 415, "unsupported-media-type"},
		"not acceptable":     {post(func(q *request) { q.header["Accept"] = "text/html, application/sdp;q=0" }), 406, "not-acceptable"},
		"garbage":            {post(func(q *request) { q.body = "hello" }), 400, "bad-message"},
		"no media":           {post(func(q *request) { q.body = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n" }), 422, "invalid"},
		"sends nothing":      {post(func(q *request) { q.body = playback }), 422, "invalid"},
		"receives nothing":   {post(func(q *request) { q.path = "/whep/visit-1/doc" }), 422, "invalid"},
		"no ICE credentials": {post(func(q *request) { q.body = strings.Replace(offer, "ice-pwd", "x-pwd", 1) }), 422, "invalid"},
		"too large":          {post(func(q *request) { q.body = strings.Repeat("a", signaling.MaxSDPBytes+1) }), 413, "too-large"},
		"bad target":         {post(func(q *request) { q.path, q.token = "/whep/visit-1/%20", "scribe" }), 404, "participant-unknown"},
		"GET endpoint":       {post(func(q *request) { q.method = "GET" }), 405, "method-not-allowed"},
		"PUT session":        {patch(func(q *request) { q.method = "PUT" }), 405, "method-not-allowed"},
		"no If-Match":        {patch(func(q *request) { delete(q.header, "If-Match") }), 428, "precondition-required"},
		"stale If-Match":     {patch(func(*request) {}), 412, "precondition-failed"},
		"fragment type":      {patch(func(q *request) { q.header["Content-Type"] = sdpType }), 415, "unsupported-media-type"},
		"garbage fragment":   {patch(func(q *request) { q.body = "hello" }), 400, "bad-message"},
		"fragment too large": {patch(func(q *request) { q.body = strings.Repeat("a", whip.MaxFragmentBytes+1) }), 413, "too-large"},
		"restart, no ufrag":  {patch(func(q *request) { q.header["If-Match"], q.body = "*", "a=mid:0\r\n" }), 422, "invalid"},
		"somebody else's":    {patch(func(q *request) { q.token = "provider" }), 404, "not-found"},
		"other kind":         {patch(func(q *request) { q.path = "/whep/visit-1/-/whip-pat" }), 404, "not-found"},
		"no session":         {patch(func(q *request) { q.path = "/whip/visit-1/none" }), 404, "not-found"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.publish(t)
			requireProblem(t, w.do(t, c.request), c.status, c.code)
		})
	}
}

func TestSessionErrorsBecomeProblems(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{whip.ErrBusy, 503, "busy"},
		{whip.ErrNoServer, 503, "no-media-server"},
		{whip.ErrInvalidSDP, 422, "invalid"},
		{whip.ErrNotFound, 404, "not-found"},
		{whip.ErrTooManyCandidates, 429, "rate-limited"},
		{encounter.ErrEnded, 409, "encounter-ended"},
		{encounter.ErrLocked, 403, "encounter-locked"},
		{encounter.ErrRemoved, 403, "participant-removed"},
		{encounter.ErrFull, 409, "encounter-full"},
		{encounter.ErrEncrypted, 403, "encounter-encrypted"},
		{encounter.ErrRegion, 403, "region-not-allowed"},
		{encounter.ErrUnknownParticipant, 404, "participant-unknown"},
		{discovery.ErrUnavailable, 503, "unavailable"},
		{context.DeadlineExceeded, 503, "unavailable"},
		{errors.New("disk on fire at /secret/path"), 500, "internal"},
	} {
		w := newWorld(t)
		w.sessions.failWith(c.err)
		res := w.do(t, request{method: "POST", path: "/whip/visit-1", token: "patient", body: offer})
		if c.status == http.StatusServiceUnavailable {
			require.NotEmpty(t, res.Header.Get("Retry-After"))
		}
		text := requireProblem(t, res, c.status, c.code)
		require.NotContains(t, text, "secret")
	}
}

func TestRestartAndTrickleFailuresAreAnswered(t *testing.T) {
	w := newWorld(t)
	location, etag := w.publish(t)
	w.sessions.failWith(whip.ErrInvalidSDP)
	for _, match := range []string{"*", etag} {
		res := w.do(t, request{
			method: "PATCH", path: location, token: "patient", body: restartFragment, header: map[string]string{"If-Match": match},
		})
		requireProblem(t, res, http.StatusUnprocessableEntity, "invalid")
	}
	w.sessions.failWith(nil)
	res := w.do(t, request{method: "PATCH", path: location, token: "patient", body: trickle, header: map[string]string{"If-Match": etag}})
	require.Equal(t, http.StatusNoContent, res.StatusCode, "a restart that failed leaves the ETag as it was")
}

func TestAddressWithManyBadTokensWaits(t *testing.T) {
	mux := http.NewServeMux()
	limiter := &counter{}
	whip.New(whip.Config{Verifier: tokens, Throttle: limiter, Log: zerolog.Nop()}).Register(mux)
	statuses := []int{}
	for range 3 {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/whip/visit-1", http.NoBody)
		r.Header.Set("Authorization", "Bearer forged")
		recorder := httptest.NewRecorder()
		mux.ServeHTTP(recorder, r)
		statuses = append(statuses, recorder.Code)
	}
	require.Equal(t, []int{401, 401, 429}, statuses)
}

// counter allows two failures.
type counter struct{ failures int }

func (c *counter) Allow(netip.Addr) bool { return c.failures < 2 }
func (c *counter) Failed(netip.Addr)     { c.failures++ }

func requireProblem(t *testing.T, res *http.Response, status int, code string) string {
	t.Helper()
	text := bodyOf(t, res)
	require.Equal(t, status, res.StatusCode, text)
	require.Equal(t, "application/problem+json", res.Header.Get("Content-Type"))
	require.Contains(t, text, `"code":"`+code+`"`)
	require.Equal(t, status == http.StatusUnauthorized, res.Header.Get("WWW-Authenticate") != "")
	require.Equal(t, status == http.StatusMethodNotAllowed, res.Header.Get("Allow") != "")
	require.Equal(t, "*", res.Header.Get("Access-Control-Allow-Origin"), "a page of another origin must be able to read why")
	return text
}

func TestTokenThatExpiredDuringTheSessionStillEndsIt(t *testing.T) {
	w := newWorld(t)
	location, etag := w.publish(t)
	res := w.do(t, request{method: "POST", path: "/whip/visit-1", token: expired + "patient", body: offer})
	require.Equal(t, http.StatusUnauthorized, res.StatusCode, "it opens none")
	res = w.do(t, request{
		method: "PATCH", path: location, token: expired + "patient", body: trickle, header: map[string]string{"If-Match": etag},
	})
	require.Equal(t, http.StatusNoContent, res.StatusCode)
	res = w.do(t, request{method: "DELETE", path: location, token: expired + "provider"})
	require.Equal(t, http.StatusNotFound, res.StatusCode, "nor does it end somebody else's")
	res = w.do(t, request{method: "DELETE", path: location, token: expired + "patient"})
	require.Equal(t, http.StatusOK, res.StatusCode)
}
