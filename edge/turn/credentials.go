package turn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pion/stun/v3"

	"github.com/wardline/wardline/core/secrets"
)

// Reasons why credentials are refused, besides those of secrets.TURNPassword.
var (
	errNoSecret  = errors.New("the TURN secret is not known yet")
	errWrongKey  = errors.New("message integrity does not match")
	errRealm     = errors.New("realm is not ours")
	errAttribute = errors.New("request without user name or realm")
	errRevoked   = errors.New("credential was revoked")
	errLooking   = errors.New("whether the TURN secret was rotated is being looked up")
)

// fetchLimit bounds one look at the shared secret.
const fetchLimit = 200 * time.Millisecond

// credentials verifies requests with the shared secret, of which it keeps the last good copy: a relay outlives
// its keeper.
type credentials struct {
	fetch func(ctx context.Context) (secrets.Shared, error)
	realm string
	now   func() time.Time
	// retry is the shortest time between two looks because of a request.
	retry time.Duration

	mu      sync.Mutex
	shared  secrets.Shared
	looked  time.Time
	looking chan struct{}  // closed when the look because of a request is over, nil if there is none
	looks   sync.WaitGroup // for it
}

// ready returns why nobody can be verified, nil if somebody can.
func (c *credentials) ready() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.shared.Current) == 0 {
		return errNoSecret
	}
	return nil
}

// keepFresh looks at the secret until ctx ends: at once, then every interval, sooner after a failure.
func (c *credentials) keepFresh(ctx context.Context, interval time.Duration) {
	for {
		wait := interval
		if c.refresh(ctx) != nil {
			wait = c.retry
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (c *credentials) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	shared, err := c.fetch(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looked = c.now()
	if err != nil {
		return fmt.Errorf("shared secret %q: %w", secrets.TURNSecret, err)
	}
	c.shared = shared
	return nil
}

// verify returns the credential a request was made with. If that may be one of a secret that is not known yet it waits, or does not
// and fails with errLooking.
func (c *credentials) verify(m *stun.Message, wait bool) (credential, error) {
	var username stun.Username
	var realm stun.Realm
	if username.GetFrom(m) != nil || realm.GetFrom(m) != nil {
		return credential{}, errAttribute
	}
	if realm.String() != c.realm {
		return credential{}, errRealm
	}
	found, err := c.match(m, username.String())
	if !errors.Is(err, errWrongKey) && !errors.Is(err, errNoSecret) {
		return found, err
	}
	// A gateway may already mint with a secret that was rotated a moment ago.
	switch looking := c.look(); {
	case looking == nil: // somebody else's look may just have ended
		return c.match(m, username.String())
	case !wait:
		return credential{}, errLooking
	default:
		<-looking
		return c.match(m, username.String())
	}
}

func (c *credentials) match(m *stun.Message, username string) (credential, error) {
	c.mu.Lock()
	shared := c.shared
	c.mu.Unlock()
	if len(shared.Current) == 0 {
		return credential{}, errNoSecret
	}
	passwords, err := secrets.TURNPassword(shared, username, c.now())
	if err != nil {
		return credential{}, err
	}
	for _, password := range passwords {
		found := credential{username: username, key: stun.NewLongTermIntegrity(username, c.realm, password)}
		if found.key.Check(m) == nil {
			return found, nil
		}
	}
	return credential{}, errWrongKey
}

// look begins a look at the secret unless there is one, and returns what is closed when it is over. It returns nil if the last one is
// not long enough ago, so that wrong credentials cannot keep the relay busy looking.
func (c *credentials) look() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.looking != nil || c.now().Sub(c.looked) < c.retry {
		return c.looking
	}
	looking := make(chan struct{})
	c.looking = looking
	c.looks.Go(func() {
		_ = c.refresh(context.Background()) // then what was known counts on
		c.mu.Lock()
		defer c.mu.Unlock()
		c.looking = nil
		close(looking)
	})
	return looking
}

// authFailureReason is the label of an authentication failure.
func authFailureReason(err error) string {
	switch {
	case errors.Is(err, secrets.ErrCredentialExpired):
		return "expired"
	case errors.Is(err, errWrongKey):
		return "integrity"
	case errors.Is(err, errNoSecret):
		return "unavailable"
	case errors.Is(err, errRevoked):
		return "revoked"
	default:
		return "malformed"
	}
}
