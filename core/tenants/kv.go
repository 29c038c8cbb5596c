package tenants

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/secrets"
)

const (
	// keyPrefix is followed by the tenant's name.
	keyPrefix = "wardline/tenants/"
	// followEvery is how often Follow looks at all tenants.
	followEvery = time.Minute
	// registerTries bounds how often a Register that others are in the way of begins again.
	registerTries = 5
)

// Store is what KV needs of a key-value store; discovery.KV has it.
type Store interface {
	Get(ctx context.Context, key string) (discovery.Entry, error)
	CompareAndSet(ctx context.Context, key string, value []byte, index uint64) (discovery.Entry, error)
	Delete(ctx context.Context, key string, index uint64) error
	List(ctx context.Context, prefix string) ([]discovery.Entry, error)
}

// KV keeps keys in a key-value store, one value a tenant. What it has read it keeps: a store that does not answer
// leaves the last good keys in use, and so does a value that cannot be read.
type KV struct {
	store Store

	mu   sync.Mutex
	held map[string]held
}

// held are a tenant's keys as of one change of their value, taken in at a time.
type held struct {
	index uint64
	at    time.Time
	keys  []secrets.PublicKey
}

var _ access.TenantKeys = (*KV)(nil)

// NewKV keeps keys in store.
func NewKV(store Store) *KV { return &KV{store: store, held: make(map[string]held)} }

// Follow keeps all tenants' keys at hand until ctx ends, so that a tenant this process has not met yet is known while
// the store does not answer.
func (k *KV) Follow(ctx context.Context) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		_, _ = k.List(ctx) // what is at hand stays good
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// TenantKeys implements access.TenantKeys.
func (k *KV) TenantKeys(ctx context.Context, tenant string) ([]secrets.PublicKey, error) {
	if err := checkName(tenant); err != nil {
		return nil, err
	}
	began := time.Now()
	entry, err := k.store.Get(ctx, keyPrefix+tenant)
	if errors.Is(err, discovery.ErrNotFound) {
		k.drop(tenant)
		return nil, unknown(tenant)
	}
	var keys []secrets.PublicKey
	if err == nil {
		keys, err = k.take(tenant, entry, began)
	}
	if err == nil {
		return keys, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if last, found := k.held[tenant]; found && ctx.Err() == nil {
		return last.keys, nil
	}
	return nil, fmt.Errorf("keys of tenant %q: %w", tenant, err)
}

// take reads a value that was asked for when asking began, unless this one or a later one has been taken in since then. An
// answer to a later question counts whatever its index: that goes back where the store was restored from a snapshot.
func (k *KV) take(tenant string, entry discovery.Entry, began time.Time) ([]secrets.PublicKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if last, found := k.held[tenant]; found && last.index >= entry.Index && !last.at.Before(began) {
		return last.keys, nil
	}
	keys, err := access.ParseJWKS(entry.Value)
	if err != nil {
		return nil, err
	}
	k.held[tenant] = held{entry.Index, time.Now(), keys}
	return keys, nil
}

func (k *KV) drop(tenant string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.held, tenant)
}

// Register replaces a tenant's keys in one step. Registering what is there already changes nothing.
func (k *KV) Register(ctx context.Context, tenant string, keys []secrets.PublicKey) error {
	content, err := encode(tenant, keys)
	if err != nil {
		return err
	}
	for range registerTries {
		var before discovery.Entry
		before, err = k.store.Get(ctx, keyPrefix+tenant)
		if err != nil && !errors.Is(err, discovery.ErrNotFound) {
			break
		}
		if err == nil && bytes.Equal(before.Value, content) {
			return nil
		}
		_, err = k.store.CompareAndSet(ctx, keyPrefix+tenant, content, before.Index)
		if !errors.Is(err, discovery.ErrConflict) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("register tenant %q: %w", tenant, err)
	}
	return nil
}

// Remove takes a tenant's keys away; it is no error if there are none.
func (k *KV) Remove(ctx context.Context, tenant string) error {
	if err := checkName(tenant); err != nil {
		return err
	}
	entry, err := k.store.Get(ctx, keyPrefix+tenant)
	if errors.Is(err, discovery.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = k.store.Delete(ctx, keyPrefix+tenant, entry.Index)
	}
	if err != nil {
		return fmt.Errorf("remove tenant %q: %w", tenant, err)
	}
	return nil
}

// List returns the names of tenants with registered keys, in order.
func (k *KV) List(ctx context.Context) ([]string, error) {
	began := time.Now()
	entries, err := k.store.List(ctx, keyPrefix)
	if err != nil {
		return nil, fmt.Errorf("list tenants: %w", err)
	}
	names := make([]string, 0, len(entries))
	there := make(map[string]bool, len(entries))
	for _, entry := range entries {
		name := strings.TrimPrefix(entry.Key, keyPrefix)
		if checkName(name) != nil {
			continue
		}
		names = append(names, name)
		there[name] = true
		_, _ = k.take(name, entry, began) // TenantKeys says what is wrong with it
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	maps.DeleteFunc(k.held, func(name string, _ held) bool { return !there[name] })
	return names, nil
}
