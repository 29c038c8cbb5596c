package discovery

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"
)

// feed has one goroutine follow each watched topic, however many watch it.
type feed[T any] struct {
	*watchers[T]

	ctx    context.Context // the life of all followers, whoever watches
	work   *errgroup.Group
	follow func(ctx context.Context, topic string, publish func(T))

	mu      sync.Mutex
	closed  bool
	running map[string]*following[T]
}

// following is a topic's follower and what it last published.
type following[T any] struct {
	stop  context.CancelFunc
	value T
	known bool
}

// newFeed returns a feed whose followers run in work until ctx ends or nobody watches their topic any more.
func newFeed[T any](
	ctx context.Context, work *errgroup.Group, follow func(context.Context, string, func(T)), same func(a, b T) bool, quiet bool,
) *feed[T] {
	f := &feed[T]{ctx: ctx, work: work, follow: follow, running: make(map[string]*following[T])}
	f.watchers = newWatchers(f.latest, same, quiet)
	f.active = f.run
	return f
}

func (f *feed[T]) latest(topic string) (T, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if one := f.running[topic]; one != nil {
		return one.value, one.known
	}
	var zero T
	return zero, false
}

// run starts or stops a topic's follower.
func (f *feed[T]) run(topic string, on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !on {
		f.running[topic].stop()
		delete(f.running, topic)
		return
	}
	if f.closed || f.ctx.Err() != nil { // nobody would wait for the goroutine
		f.running[topic] = &following[T]{stop: func() {}}
		return
	}
	ctx, stop := context.WithCancel(f.ctx)
	one := &following[T]{stop: stop}
	f.running[topic] = one
	f.work.Go(func() error {
		f.follow(ctx, topic, func(value T) {
			f.mu.Lock()
			one.value, one.known = value, true // a stopped one is no longer in the map
			f.mu.Unlock()
			f.refresh(topic)
		})
		return nil
	})
}

// close ends every watch; afterwards no follower starts.
func (f *feed[T]) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.closeAll()
}
