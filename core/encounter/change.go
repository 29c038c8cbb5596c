package encounter

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// A writer that lost a compare-and-set waits a random time up to a bound that doubles with each loss.
const (
	firstBackoff = 2 * time.Millisecond
	maxBackoff   = 64 * time.Millisecond
)

// Change reads an encounter, applies change and writes it back, again from the start whenever somebody
// else was faster, until ctx ends; change may therefore run several times and must touch nothing but
// its argument. An error of change ends it and is returned as it is. A change that alters nothing is not written.
func Change(ctx context.Context, s Store, key Key, change func(*Encounter) error) (Encounter, error) {
	if g, ok := s.(*gatherer); ok {
		return g.change(ctx, key, change)
	}
	for backoff := firstBackoff; ; backoff = min(2*backoff, maxBackoff) {
		written, err := changeOnce(ctx, s, key, change)
		if !errors.Is(err, ErrConflict) {
			return written, err
		}
		jitter := rand.N(backoff) //nolint:gosec // it spreads writers, it keeps no secret
		if err := pause(ctx, jitter); err != nil {
			return Encounter{}, fmt.Errorf("change encounter %s/%s: %w", key.Tenant, key.ID, err)
		}
	}
}

func changeOnce(ctx context.Context, s Store, key Key, change func(*Encounter) error) (Encounter, error) {
	e, err := s.Get(ctx, key)
	if err != nil {
		return Encounter{}, err
	}
	before, err := json.Marshal(e)
	if err != nil {
		return Encounter{}, fmt.Errorf("encode encounter %s/%s: %w", key.Tenant, key.ID, err)
	}
	if err := change(&e); err != nil {
		return Encounter{}, err
	}
	after, err := json.Marshal(e)
	if err != nil {
		return Encounter{}, fmt.Errorf("encode encounter %s/%s: %w", key.Tenant, key.ID, err)
	}
	if bytes.Equal(before, after) {
		return e, nil
	}
	return s.CompareAndSet(ctx, e)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Ensure returns the encounter of fresh's key, created as fresh is if there is none: an encounter named by a valid
// token comes to life on its first join.
func Ensure(ctx context.Context, s Store, fresh Encounter) (Encounter, error) {
	e, err := s.Get(ctx, fresh.Key)
	if !errors.Is(err, ErrNotFound) {
		return e, err
	}
	e, err = s.CompareAndSet(ctx, fresh)
	if errors.Is(err, ErrConflict) { // somebody else created it
		return s.Get(ctx, fresh.Key)
	}
	return e, err
}
