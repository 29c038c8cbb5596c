package secrets

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// poolKeys is how many data keys are held ready for a tenant: one is one encounter's.
	poolKeys = 4
	// poolTenants bounds for how many tenants keys are held ready.
	poolTenants = 1024
)

// keyPool holds a few data keys ready for every tenant that asked before, so that encounters begin while Vault does
// not answer.
type keyPool struct {
	tasks *tasks
	pace  vaultPace
	fetch func(ctx context.Context, tenant string) (DataKey, error)
	now   func() time.Time

	mu      sync.Mutex
	tenants map[string]*tenantPool
}

type tenantPool struct {
	keys    []pooledKey // oldest first
	filling bool
}

type pooledKey struct {
	DataKey
	at time.Time
}

func newKeyPool(tasks *tasks, pace vaultPace, fetch func(context.Context, string) (DataKey, error)) *keyPool {
	return &keyPool{tasks: tasks, pace: pace, fetch: fetch, now: time.Now, tenants: make(map[string]*tenantPool)}
}

// take returns a young key that is ready, else a new one, else, where Vault cannot give one, any that is ready.
func (p *keyPool) take(ctx context.Context, tenant string) (DataKey, error) {
	if key, ok := p.pop(tenant, p.pace.poolAge); ok {
		p.refill(tenant)
		return key, nil
	}
	key, err := p.fetch(ctx, tenant)
	switch {
	case err == nil:
		p.refill(tenant)
		return key, nil
	case errors.Is(err, ErrNotFound):
		p.drop(tenant)
		return DataKey{}, err
	case ctx.Err() != nil || !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrDenied):
		return DataKey{}, err
	}
	if key, ok := p.pop(tenant, 0); ok {
		return key, nil
	}
	return DataKey{}, fmt.Errorf("no prefetched data key of tenant %q is left: %w", tenant, err)
}

// pop takes the oldest key that is no older than oldest; 0 means of any age.
func (p *keyPool) pop(tenant string, oldest time.Duration) (DataKey, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	held := p.tenants[tenant]
	if held == nil {
		return DataKey{}, false
	}
	for i, key := range held.keys {
		if oldest > 0 && p.now().Sub(key.at) > oldest {
			continue
		}
		held.keys = append(held.keys[:i:i], held.keys[i+1:]...)
		return key.DataKey, true
	}
	return DataKey{}, false
}

// refill gets keys up to the full number in the background, in place of those too old; a failure ends it, the next
// take tries again.
func (p *keyPool) refill(tenant string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	held := p.tenants[tenant]
	if held == nil {
		if len(p.tenants) >= poolTenants {
			return
		}
		held = &tenantPool{}
		p.tenants[tenant] = held
	}
	if held.filling || held.young(p.now(), p.pace.poolAge) >= poolKeys {
		return
	}
	held.filling = p.tasks.run(func(ctx context.Context) {
		for p.addOne(ctx, tenant, held) {
		}
	})
}

// addOne gets one key and reports whether more are wanted.
func (p *keyPool) addOne(ctx context.Context, tenant string, held *tenantPool) bool {
	key, err := p.fetch(ctx, tenant)
	p.mu.Lock()
	defer p.mu.Unlock()
	// A pool that was dropped meanwhile wants no keys of before.
	if err != nil || p.tenants[tenant] != held || ctx.Err() != nil {
		held.filling = false
		clear(key.Plain)
		return false
	}
	now := p.now()
	if len(held.keys) >= poolKeys { // those in front are the oldest
		clear(held.keys[0].Plain)
		held.keys = append(held.keys[:0:0], held.keys[1:]...)
	}
	held.keys = append(held.keys, pooledKey{key, now})
	held.filling = held.young(now, p.pace.poolAge) < poolKeys
	return held.filling
}

func (t *tenantPool) young(now time.Time, oldest time.Duration) int {
	count := 0
	for _, key := range t.keys {
		if now.Sub(key.at) <= oldest {
			count++
		}
	}
	return count
}

// drop forgets the keys that are ready for a tenant.
func (p *keyPool) drop(tenant string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if held := p.tenants[tenant]; held != nil {
		held.wipe()
		delete(p.tenants, tenant)
	}
}

// clear forgets all keys.
func (p *keyPool) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, held := range p.tenants {
		held.wipe()
	}
	clear(p.tenants)
}

func (t *tenantPool) wipe() {
	for _, key := range t.keys {
		clear(key.Plain)
	}
	t.keys = nil
}
