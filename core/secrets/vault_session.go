package secrets

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/rs/zerolog"
)

// session keeps a client logged in. With a token given by somebody else there is nothing to do.
type session struct {
	client   *vaultClient
	identity *identity // nil: the client's token is given
	pace     vaultPace
	waiting  func(reason error)
	log      zerolog.Logger

	mu sync.Mutex
	// logins counts the successful ones; requests say which one they were made with.
	logins int
	since  time.Time // of the last success
	err    error     // of the last attempt
	// changed is closed at the end of each attempt.
	changed chan struct{}
	// wanted asks for a new login.
	wanted chan struct{}
}

func newSession(client, anonymous *vaultClient, config VaultConfig, pace vaultPace) *session {
	s := &session{
		client: client, pace: pace, waiting: config.Waiting, log: config.Log, changed: make(chan struct{}), wanted: make(chan struct{}, 1),
	}
	if config.JWTFile != "" {
		s.identity = &identity{path: config.JWTFile, role: config.Role, client: anonymous}
	}
	return s
}

// start logs in and leaves a goroutine that keeps it so. It gives up when ctx ends or the login is refused.
func (s *session) start(ctx context.Context, tasks *tasks) error {
	if s.identity == nil {
		return nil
	}
	attempt := s.attempts()
	if !tasks.run(s.keep) {
		return ErrUnavailable
	}
	for {
		select {
		case <-attempt:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), s.ready())
		}
		s.mu.Lock()
		attempt = s.changed
		logins, err := s.logins, s.err
		s.mu.Unlock()
		if logins > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, ErrUnavailable) {
			return err
		}
		if s.waiting != nil {
			s.waiting(err)
		}
	}
}

// attempts is closed at the end of the attempt under way, or of the next.
func (s *session) attempts() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// keep logs in, again and again: when the token cannot be renewed any more, or somebody found it refused.
func (s *session) keep(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		secret, err := s.identity.login(ctx)
		s.landed(secret, err)
		if err == nil {
			began := time.Now()
			s.hold(ctx, secret)
			if ctx.Err() != nil || time.Since(began) >= s.pace.watch {
				failures = 0
				continue
			}
			if failures == 0 { // a Vault must not be filled with tokens that are good for nothing
				s.log.Warn().Str("role", s.identity.role).Int("ttl_s", secret.Auth.LeaseDuration).
					Msg("login to vault ended at once, trying again")
			}
		}
		failures++
		//nolint:gosec // G404: jitter
		s.identity.wait(ctx, backoff(failures, s.pace.retry, s.pace.retryMost, rand.Float64()), s.pace.watch)
	}
}

// landed takes in how an attempt ended, and tells the log when that changed.
func (s *session) landed(secret *api.Secret, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.err
	s.err = err
	if err == nil {
		s.client.api.SetToken(secret.Auth.ClientToken)
		s.logins++
		s.since = time.Now()
		if s.logins == 1 || before != nil {
			s.log.Info().Str("role", s.identity.role).Int("ttl_s", secret.Auth.LeaseDuration).Msg("logged in to vault")
		}
	} else if !SameTrouble(before, err) {
		s.log.Warn().Err(err).Str("role", s.identity.role).Msg("login to vault failed, trying again")
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// SameTrouble reports whether two errors tell an operator the same: they differ in numbers at most, such as times and ports.
func SameTrouble(a, b error) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return withoutNumbers(a) == withoutNumbers(b)
}

func withoutNumbers(err error) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, err.Error())
}

// hold renews a token until that is not possible, a new login is wanted, or ctx ends. The token stays in use until
// the next login: it still has its last third to live.
func (s *session) hold(ctx context.Context, secret *api.Secret) {
	watcher, err := s.client.api.NewLifetimeWatcher(&api.LifetimeWatcherInput{
		Secret: secret, Increment: secret.Auth.LeaseDuration,
	})
	if err != nil {
		s.log.Error().Err(err).Msg("vault token cannot be renewed")
		return
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		watcher.Start()
	}()
	defer func() {
		watcher.Stop()
		<-ended
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wanted:
			return
		case <-watcher.RenewCh():
		case err := <-watcher.DoneCh():
			if err != nil {
				s.log.Warn().Err(vaultError("auth/token/renew-self", err)).Msg("vault token not renewed, logging in again")
			}
			return
		}
	}
}

// generation says which login requests are made with now.
func (s *session) generation() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logins
}

// replace has the login that a refused request was made with replaced, and reports whether it was. A young login is
// kept: what it is refused is policy, and logging in for every refusal would be a storm.
func (s *session) replace(ctx context.Context, used int) bool {
	if s.identity == nil {
		return false
	}
	s.mu.Lock()
	if s.logins != used {
		s.mu.Unlock()
		return true // somebody else found out first
	}
	if time.Since(s.since) < s.pace.denied {
		s.mu.Unlock()
		return false
	}
	attempt := s.changed
	s.mu.Unlock()
	select {
	case s.wanted <- struct{}{}:
	default:
	}
	timer := time.NewTimer(s.pace.patience)
	defer timer.Stop()
	select {
	case <-attempt:
	case <-timer.C:
	case <-ctx.Done():
	}
	return s.generation() != used
}

// ready says how the last attempt to log in failed, if it did.
func (s *session) ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// revoke ends the login at Vault. Where Vault cannot be reached the token ends by itself.
func (s *session) revoke() {
	if s.identity == nil || s.generation() == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.client.api.ClientTimeout())
	defer cancel()
	if err := s.client.api.Auth().Token().RevokeSelfWithContext(ctx, ""); err != nil {
		s.log.Info().Err(vaultError("auth/token/revoke-self", err)).Msg("vault token not revoked, it ends by itself")
	}
	s.client.api.ClearToken()
}
