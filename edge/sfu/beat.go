package sfu

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	// tickEvery is how often rooms look at speakers, layers and orphans.
	tickEvery = 100 * time.Millisecond
	// tickLate is how much later that may be so as not to wake the server up by itself: media comes every 20 ms where somebody speaks.
	tickLate = 25 * time.Millisecond
)

// beat keeps time for what is due every tickEvery: in the wake of media, by a timer only where none comes.
type beat struct {
	began time.Time
	due   atomic.Int64 // since began, in nanoseconds
	woken chan struct{}
}

func newBeat() *beat {
	b := &beat{began: time.Now(), woken: make(chan struct{}, 1)}
	b.due.Store(int64(tickEvery))
	return b
}

// awake says that the server is, with something that came.
func (b *beat) awake() {
	if int64(time.Since(b.began)) < b.due.Load() {
		return
	}
	select {
	case b.woken <- struct{}{}:
	default:
	}
}

// run calls tick until ctx ends.
func (b *beat) run(ctx context.Context, tick func(now time.Time)) {
	timer := time.NewTimer(tickEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.woken:
		case <-timer.C:
		}
		now := time.Now()
		since := now.Sub(b.began)
		if int64(since) < b.due.Load() {
			continue // both came
		}
		// On the whole it is one each tickEvery, however late each is; those that were missed are not made up for.
		next := time.Duration(b.due.Load()) + tickEvery
		if next <= since {
			next = since + tickEvery
		}
		b.due.Store(int64(next))
		timer.Reset(next + tickLate - since)
		tick(now)
	}
}
