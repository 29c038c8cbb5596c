package secrets

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"
)

func TestBackoffDoublesUpToItsLimit(t *testing.T) {
	for failures, want := range map[int]float64{1: 1, 2: 2, 3: 4, 4: 8, 5: 10, 50: 10} {
		require.InDelta(t, want, backoff(failures, time.Second, 10*time.Second, 0).Seconds(), 0)
		require.InDelta(t, want/2, backoff(failures, time.Second, 10*time.Second, 1).Seconds(), 0)
	}
}

func TestAdoption(t *testing.T) {
	const settle = time.Minute
	start := time.Now()
	since := start.Add
	var a adoption
	for _, step := range []struct {
		latest version
		older  int
		after  time.Duration
		want   int
		why    string
	}{
		{version{4, since(-settle)}, 3, 0, 4, "what everybody has seen is taken"},
		{version{5, since(0)}, 4, time.Second, 4, "a new version waits"},
		{version{5, since(0)}, 4, settle, 4, "still, counted from when it was seen"},
		{version{5, since(0)}, 4, settle + time.Second, 5, "then it is used"},
		{version{6, since(0)}, 5, 2 * settle, 5, "the next waits again"},
		{version{7, since(0)}, 6, 2*settle + time.Second, 7, "the one in use is gone"},
		{version{3, since(0)}, 2, 3 * settle, 3, "an older Vault was restored"},
	} {
		versions := []version{step.latest, {step.older, since(-time.Hour)}}
		require.Equal(t, step.want, a.choose(versions, since(step.after), settle), step.why)
	}
	a.made(4)
	require.Equal(t, 4, a.choose([]version{{4, start}, {3, start}}, start, settle), "what one made oneself is used at once")
}

func TestAProcessThatStartsAfterARotationWaitsAsTheOthersDo(t *testing.T) {
	const settle = time.Minute
	start := time.Now()
	ago := func(d time.Duration) time.Time { return start.Add(-d) }
	for _, c := range []struct {
		name     string
		versions []version
		want     int
		// rest is how long the newest version is not used yet.
		rest time.Duration
	}{
		{"rotated just now", []version{{5, start}, {4, ago(time.Hour)}}, 4, settle},
		{"rotated a while ago", []version{{5, ago(settle / 3)}, {4, ago(time.Hour)}}, 4, settle - settle/3},
		{"rotated long ago", []version{{5, ago(settle)}, {4, ago(time.Hour)}}, 5, 0},
		{"the first version ever", []version{{1, start}}, 1, 0},
		{"the only one that counts", []version{{5, start}}, 5, 0},
		{"the one before is young as well", []version{{5, ago(time.Second)}, {4, ago(2 * time.Second)}}, 4, settle - time.Second},
		{"several rotations at once", []version{{6, start}, {5, start}, {4, ago(time.Hour)}}, 4, settle},
		{"Vault's clock is ahead", []version{{5, start.Add(time.Hour)}, {4, ago(time.Hour)}}, 4, settle},
		{"Vault does not say when", []version{{5, time.Time{}}, {4, time.Time{}}}, 5, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var a adoption
			require.Equal(t, c.want, a.choose(c.versions, start, settle))
			if c.rest > 0 {
				require.Equal(t, c.want, a.choose(c.versions, start.Add(c.rest-time.Millisecond), settle))
			}
			require.Equal(t, c.versions[0].number, a.choose(c.versions, start.Add(c.rest), settle))
		})
	}
}

func TestSharedVersionsAreOrderedByAdoption(t *testing.T) {
	newest := sharedVersion{version{number: 5}, []byte("new")}
	pair := sharedVersions{newest: newest, before: sharedVersion{version{number: 4}, []byte("old")}}
	require.Equal(t, Shared{Current: []byte("new"), Previous: []byte("old")}, pair.view(5))
	require.Equal(t, Shared{Current: []byte("old"), Previous: []byte("new")}, pair.view(4))
	alone := sharedVersions{newest: newest}
	require.Equal(t, Shared{Current: []byte("new")}, alone.view(4))
	require.Equal(t, []version{{number: 5}, {number: 4}}, pair.versions())
	require.Equal(t, []version{{number: 5}}, alone.versions())
}

func TestKeptCertificateIsRenewedInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ca authority
		require.NoError(t, ca.create(time.Now()))
		var issuedCount, failures atomic.Int32
		var fail atomic.Bool
		source, err := newSource(t.Context(), time.Now, func(context.Context) (issued, error) {
			issuedCount.Add(1)
			if fail.Load() {
				return issued{}, ErrUnavailable
			}
			return ca.issue([]string{SFURole + NameSuffix}, nil, time.Now())
		})
		require.NoError(t, err)
		source.kept = true
		rest := func(failures int) time.Duration { return backoff(failures, time.Second, time.Minute, 0) }
		go source.keep(t.Context(), time.Second, rest, func(error) { failures.Add(1) })
		first := source.NotAfter()

		time.Sleep(certificateLife*2/3 - time.Minute)
		require.Equal(t, first, source.NotAfter(), "too early")
		time.Sleep(2 * time.Minute)
		second := source.NotAfter()
		require.True(t, second.After(first))
		require.EqualValues(t, 2, issuedCount.Load())

		fail.Store(true)
		time.Sleep(certificateLife - time.Minute)
		before := issuedCount.Load()
		_, err = source.Server().GetCertificate(nil)
		require.NoError(t, err, "the certificate in hand stays")
		require.Equal(t, before, issuedCount.Load(), "no handshake waits for Vault")
		require.Less(t, failures.Load(), int32(300), "about once a minute")
		time.Sleep(2 * time.Minute)
		_, err = source.Server().GetCertificate(nil)
		require.ErrorIs(t, err, ErrUnavailable, "ended, and says why")
		fail.Store(false)
		time.Sleep(2 * time.Minute)
		_, err = source.Server().GetCertificate(nil)
		require.NoError(t, err)
	})
}

func responseError(status int, errs ...string) error {
	return fmt.Errorf("wrapped: %w", &api.ResponseError{StatusCode: status, URL: "https://vault.internal:8200/v1/x", Errors: errs})
}

func TestErrorsSayWhatAndNeverASecret(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		is   error
		says string
	}{
		"denied":         {responseError(403, "1 error occurred:\n\t* permission denied\n\n"), ErrDenied, "permission denied"},
		"not there":      {errNoAnswer, ErrNotFound, "vault mount/path"},
		"404":            {responseError(404, "no handler for route"), ErrNotFound, "no handler"},
		"transit's 404":  {responseError(400, "encryption key not found"), ErrNotFound, "not found"},
		"rejected":       {responseError(400, "invalid ciphertext"), errRejected, "invalid ciphertext"},
		"sealed":         {responseError(503, "Vault is sealed"), ErrUnavailable, "sealed"},
		"internal":       {responseError(500, "1 error occurred"), ErrUnavailable, "internal error"},
		"standby":        {responseError(473), ErrUnavailable, "473"},
		"too many":       {responseError(429, "slow down"), ErrUnavailable, "429"},
		"timeout":        {&url.Error{Op: "Put", URL: "https://vault.internal", Err: context.DeadlineExceeded}, ErrUnavailable, "in time"},
		"broken":         {&url.Error{URL: "https://vault.internal", Err: io.ErrUnexpectedEOF}, ErrUnavailable, "unexpected EOF"},
		"with a token":   {responseError(400, "bad token hvs.CAESIJ7xyz0123456789abcdefghij"), errRejected, "bad token [redacted]"},
		"with identity":  {responseError(400, "bad jwt eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln"), errRejected, "bad jwt [redacted]"},
		"a long story":   {responseError(400, strings.Repeat("words ", 1000)), errRejected, " ..."},
		"412":            {responseError(412), ErrUnavailable, "412"},
		"unauthorized":   {responseError(http.StatusUnauthorized), ErrDenied, "denied"},
		"not a response": {errors.New("other"), ErrUnavailable, "other"},
	} {
		err := vaultError("mount/path", test.err)
		require.ErrorIs(t, err, test.is, name)
		require.ErrorContains(t, err, test.says, name)
		require.ErrorContains(t, err, "mount/path", name)
		require.NotContains(t, err.Error(), "vault.internal", name)
		require.Less(t, len(err.Error()), 400, name)
	}
	require.NoError(t, vaultError("mount/path", nil))
}

func TestMountOfAPath(t *testing.T) {
	for path, want := range map[string]string{
		"wardline/token/sign/join-token": "wardline/token", "auth/token/lookup-self": "auth/token", "sys": "sys",
	} {
		require.Equal(t, want, mountOf(path))
	}
}

// unsigned is a token with claims and no signature that anybody would accept.
func unsigned(t *testing.T, claims map[string]any) []byte {
	t.Helper()
	payload, err := json.Marshal(claims)
	require.NoError(t, err)
	return []byte("e30." + base64.RawURLEncoding.EncodeToString(payload) + ".c2ln")
}

func TestTimesAreExplained(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	jwt := unsigned(t, map[string]any{"exp": now.Add(-time.Minute).Unix(), "nbf": now.Unix()})
	for _, test := range []struct {
		claim  string
		jwt    []byte
		offset time.Duration
		known  bool
		says   []string
	}{
		{"exp", jwt, 5 * time.Minute, true, []string{
			"ends at 2026-03-01T11:59:00Z", "here it is 2026-03-01T12:00:00Z", "5m0s ahead", "check the clocks",
		}},
		{"nbf", jwt, -5 * time.Minute, true, []string{"begins at", "5m0s behind", "check the clocks"}},
		{"exp", jwt, time.Second, true, []string{"agrees"}},
		{"exp", jwt, 0, false, []string{"could not be asked"}},
		{"iat", jwt, time.Hour, true, []string{"1h0m0s ahead"}},
		{"exp", []byte("no token"), time.Hour, true, []string{"1h0m0s ahead"}},
	} {
		text := explainTimes(test.claim, test.jwt, now, test.offset, test.known)
		for _, says := range test.says {
			require.Contains(t, text, says)
		}
	}
	require.Equal(t, "exp", timeClaim("invalid expiration time (exp) claim: token is expired"))
	require.Empty(t, timeClaim("invalid audience (aud) claim"))
}
