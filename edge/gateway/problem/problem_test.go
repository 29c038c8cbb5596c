package problem_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/edge/gateway/problem"
)

func TestWriteSendsRFC9457(t *testing.T) {
	p := problem.New(http.StatusTooManyRequests, problem.RateLimited, "slow down")
	p.RetryAfter = 1500 * time.Millisecond
	recorder := httptest.NewRecorder()
	problem.Write(recorder, p)
	require.Equal(t, http.StatusTooManyRequests, recorder.Code)
	require.Equal(t, "application/problem+json", recorder.Header().Get("Content-Type"))
	require.Equal(t, "2", recorder.Header().Get("Retry-After"))
	require.JSONEq(t, `{"type":"https://wardline.health/problems/rate-limited","title":"Too Many Requests",
		"status":429,"detail":"slow down","code":"rate-limited"}`, recorder.Body.String())
}

func TestOf(t *testing.T) {
	own := problem.Method("GET", "POST")
	for name, c := range map[string]struct {
		err    error
		status int
		code   string
	}{
		"a problem":       {fmt.Errorf("wrapped: %w", own), 405, "method-not-allowed"},
		"expired token":   {&access.Refusal{Code: access.CodeExpired, Detail: "expired"}, 401, "token-expired"},
		"other encounter": {&access.Refusal{Code: access.CodeOtherEncounter}, 403, "token-other-encounter"},
		"encounter ended": {fmt.Errorf("join: %w", encounter.ErrEnded), 409, "encounter-ended"},
		"no room":         {fmt.Errorf("join: %w", encounter.ErrTooLarge), 409, "encounter-full"},
		"not found":       {encounter.ErrNotFound, 404, "not-found"},
		"keys away":       {secrets.ErrUnavailable, 503, "unavailable"},
		"body too large":  {&http.MaxBytesError{Limit: 7}, 413, "too-large"},
		"unforeseen":      {errors.New("password is hunter2"), 500, "internal"},
	} {
		t.Run(name, func(t *testing.T) {
			p := problem.Of(c.err)
			require.Equal(t, c.status, p.Status)
			require.Equal(t, c.code, p.Code)
			require.NotContains(t, p.Error(), "hunter2")
			require.Equal(t, c.status == http.StatusUnauthorized, p.Challenge != "")
			require.Equal(t, c.status == http.StatusServiceUnavailable, p.RetryAfter > 0)
		})
	}
}

func TestMethodAndMediaTypeNameWhatIsAllowed(t *testing.T) {
	recorder := httptest.NewRecorder()
	problem.Write(recorder, problem.Method("GET", "POST"))
	require.Equal(t, "GET, POST", recorder.Header().Get("Allow"))
	require.Contains(t, problem.MediaType("text/plain", "application/sdp").Detail, `"text/plain": must be application/sdp`)
}
