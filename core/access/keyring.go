package access

import (
	"context"
	"crypto/ed25519"
	"errors"
	"sync"
	"time"

	"github.com/wardline/wardline/core/secrets"
)

const (
	// refreshInterval is the shortest time between two questions to a source of keys, so that tokens with
	// invented key ids cannot flood it.
	refreshInterval = 3 * time.Second
	// refreshAge is when keys are asked for again although none is missing: a key that was taken back stops
	// working then.
	refreshAge = time.Minute
	// refreshTimeout bounds how long one token waits for a source.
	refreshTimeout = 2 * time.Second
)

// keyring caches the keys of one source and keeps the last good ones when the source fails.
type keyring struct {
	load func(context.Context) ([]secrets.PublicKey, error)
	now  func() time.Time

	mu     sync.RWMutex
	keys   map[string]ed25519.PublicKey
	loaded time.Time // of the last success, zero before
	asked  time.Time // of the last attempt, zero before
	err    error     // of the last attempt

	// refreshing is held by the one that asks the source, for as long as that takes.
	refreshing sync.Mutex
}

// key finds a public key by id. It is an error only when no keys have ever been loaded.
func (k *keyring) key(ctx context.Context, id string) (key ed25519.PublicKey, found bool, err error) {
	key, found, stale := k.cached(id)
	switch {
	case found && !stale:
		return key, true, nil
	case found && !k.refreshing.TryLock():
		return key, true, nil // somebody else is asking; the key at hand is good enough
	case !found:
		k.refreshing.Lock()
	}
	defer k.refreshing.Unlock()
	k.refresh(ctx)

	k.mu.RLock()
	defer k.mu.RUnlock()
	key, found = k.keys[id]
	if !found && k.loaded.IsZero() {
		return nil, false, k.err
	}
	return key, found, nil
}

func (k *keyring) cached(id string) (key ed25519.PublicKey, found, stale bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	key, found = k.keys[id]
	return key, found, k.now().Sub(k.loaded) >= refreshAge
}

// refresh asks the source unless that was done just before. The caller holds refreshing.
func (k *keyring) refresh(ctx context.Context) {
	k.mu.RLock()
	recent := !k.asked.IsZero() && k.now().Sub(k.asked) < refreshInterval
	k.mu.RUnlock()
	if recent {
		return
	}
	// A bearer who hangs up must not make the refresh fail for those who wait behind.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refreshTimeout)
	defer cancel()
	keys, err := k.load(ctx)
	if errors.Is(err, secrets.ErrNotFound) {
		keys, err = nil, nil // an answer too: there are none
	}

	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked, k.err = k.now(), err
	if err != nil {
		return
	}
	k.loaded = k.asked
	k.keys = make(map[string]ed25519.PublicKey, len(keys))
	for _, key := range keys {
		if len(key.Key) == ed25519.PublicKeySize {
			k.keys[key.ID] = key.Key
		}
	}
}

// empty reports that the source was asked and has no keys.
func (k *keyring) empty() bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return len(k.keys) == 0
}
