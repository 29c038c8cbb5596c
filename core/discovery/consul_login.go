package discovery

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/hashicorp/consul/api"
	"github.com/rs/zerolog"
)

// ConsulLogin says how the process gets tokens: it logs in with its workload identity, in each datacenter, since the
// tokens of an auth method are local to one. ConsulConfig.Tokens, if there are any, are used in the own instead.
type ConsulLogin struct {
	// JWTFile is the workload identity, read again when it changes; empty means that ConsulConfig.Tokens are good
	// in every datacenter.
	JWTFile string
	// Method is the auth method's name, in every datacenter. Empty means "nomad-" and the agent's datacenter, which takes
	// ConsulConfig.Tokens to ask.
	Method string
}

func (l ConsulLogin) check(tokens ConsulTokens) error {
	if l.JWTFile != "" && l.Method == "" && tokens == nil {
		return fmt.Errorf("consul: %w: a login without other tokens needs the name of its auth method", ErrInvalid)
	}
	return nil
}

// identityAlgorithms are those that workload identities are signed with.
var identityAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA}

// Fresh returns why no new login is possible with the identity in the file, nil if one is: whoever issues it, such as
// Nomad, replaces it long before it expires.
func (l ConsulLogin) Fresh(now time.Time) error {
	if l.JWTFile == "" {
		return nil
	}
	text, err := (&secretFile{path: l.JWTFile}).read(now)
	if err != nil {
		return err
	}
	var claims jwt.Claims
	token, err := jwt.ParseSigned(text, identityAlgorithms)
	if err == nil {
		err = token.UnsafeClaimsWithoutVerification(&claims) // Consul verifies it, this only looks at the clock
	}
	switch {
	case err != nil:
		return fmt.Errorf("workload identity: %w: not a JWT", ErrInvalid)
	case claims.Expiry != nil && !now.Before(claims.Expiry.Time()):
		return fmt.Errorf("workload identity: %w: expired %s ago and was not replaced",
			ErrUnavailable, now.Sub(claims.Expiry.Time()).Round(time.Second))
	}
	return nil
}

const (
	loginPath  = "/v1/acl/login"
	logoutPath = "/v1/acl/logout"
)

// loginPace is when logins are tried again.
type loginPace struct {
	// retry is the rest after a first failure, which doubles with each up to unreachable while nobody answers, so that a
	// region that is back is used at once, and up to refused while the login is refused.
	retry, unreachable, refused time.Duration
	// settle is the age from which a token that is denied something is worth replacing: its role may be another by now.
	settle time.Duration
}

var normalLoginPace = loginPace{
	retry: 100 * time.Millisecond, unreachable: 2 * time.Second, refused: 30 * time.Second, settle: 30 * time.Second,
}

// consulLogins are the tokens of datacenters, "" being the own.
type consulLogins struct {
	jwt    *secretFile
	pace   loginPace
	method func(ctx context.Context) (string, error)
	// post makes a request to a datacenter, with the token if there is one, and bounds its time.
	post func(ctx context.Context, path, datacenter, token string, body []byte) ([]byte, error)
	// start runs a goroutine that somebody waits for, or reports false.
	start func(func()) bool
	life  context.Context
	log   zerolog.Logger

	mu     sync.Mutex
	logins map[string]*login
}

// login is what is known of one datacenter.
type login struct {
	held issued
	// failures are the attempts that failed, and the tokens that were no good, since one that lasted.
	failures int
	// attempt is closed when the one under way ends; nil if none is.
	attempt chan struct{}
	err     error     // of the last attempt
	next    time.Time // no attempt before
}

// issued is a token and what it was issued for.
type issued struct {
	token string
	jwt   string
	at    time.Time
	// renew is when to log in again, expires when the token is good no more; zero means never.
	renew, expires time.Time
}

// good reports whether the token can be used at all, fresh whether there is no reason to replace it.
func (i issued) good(now time.Time) bool {
	return i.token != "" && (i.expires.IsZero() || now.Before(i.expires))
}

func (i issued) fresh(now time.Time, jwt string) bool {
	return i.good(now) && i.jwt == jwt && (i.renew.IsZero() || now.Before(i.renew))
}

// token returns a datacenter's token. The first caller's login serves all who wait; a token that is good is used
// while it is replaced.
func (l *consulLogins) token(ctx context.Context, datacenter string) (string, error) {
	for {
		jwt, err := l.jwt.read(time.Now())
		if err != nil {
			return "", fmt.Errorf("workload identity for datacenter %s: %w", datacenter, err)
		}
		token, attempt, err := l.ask(datacenter, jwt, time.Now())
		if attempt == nil || token != "" {
			return token, err
		}
		select {
		case <-attempt:
		case <-ctx.Done():
			return "", fmt.Errorf("log in to datacenter %s: %w", datacenter, ctx.Err())
		}
	}
}

// ask returns a token, the attempt to wait for, or why there is neither.
func (l *consulLogins) ask(datacenter, jwt string, now time.Time) (string, chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	one := l.logins[datacenter]
	if one == nil {
		one = new(login)
		l.logins[datacenter] = one
	}
	if one.held.fresh(now, jwt) {
		if now.Sub(one.held.at) >= l.pace.settle {
			one.failures = 0
		}
		return one.held.token, nil, nil
	}
	if one.attempt == nil && !now.Before(one.next) {
		attempt := make(chan struct{})
		if !l.start(func() { l.attempt(datacenter, jwt, one, attempt) }) {
			return "", nil, fmt.Errorf("log in to datacenter %s: %w: closed", datacenter, ErrUnavailable)
		}
		one.attempt = attempt
	}
	if one.held.good(now) {
		return one.held.token, nil, nil
	}
	if one.attempt == nil {
		return "", nil, one.err
	}
	return "", one.attempt, nil
}

// attempt logs in once, and out of what the new token replaces.
func (l *consulLogins) attempt(datacenter, jwt string, one *login, done chan struct{}) {
	got, err := l.logIn(l.life, datacenter, jwt)
	l.mu.Lock()
	replaced, first := "", one.failures == 0
	one.attempt, one.err = nil, err
	if err == nil {
		replaced, one.held = one.held.token, got
	} else {
		one.next = time.Now().Add(l.rest(one, err))
	}
	close(done)
	l.mu.Unlock()
	if err != nil {
		if first && l.life.Err() == nil {
			l.log.Warn().Err(err).Msg("no token of another datacenter: trying on")
		}
		return
	}
	if replaced != "" {
		l.logOut(l.life, datacenter, replaced)
	}
}

// rest is the time until the next attempt; the caller holds the lock. Consul says 403 if it knows a workload that may not
// log in, and 500 if it cannot verify it or cannot be reached.
func (l *consulLogins) rest(one *login, err error) time.Duration {
	most := l.pace.unreachable
	var refusal loginRefusal
	if errors.As(err, &refusal) && refusal.status < http.StatusInternalServerError {
		most = l.pace.refused
	}
	pause := min(l.pace.retry<<min(one.failures, 16), most)
	one.failures++
	return pause/2 + time.Duration(random()*float64(pause/2))
}

// loginRefusal is an answer to a login other than a token.
type loginRefusal struct {
	status int
	body   string
}

// Error implements error.
func (r loginRefusal) Error() string { return fmt.Sprintf("status %d: %.300s", r.status, r.body) }

// refused tells that a datacenter refused a token, gone if it does not know it. It reports whether asking for a token
// again may help.
func (l *consulLogins) refused(datacenter, token string, gone bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	one := l.logins[datacenter]
	if one == nil {
		return false
	}
	now := time.Now()
	switch age := now.Sub(one.held.at); {
	case one.held.token != token: // replaced meanwhile
	case age >= l.pace.settle:
		one.held.renew = now
		if gone {
			one.held = issued{}
		}
	case gone: // so soon after it was issued that the next may be as unknown to whoever answered
		one.held, one.err = issued{}, fmt.Errorf("datacenter %s: %w: it does not know the token it issued", datacenter, ErrUnavailable)
		if pause := l.rest(one, one.err); one.failures > 1 {
			one.next = now.Add(pause)
		}
	default:
		return false
	}
	return gone
}

// logIn asks for a token.
func (l *consulLogins) logIn(ctx context.Context, datacenter, jwt string) (issued, error) {
	method, err := l.method(ctx)
	if err != nil {
		return issued{}, fmt.Errorf("log in to datacenter %s: %w", datacenter, err)
	}
	body, err := json.Marshal(api.ACLLoginParams{AuthMethod: method, BearerToken: jwt}) //nolint:gosec // G117: it is what a login is
	if err != nil {
		return issued{}, fmt.Errorf("log in to datacenter %s: %w", datacenter, err)
	}
	began := time.Now()
	answer, err := l.post(ctx, loginPath, datacenter, "", body)
	if err == nil {
		var got issued
		if got, err = parseLogin(answer, began); err == nil {
			got.jwt = jwt
			return got, nil
		}
	}
	where := cmp.Or(datacenter, "of the agent")
	return issued{}, fmt.Errorf("log in to datacenter %s with method %s: %w", where, method, redacted(err, jwt))
}

// redacted keeps a secret that somebody else repeats out of an error.
func redacted(err error, secret string) error {
	var status api.StatusError
	if errors.As(err, &status) {
		return loginRefusal{status.Code, strings.TrimSpace(strings.ReplaceAll(status.Body, secret, "..."))}
	}
	return err
}

// parseLogin reads what a login answered. Times in it are the server's, of which only their distance counts here.
func parseLogin(answer []byte, now time.Time) (issued, error) {
	var token struct {
		SecretID       string
		CreateTime     time.Time
		ExpirationTime *time.Time
	}
	if json.Unmarshal(answer, &token) != nil || !isSecret(token.SecretID) {
		return issued{}, fmt.Errorf("%w: its answer holds no token", ErrUnavailable)
	}
	got := issued{token: token.SecretID, at: now}
	if token.ExpirationTime == nil || token.ExpirationTime.IsZero() {
		return got, nil
	}
	life := token.ExpirationTime.Sub(token.CreateTime)
	if life <= 0 {
		return issued{}, fmt.Errorf("%w: its token expires before it was created", ErrUnavailable)
	}
	got.renew, got.expires = now.Add(life/3*2), now.Add(life)
	return got, nil
}

// logOut destroys a token. If that fails, it lives until it expires.
func (l *consulLogins) logOut(ctx context.Context, datacenter, token string) {
	if _, err := l.post(ctx, logoutPath, datacenter, token, nil); err != nil && l.life.Err() == nil {
		l.log.Info().Err(redacted(err, token)).Str("datacenter", datacenter).Msg("not logged out: the token lives until it expires")
	}
}

// close logs out everywhere. No login may be under way.
func (l *consulLogins) close(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var group sync.WaitGroup
	for datacenter, one := range l.logins {
		if token := one.held.token; token != "" {
			group.Go(func() { l.logOut(ctx, datacenter, token) })
		}
	}
	group.Wait()
	clear(l.logins)
}

// newLogins returns nil if the process does not log in.
func (c *Consul) newLogins() *consulLogins {
	if c.config.Login.JWTFile == "" {
		return nil
	}
	return &consulLogins{
		jwt: &secretFile{path: c.config.Login.JWTFile}, pace: c.pace.login,
		method: c.loginMethod, post: c.postLogin, start: c.start, life: c.ctx, log: c.log, logins: make(map[string]*login),
	}
}

func (c *Consul) loginMethod(ctx context.Context) (string, error) {
	if c.config.Login.Method != "" {
		return c.config.Login.Method, nil
	}
	_, datacenter, err := c.Self(ctx)
	return "nomad-" + datacenter, err
}

// postLogin logs in or out, in a datacenter, of which the transport knows the way.
func (c *Consul) postLogin(ctx context.Context, path, datacenter, token string, body []byte) ([]byte, error) {
	limited, cancel := c.bounded(ctx)
	defer cancel()
	target := c.base.local()
	target.Path = path
	if datacenter != "" {
		target.RawQuery = url.Values{"dc": {datacenter}}.Encode()
	}
	return c.send(withToken(limited, token), http.MethodPost, target, body)
}
