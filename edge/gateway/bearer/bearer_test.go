package bearer_test

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

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/edge/gateway/bearer"
	"github.com/wardline/wardline/edge/gateway/problem"
	"github.com/wardline/wardline/edge/gateway/throttle"
)

func get(t *testing.T, authorization ...string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
	for _, value := range authorization {
		r.Header.Add("Authorization", value)
	}
	return r
}

func TestToken(t *testing.T) {
	for _, c := range []struct {
		headers []string
		want    string
	}{
		{[]string{"Bearer abc"}, "abc"},
		{[]string{"bearer  abc "}, "abc"},
		{nil, ""},
		{[]string{"Bearer"}, ""},
		{[]string{"Bearer "}, ""},
		{[]string{"Basic abc"}, ""},
		{[]string{"Bearer abc", "Bearer def"}, ""},
		{[]string{"Bearer " + strings.Repeat("a", 9000)}, ""},
	} {
		token, ok := bearer.Token(get(t, c.headers...))
		require.Equal(t, c.want != "", ok, "%.20q", c.headers)
		if ok {
			require.Equal(t, c.want, token)
		}
	}
}

func TestAddr(t *testing.T) {
	r := get(t)
	for remote, want := range map[string]netip.Addr{
		"192.0.2.1:5":          netip.MustParseAddr("192.0.2.1"),
		"[::ffff:192.0.2.1]:5": netip.MustParseAddr("192.0.2.1"),
		"[fe80::1%eth0]:5":     netip.MustParseAddr("fe80::1"),
		"@":                    {},
	} {
		r.RemoteAddr = remote
		r.Header.Set("X-Forwarded-For", "203.0.113.9")
		require.Equal(t, want, bearer.Addr(r))
	}
}

func TestVerifyThrottlesRefusalsOnly(t *testing.T) {
	var logs strings.Builder
	guard := bearer.Guard{Throttle: throttle.New(throttle.Config{Burst: 1}), Log: zerolog.New(&logs)}
	answer := func(err error) func(context.Context, string) error {
		return func(context.Context, string) error { return err }
	}
	require.Nil(t, guard.Verify(get(t, "Bearer good"), answer(nil)))

	p := guard.Verify(get(t), answer(nil))
	require.Equal(t, http.StatusUnauthorized, p.Status)
	require.Equal(t, `Bearer realm="wardline"`, p.Challenge)

	p = guard.Verify(get(t, "Bearer good"), answer(secrets.ErrUnavailable))
	require.Equal(t, http.StatusServiceUnavailable, p.Status, "our own trouble is not the client's failure")
	p = guard.Verify(get(t, "Bearer good"), answer(errors.New("boom")))
	require.Equal(t, http.StatusInternalServerError, p.Status)

	p = guard.Verify(get(t, "Bearer sesame"), answer(&access.Refusal{Code: access.CodeExpired, Detail: "expired"}))
	require.Equal(t, http.StatusUnauthorized, p.Status)
	require.Contains(t, p.Challenge, `error="invalid_token"`)
	require.Contains(t, logs.String(), "token-expired")
	require.NotContains(t, logs.String(), "sesame")

	before := logs.Len()
	p = guard.Verify(get(t, "Bearer bad"), answer(&access.Refusal{Code: access.CodeSignature, Detail: "does not verify"}))
	require.Equal(t, http.StatusTooManyRequests, p.Status)
	require.Equal(t, problem.RateLimited, p.Code)
	require.Positive(t, p.RetryAfter)
	require.Equal(t, before, logs.Len(), "a flood does not fill the log")
	require.Nil(t, guard.Verify(get(t, "Bearer good"), answer(nil)), "a good token passes whatever its address has done")
}
