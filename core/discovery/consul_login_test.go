package discovery

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/hashicorp/consul/api"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

// fakeLogins is an auth method that issues numbered tokens.
type fakeLogins struct {
	*consulLogins

	mu      sync.Mutex
	issued  int
	asked   []string // paths
	out     []string // tokens that were logged out
	refusal error
	life    time.Duration
	delay   time.Duration
	file    string
}

// newFakeLogins starts a fake whose clock is the test's bubble.
func newFakeLogins(t *testing.T) *fakeLogins {
	t.Helper()
	f := &fakeLogins{file: filepath.Join(t.TempDir(), "jwt")}
	f.identify(t, "jwt-1")
	f.consulLogins = &consulLogins{
		jwt: &secretFile{path: f.file}, pace: normalLoginPace, logins: make(map[string]*login), life: t.Context(), log: zerolog.Nop(),
		method: func(context.Context) (string, error) { return "nomad-east", nil },
		start:  func(run func()) bool { go run(); return true },
		post:   f.answer,
	}
	return f
}

// identify gives the workload a new JWT.
func (f *fakeLogins) identify(t *testing.T, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(f.file, []byte(text), 0o600))
	at := time.Unix(int64(len(text)), 0).Add(time.Duration(f.issued+1) * time.Hour) // a file system's clock may be coarse
	require.NoError(t, os.Chtimes(f.file, at, at))
}

func (f *fakeLogins) answer(ctx context.Context, path, datacenter, token string, body []byte) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, path)
	if path == logoutPath {
		f.out = append(f.out, token)
		return nil, nil
	}
	var asked api.ACLLoginParams
	if err := json.Unmarshal(body, &asked); err != nil || asked.AuthMethod != "nomad-east" || token != "" {
		return nil, fmt.Errorf("login in %s: %q", datacenter, body)
	}
	time.Sleep(f.delay)
	if f.refusal != nil {
		return nil, f.refusal
	}
	f.issued++
	answer := map[string]any{"SecretID": fmt.Sprintf("token-%d", f.issued), "CreateTime": time.Now().Add(time.Hour)}
	if f.life > 0 {
		answer["ExpirationTime"] = time.Now().Add(time.Hour + f.life)
	}
	return json.Marshal(answer)
}

func (f *fakeLogins) refuse(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refusal = err
}

func (f *fakeLogins) logins() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, path := range f.asked {
		if path == loginPath {
			n++
		}
	}
	return n
}

func (f *fakeLogins) outs() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string{}, f.out...)
}

// has requires the token that requests carry now.
func (f *fakeLogins) has(t *testing.T, want, why string) {
	t.Helper()
	got, err := f.token(t.Context(), "west")
	require.NoError(t, err, why)
	require.Equal(t, want, got, why)
	synctest.Wait()
}

func TestOneLoginServesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeLogins(t)
		f.delay = 100 * time.Millisecond
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() {
				token, err := f.token(t.Context(), "west")
				if err != nil || token != "token-1" {
					t.Errorf("%s %v", token, err)
				}
			})
		}
		impatient, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, err := f.token(impatient, "west")
		require.ErrorIs(t, err, context.DeadlineExceeded, "a login under way outlasts who asked for it")
		group.Wait()
		require.Equal(t, 1, f.logins())
		_, err = f.token(t.Context(), "onprem")
		require.NoError(t, err)
		require.Equal(t, 2, f.logins(), "each datacenter has its own")
		f.close(t.Context())
		require.ElementsMatch(t, []string{"token-1", "token-2"}, f.outs())
	})
}

func TestTokensAreRenewedWhileTheyAreGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeLogins(t)
		f.life = 30 * time.Minute
		f.has(t, "token-1", "the first")
		time.Sleep(19 * time.Minute)
		f.has(t, "token-1", "young")
		time.Sleep(2 * time.Minute)
		f.has(t, "token-1", "replaced in the background")
		f.has(t, "token-2", "at two thirds of its life")
		require.Equal(t, []string{"token-1"}, f.outs())

		f.refuse(errors.New("connection refused"))
		time.Sleep(29 * time.Minute)
		f.has(t, "token-2", "good until it expires, though nobody answers")
		time.Sleep(2 * time.Minute)
		_, err := f.token(t.Context(), "west")
		require.ErrorContains(t, err, "connection refused")
	})
}

func TestANewIdentityLogsInAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeLogins(t)
		f.has(t, "token-1", "the first")
		f.identify(t, "jwt-2")
		time.Sleep(2 * secretCheck)
		f.has(t, "token-1", "replaced in the background")
		f.has(t, "token-2", "of the new identity")
		require.Equal(t, []string{"token-1"}, f.outs())
		require.NoError(t, os.Remove(f.file))
		time.Sleep(2 * secretCheck)
		f.has(t, "token-2", "a file that is gone changes nothing")
	})
	f := newFakeLogins(t)
	require.NoError(t, os.Remove(f.file))
	_, err := f.token(t.Context(), "west")
	require.ErrorContains(t, err, "west")
}

func TestRefusedLoginsAreNoStorm(t *testing.T) {
	for name, test := range map[string]struct {
		refusal error
		most    int // logins in a minute of asking all the time
		least   int
	}{
		"refused":      {api.StatusError{Code: http.StatusForbidden, Body: "Permission denied: jwt-1 is bad\n"}, 14, 5},
		"not verified": {api.StatusError{Code: http.StatusInternalServerError, Body: "no known key"}, 70, 20},
		"unreachable":  {errors.New("connection refused"), 70, 20},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeLogins(t)
				f.refuse(test.refusal)
				var err error
				for range 6000 {
					_, err = f.token(t.Context(), "west")
					require.Error(t, err)
					time.Sleep(10 * time.Millisecond)
				}
				require.LessOrEqual(t, f.logins(), test.most)
				require.GreaterOrEqual(t, f.logins(), test.least)
				require.ErrorContains(t, err, "west")
				require.ErrorContains(t, err, "nomad-east")
				require.NotContains(t, err.Error(), "jwt-1")
				f.refuse(nil)
				time.Sleep(normalLoginPace.refused)
				f.has(t, "token-1", "once it is allowed")
			})
		})
	}
}

func TestARefusedTokenIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeLogins(t)
		require.False(t, f.refused("west", "token-0", true), "nobody logged in")
		f.has(t, "token-1", "the first")
		require.True(t, f.refused("west", "token-1", true), "gone")
		f.has(t, "token-2", "at once")
		require.True(t, f.refused("west", "token-1", true), "replaced meanwhile")
		require.False(t, f.refused("west", "token-2", false), "a young token that is denied something")
		f.has(t, "token-2", "stays")
		time.Sleep(time.Minute)
		require.False(t, f.refused("west", "token-2", false))
		f.has(t, "token-2", "an old one is replaced in the background, as its role may have changed")
		f.has(t, "token-3", "in the background")

		for range 600 { // every token is refused at once
			if token, err := f.token(t.Context(), "west"); err == nil {
				f.refused("west", token, true)
			}
			time.Sleep(10 * time.Millisecond)
		}
		require.LessOrEqual(t, f.logins(), 25, "six seconds of that are no storm either")
	})
}

func TestNobodyLogsInAfterTheEnd(t *testing.T) {
	f := newFakeLogins(t)
	f.start = func(func()) bool { return false }
	_, err := f.token(t.Context(), "west")
	require.ErrorIs(t, err, ErrUnavailable)
	f.method = func(context.Context) (string, error) { return "", errors.New("no agent") }
	_, err = f.logIn(t.Context(), "west", "jwt")
	require.ErrorContains(t, err, "no agent")
}

func TestSecretFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	for text, good := range map[string]bool{
		"abc": true, " abc\n": true, "": false, "two lines\n": false, "a\nb": false, "\x00": false, "é": false,
		strings.Repeat("a", maxSecretBytes+1): false,
	} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := (&secretFile{path: path}).read(time.Now())
		require.Equal(t, good, err == nil, "%.20q", text)
	}
}

func FuzzLoginAnswer(f *testing.F) {
	for _, body := range []string{
		"", "null", "{}", `{"SecretID":"abc"}`, `{"SecretID":"a b"}`, `{"SecretID":"a","ExpirationTime":"2026-01-01T00:00:00Z"}`,
		`{"SecretID":"a","CreateTime":"2026-01-01T00:00:00Z","ExpirationTime":"2026-01-01T01:00:00Z"}`,
		`{"SecretID":"a","CreateTime":"0001-01-01T00:00:00Z","ExpirationTime":"9999-01-01T01:00:00Z"}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		now := time.Now()
		got, err := parseLogin(body, now)
		if err != nil {
			require.Zero(t, got)
			return
		}
		require.True(t, isSecret(got.token))
		require.True(t, got.good(now))
		require.True(t, got.renew.IsZero() == got.expires.IsZero() && !got.renew.After(got.expires))
	})
}

func TestIdentityThatWasNotReplaced(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}, nil)
	require.NoError(t, err)
	expires := func(at time.Time) string {
		text, err := jwt.Signed(signer).Claims(jwt.Claims{Expiry: jwt.NewNumericDate(at)}).Serialize()
		require.NoError(t, err)
		return text
	}
	for name, one := range map[string]struct {
		text string
		is   error
	}{
		"good for an hour":   {expires(now.Add(time.Hour)), nil},
		"expired just now":   {expires(now), ErrUnavailable},
		"expired long ago":   {expires(now.Add(-time.Hour)), ErrUnavailable},
		"not an identity":    {"abc", ErrInvalid},
		"a token of no time": {expires(time.Time{}), nil},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "jwt")
			require.NoError(t, os.WriteFile(file, []byte(one.text), 0o600))
			err := ConsulLogin{JWTFile: file}.Fresh(now)
			require.ErrorIs(t, err, one.is)
			if err != nil {
				require.NotContains(t, err.Error(), one.text)
			}
		})
	}
	require.NoError(t, ConsulLogin{}.Fresh(now), "who does not log in needs none")
	require.Error(t, ConsulLogin{JWTFile: filepath.Join(t.TempDir(), "none")}.Fresh(now))
}
