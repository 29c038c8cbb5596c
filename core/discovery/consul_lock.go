package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

// leaderPrefix is followed by the lock's name.
const leaderPrefix = "wardline/leaders/"

// lockDelay is how long Consul withholds a lock after its session was lost. Fencing makes waiting needless, and
// zero would mean Consul's default of 15 s.
const lockDelay = time.Millisecond

// lockRetryMax bounds the random rest before a lock that became free is tried.
const lockRetryMax = 10 * time.Millisecond

// errHeld says that somebody else holds the lock.
var errHeld = errors.New("held by somebody else")

// Campaign implements Elector with a key that a session locks. The session has no checks, as a critical one would
// end it, and lives 10 s without renewal. While Consul cannot be reached the campaign goes on. Fence is the index
// at which the key was locked.
func (c *Consul) Campaign(ctx context.Context, name string) (Leadership, error) {
	if err := cmp.Or(ctx.Err(), CheckName("lock", name), checkKey(leaderPrefix+name)); err != nil {
		return Leadership{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	candidate := &consulLock{c: c, key: leaderPrefix + name, lost: make(chan struct{})}
	at := cursor{pace: &c.pace}
	for {
		fence, err := candidate.try(ctx)
		switch {
		case err == nil:
			return candidate.lead(fence)
		case errors.Is(err, errHeld):
			at.failures = 0
		case ctx.Err() == nil && at.failures == 0: // the others say the same
			c.log.Warn().Err(err).Str("lock", name).Msg("campaign unanswered: going on")
		}
		if !rest(ctx, candidate.pause(&at, err)) {
			candidate.destroySession()
			if c.ctx.Err() != nil {
				return Leadership{}, fmt.Errorf("campaign for %s: %w: closed", name, ErrUnavailable)
			}
			return Leadership{}, fmt.Errorf("campaign for %s: %w", name, ctx.Err())
		}
	}
}

// consulLock is one candidate's, then one leader's lock.
type consulLock struct {
	c       *Consul
	key     string
	session string
	// renewed is when the last successful creation or renewal of the session began.
	renewed time.Time

	once sync.Once
	lost chan struct{}
}

// try locks the key if it is free, and otherwise returns errHeld once it may be free.
func (l *consulLock) try(ctx context.Context) (uint64, error) {
	if err := l.ensureSession(ctx); err != nil {
		return 0, err
	}
	locked, err := l.acquire(ctx)
	if err != nil {
		return 0, err
	}
	pair, index, err := l.holder(ctx, 0)
	if err != nil {
		return 0, err
	}
	if locked && pair != nil && pair.Session == l.session {
		return pair.ModifyIndex, nil
	}
	for pair != nil && pair.Session != "" {
		if !rest(ctx, l.c.pace.every) { // a key can change again and again without becoming free
			return 0, ctx.Err()
		}
		waiting, cancel := context.WithTimeout(ctx, l.c.pace.lock/3) // then the own session needs renewal
		pair, index, err = l.holder(waiting, index)
		cancel()
		if errors.Is(waiting.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
			return 0, errHeld
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, errHeld
}

// pause is the rest before the next try: at once if the lock was held, for the wait was for its release, beyond
// the lock delay.
func (l *consulLock) pause(at *cursor, err error) time.Duration {
	if errors.Is(err, errHeld) {
		return lockDelay + time.Duration(random()*float64(lockRetryMax))
	}
	return at.failed(random())
}

// ensureSession creates or renews the session.
func (l *consulLock) ensureSession(ctx context.Context) error {
	if l.session != "" {
		alive, err := l.renew(ctx)
		if alive || err != nil {
			return err
		}
	}
	limited, cancel := l.c.bounded(ctx)
	defer cancel()
	began := time.Now()
	session, _, err := l.c.api.Session().CreateNoChecks(&api.SessionEntry{
		Name: l.key, TTL: l.c.pace.lock.String(), LockDelay: lockDelay, Behavior: api.SessionBehaviorRelease,
	}, new(api.WriteOptions).WithContext(limited))
	if err != nil {
		return consulError(ctx, "session for "+l.key, err)
	}
	l.session, l.renewed = session, began
	return nil
}

// renew reports whether the session still exists.
func (l *consulLock) renew(ctx context.Context) (bool, error) {
	limited, cancel := l.c.bounded(ctx)
	defer cancel()
	began := time.Now()
	session, _, err := l.c.api.Session().Renew(l.session, new(api.WriteOptions).WithContext(limited))
	if err != nil {
		return false, consulError(ctx, "renew session of "+l.key, err)
	}
	if session == nil {
		return false, nil
	}
	l.renewed = began
	return true, nil
}

func (l *consulLock) acquire(ctx context.Context) (bool, error) {
	limited, cancel := l.c.bounded(ctx)
	defer cancel()
	locked, _, err := l.c.api.KV().Acquire(&api.KVPair{Key: l.key, Session: l.session}, new(api.WriteOptions).WithContext(limited))
	return locked, consulError(ctx, "lock "+l.key, err)
}

// holder reads the key, from index on if that is not 0. It is nil if nobody ever locked it.
func (l *consulLock) holder(ctx context.Context, index uint64) (*api.KVPair, uint64, error) {
	options := &api.QueryOptions{WaitIndex: index, WaitTime: l.c.pace.wait}
	limited, cancel := ctx, context.CancelFunc(func() {})
	if index == 0 {
		limited, cancel = l.c.bounded(ctx)
	}
	defer cancel()
	pair, meta, err := l.c.api.KV().Get(l.key, options.WithContext(limited))
	if err == nil && meta.LastIndex == 0 {
		err = errNotConsul
	}
	if err != nil {
		return nil, 0, consulError(ctx, "lock "+l.key, err)
	}
	return pair, meta.LastIndex, nil
}

// lead keeps the lock until it is released or lost.
func (l *consulLock) lead(fence uint64) (Leadership, error) {
	held, stop := context.WithCancel(l.c.ctx)
	done := make(chan struct{})
	started := l.c.start(func() {
		defer close(done)
		var watch sync.WaitGroup
		watch.Go(func() { l.watch(held, stop) })
		l.keep(held)
		stop()
		l.lose()
		watch.Wait()
		l.release()
	})
	if !started {
		stop()
		l.destroySession()
		return Leadership{}, fmt.Errorf("lock %s: %w: closed", l.key, ErrUnavailable)
	}
	return Leadership{Fence: fence, Lost: l.lost, Release: func() {
		l.lose()
		stop()
		<-done
	}}, nil
}

func (l *consulLock) lose() { l.once.Do(func() { close(l.lost) }) }

// keep renews the session until held ends, the session is gone, or it may have expired unseen. Consul never
// expires one before its TTL.
func (l *consulLock) keep(held context.Context) {
	for {
		end := l.renewed.Add(l.c.pace.lock - l.c.pace.lock/10)
		left := time.Until(end)
		if left <= 0 {
			return
		}
		if !rest(held, min(l.c.pace.lock/3, left)) {
			return
		}
		limited, cancel := context.WithDeadline(held, end)
		alive, err := l.renew(limited)
		cancel()
		if err != nil && held.Err() == nil {
			l.c.log.Warn().Err(err).Str("lock", l.key).Msg("leader lock not renewed")
		}
		if err == nil && !alive {
			return
		}
	}
}

// watch ends the leadership when the key shows another holder.
func (l *consulLock) watch(held context.Context, lost func()) {
	l.c.follow(held, "lock "+l.key, "", func(options *api.QueryOptions) (func(), uint64, error) {
		pair, meta, err := l.c.api.KV().Get(l.key, options)
		if err != nil {
			return nil, 0, err
		}
		return func() {
			if pair == nil || pair.Session != l.session {
				lost()
			}
		}, meta.LastIndex, nil
	})
}

// release frees the key for the next candidate, whether or not its owner's context still lives.
func (l *consulLock) release() {
	ctx, cancel := l.c.bounded(context.WithoutCancel(l.c.ctx))
	defer cancel()
	if _, _, err := l.c.api.KV().Release(&api.KVPair{Key: l.key, Session: l.session}, new(api.WriteOptions).WithContext(ctx)); err != nil {
		l.c.log.Warn().Err(err).Str("lock", l.key).Msg("leader lock not released: it expires")
		return
	}
	l.destroySession()
}

// destroySession also frees what the session locked. If that fails, the session expires.
func (l *consulLock) destroySession() {
	if l.session == "" {
		return
	}
	ctx, cancel := l.c.bounded(context.WithoutCancel(l.c.ctx))
	defer cancel()
	if _, err := l.c.api.Session().Destroy(l.session, new(api.WriteOptions).WithContext(ctx)); err != nil {
		l.c.log.Warn().Err(err).Str("lock", l.key).Msg("session not destroyed: it expires")
	}
}
