package secrets

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// cached is the last good answer to one question. It is asked again when older than fresh, by one asker at a time;
// where that fails or takes long, the older answer is good enough.
type cached[T any] struct {
	fetch func(context.Context) (T, error)
	tasks *tasks
	pace  vaultPace
	now   func() time.Time

	mu     sync.Mutex
	value  T
	have   bool
	at     time.Time
	flight *flight[T]
	// failures in a row, and when it is worth asking again.
	failures int
	next     time.Time
	err      error
}

// flight is one question under way. value and err may be read once done is closed.
type flight[T any] struct {
	began time.Time
	done  chan struct{}
	value T
	err   error
}

func newCached[T any](tasks *tasks, pace vaultPace, fetch func(context.Context) (T, error)) *cached[T] {
	return &cached[T]{fetch: fetch, tasks: tasks, pace: pace, now: time.Now}
}

// get returns a fresh answer, or the last good one where there is no better, or the reason why there is none.
func (c *cached[T]) get(ctx context.Context) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	c.mu.Lock()
	now := c.now()
	value, have := c.value, c.have
	if have && (now.Sub(c.at) < c.pace.fresh || now.Before(c.next)) {
		c.mu.Unlock()
		return value, nil
	}
	if !have && now.Before(c.next) {
		defer c.mu.Unlock()
		return none, c.err
	}
	asked := c.ask(now)
	c.mu.Unlock()

	var tired <-chan time.Time
	if have {
		timer := time.NewTimer(c.pace.patience - now.Sub(asked.began))
		defer timer.Stop()
		tired = timer.C
	}
	select {
	case <-asked.done:
		if asked.err == nil {
			return asked.value, nil
		}
	case <-tired:
	case <-ctx.Done():
		return none, ctx.Err()
	}
	if have {
		return value, nil
	}
	return none, asked.err
}

// ask joins the question under way or begins one. The caller holds mu.
func (c *cached[T]) ask(now time.Time) *flight[T] {
	if c.flight != nil {
		return c.flight
	}
	f := &flight[T]{began: now, done: make(chan struct{}), err: ErrUnavailable}
	c.flight = f
	started := c.tasks.run(func(ctx context.Context) {
		value, err := c.fetch(ctx)
		c.land(f, value, err)
	})
	if !started {
		c.flight = nil
		close(f.done) // with ErrUnavailable: the keeper is closed
	}
	return f
}

// land takes an answer in, unless the question has been forgotten meanwhile.
func (c *cached[T]) land(f *flight[T], value T, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.value, f.err = value, err
	close(f.done)
	if c.flight != f {
		return
	}
	c.flight = nil
	if c.err = err; err != nil {
		c.failures++
		c.next = c.now().Add(backoff(c.failures, c.pace.retry, c.pace.retryMost, rand.Float64())) //nolint:gosec // G404: jitter
		return
	}
	c.value, c.have, c.at = value, true, c.now()
	c.failures, c.next = 0, time.Time{}
}

// expire makes the next get ask Vault; an answer that is on its way may be too old to count.
func (c *cached[T]) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.next, c.failures, c.flight = time.Time{}, time.Time{}, 0, nil
}

// backoff is the rest after so many failures in a row: it doubles from shortest up to longest, and random (0 to 1)
// takes up to half of it away, so that those who failed together do not ask together.
func backoff(failures int, shortest, longest time.Duration, random float64) time.Duration {
	rest := shortest
	for range failures - 1 {
		if rest >= longest {
			break
		}
		rest *= 2
	}
	rest = min(rest, longest)
	return rest - time.Duration(float64(rest/2)*random)
}

// version is one version of a secret.
type version struct {
	number int
	// made is when, by Vault's clock; zero if Vault did not say.
	made time.Time
}

// adoption decides from when a version that another process made is signed or minted with: once everybody who
// verifies has had time to see it. Not safe for concurrent use.
type adoption struct {
	current   int
	candidate int
	since     time.Time
}

// choose returns the version to use of those that still verify, newest first; there is at least one.
func (a *adoption) choose(versions []version, now time.Time, settle time.Duration) int {
	latest := versions[0]
	if !slices.ContainsFunc(versions, func(v version) bool { return v.number == a.current }) {
		a.begin(versions, now, settle)
	}
	switch {
	case a.current == latest.number:
		a.candidate = latest.number
	case a.candidate != latest.number:
		a.candidate, a.since = latest.number, now
	case now.Sub(a.since) >= settle:
		a.current = latest.number
	}
	return a.current
}

// begin takes a version into use where there was none, or not any more: the newest that is old enough for everybody to
// have seen it, else the oldest, which more have seen than the others. A first version ever is both.
func (a *adoption) begin(versions []version, now time.Time, settle time.Duration) {
	seen := slices.IndexFunc(versions, func(v version) bool { return now.Sub(v.made) >= settle })
	if seen < 0 {
		seen = len(versions) - 1
	}
	a.current = versions[seen].number
	a.candidate, a.since = versions[0].number, versions[0].made
	if a.since.After(now) { // Vault's clock is ahead, which must not prolong the wait
		a.since = now
	}
}

// made takes a version into use that this process made itself.
func (a *adoption) made(number int) { a.current, a.candidate = number, number }
