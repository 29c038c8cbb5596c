package discovery

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
	"golang.org/x/time/rate"
)

// errNotConsul says that an answer has no index: whatever sent it, it says nothing about the question.
var errNotConsul = errors.New("answer without an index")

// watchBurst is how many queries of a watch may follow each other at once.
const watchBurst = 10

// cursor decides where a blocking query goes on, whether its answer is news, and how long to rest after a
// failure.
type cursor struct {
	pace     *consulPace
	index    uint64
	failures int
}

// answered notes an answer's index and reports whether it is news. An index that went backwards, after a
// restored snapshot for instance, only starts the query over: waiting for the old index could last for ever.
func (c *cursor) answered(index uint64) bool {
	c.failures = 0
	switch {
	case index < c.index:
		c.index = 0
		return false
	case index == c.index:
		return false
	default:
		c.index = index
		return true
	}
}

// acceptsStale reports whether the answer of a server that may lag behind is as new as what is known.
func (c *cursor) acceptsStale(index uint64) bool { return index > c.index }

// failed returns the rest before the next attempt; random is in [0, 1).
func (c *cursor) failed(random float64) time.Duration {
	rest := c.pace.retryMax
	if doubled := c.pace.retry << min(c.failures, 20); doubled < rest {
		rest = doubled
	}
	c.failures++
	return rest/2 + time.Duration(random*float64(rest/2))
}

// query asks once and returns what to do with the answer.
type query func(options *api.QueryOptions) (deliver func(), index uint64, err error)

// follow asks a blocking query again and again until ctx ends. Answers come from the leader; while there is none,
// any server's newer one is good enough. Nothing is delivered while nobody answers. When a region is back that did not
// answer for a while, the question is put again at once: the one under way may have been lost with its connection.
func (c *Consul) follow(ctx context.Context, what, datacenter string, ask query) {
	at := cursor{pace: &c.pace}
	limit := rate.NewLimiter(rate.Every(c.pace.every), watchBurst)
	region := c.reachName(datacenter)
	for limit.Wait(ctx) == nil {
		returned := c.reach.returned(region)
		deliver, index, err := c.askWaiting(ctx, datacenter, at.index, returned, ask)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			if at.failures > 0 {
				c.log.Info().Str("watch", what).Str("datacenter", datacenter).Msg("watch answered again")
			}
			if at.answered(index) {
				deliver()
			}
			continue
		}
		if at.failures == 0 {
			c.log.Warn().Err(err).Str("watch", what).Str("datacenter", datacenter).Msg("watch unanswered: keeping what is known")
		}
		if serverFailed(err) {
			c.deliverStale(ctx, datacenter, &at, ask)
		}
		restUnless(ctx, at.failed(random()), returned)
	}
}

// askWaiting asks for what is newer than index, until the answer or returned.
func (c *Consul) askWaiting(
	ctx context.Context, datacenter string, index uint64, returned <-chan struct{}, ask query,
) (func(), uint64, error) {
	// Consul adds up to a sixteenth of the wait, so that watchers do not all come back at once.
	ctx, cancel := context.WithTimeout(ctx, c.pace.wait+c.pace.wait/16+c.pace.request)
	defer cancel()
	answered := make(chan struct{})
	var watch sync.WaitGroup
	defer watch.Wait()
	defer close(answered)
	watch.Go(func() {
		select {
		case <-returned:
			cancel()
		case <-answered:
		}
	})
	return indexed(ask((&api.QueryOptions{Datacenter: datacenter, WaitIndex: index, WaitTime: c.pace.wait}).WithContext(ctx)))
}

// deliverStale asks whichever server answers.
func (c *Consul) deliverStale(ctx context.Context, datacenter string, at *cursor, ask query) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	deliver, index, err := indexed(ask((&api.QueryOptions{Datacenter: datacenter, AllowStale: true}).WithContext(ctx)))
	if err == nil && at.acceptsStale(index) {
		at.index = index
		deliver()
	}
}

func indexed(deliver func(), index uint64, err error) (func(), uint64, error) {
	if err == nil && index == 0 {
		err = errNotConsul
	}
	return deliver, index, err
}

// serverFailed reports whether an agent answered, but not its servers.
func serverFailed(err error) bool {
	var status api.StatusError
	return errors.As(err, &status) && status.Code >= http.StatusInternalServerError
}

// random is in [0, 1).
func random() float64 {
	return rand.Float64() //nolint:gosec // G404: spreads retries, guards nothing
}

// restUnless waits, until the channel is closed.
func restUnless(ctx context.Context, d time.Duration, closed <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-closed:
	case <-timer.C:
	}
}

// rest waits and reports whether ctx lasted.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
