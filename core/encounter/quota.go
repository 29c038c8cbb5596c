package encounter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrQuota says that a tenant has as many encounters as it may have; a QuotaError is it.
var ErrQuota = errors.New("too-many-encounters")

// QuotaError says how many encounters a tenant has and may have, and for how long one counts after it is over.
type QuotaError struct {
	Held, Limit int
	Keep        time.Duration
}

// Error implements error.
func (e *QuotaError) Error() string {
	return fmt.Sprintf("the tenant has %d encounters, at most %d; one counts until %v h after it is over", e.Held, e.Limit, e.Keep.Hours())
}

// Unwrap makes it ErrQuota.
func (e *QuotaError) Unwrap() error { return ErrQuota }

// Quota returns a store in whose place a tenant that has limit records creates no more, so that none fills the store for all. It
// counts what List shows whoever sweeps all tenants, and what was created here since; that may be a few too many where several do.
// A created record that List never shows, as one that other regions keep, counts for as long as a record is kept at least.
func Quota(s Store, limit int, keep time.Duration) Store {
	return &quota{Store: s, limit: limit, keep: keep, listed: make(map[string]int), created: make(map[string]map[string]time.Time)}
}

type quota struct {
	Store

	limit int
	keep  time.Duration

	mu      sync.Mutex
	listed  map[string]int                  // how many of each tenant the last List had
	created map[string]map[string]time.Time // when those were created, by tenant and id, that it did not have
}

// CompareAndSet implements Store, and may fail with a QuotaError.
func (q *quota) CompareAndSet(ctx context.Context, e Encounter) (Encounter, error) {
	if e.Revision != 0 {
		return q.Store.CompareAndSet(ctx, e)
	}
	if held := q.held(e.Tenant); held >= q.limit {
		return Encounter{}, &QuotaError{Held: held, Limit: q.limit, Keep: q.keep}
	}
	written, err := q.Store.CompareAndSet(ctx, e)
	if err == nil {
		q.note(e.Key, time.Now())
	}
	return written, err
}

func (q *quota) held(tenant string) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.listed[tenant] + len(q.created[tenant])
}

func (q *quota) note(key Key, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.created[key.Tenant] == nil {
		q.created[key.Tenant] = make(map[string]time.Time)
	}
	q.created[key.Tenant][key.ID] = now
}

// List implements Store.
func (q *quota) List(ctx context.Context, tenant string) ([]Encounter, error) {
	list, err := q.Store.List(ctx, tenant)
	if tenant == "" && (err == nil || errors.Is(err, ErrDamaged)) {
		q.count(list, time.Now())
	}
	return list, err
}

func (q *quota) count(list []Encounter, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	clear(q.listed)
	for _, e := range list {
		q.listed[e.Tenant]++
		delete(q.created[e.Tenant], e.ID)
	}
	for tenant, created := range q.created {
		for id, at := range created {
			if now.Sub(at) >= q.keep {
				delete(created, id)
			}
		}
		if len(created) == 0 {
			delete(q.created, tenant)
		}
	}
}
