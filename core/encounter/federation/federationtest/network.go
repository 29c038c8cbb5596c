// Package federationtest has what tests of encounter records in several regions share: a network whose paths can be cut,
// and scenarios that run on any stores, in memory or real.
package federationtest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
)

// Path is how requests from one region to another fare. The zero Path is perfect.
type Path struct {
	// Cut requests get no answer: at once if Refuse is set, else when the asker's patience ends.
	Cut, Refuse bool
	// Deaf requests are carried out, but their answers are lost.
	Deaf bool
	// Delay is added to each request.
	Delay time.Duration
}

// Network connects regions. Its zero value is not usable; NewNetwork makes one.
type Network struct {
	backend func(region string) encounter.KV

	mu      sync.Mutex
	paths   map[[2]string]Path
	changed chan struct{} // closed by the next change
}

// NewNetwork returns a network of perfect paths to the regions' stores.
func NewNetwork(backend func(region string) encounter.KV) *Network {
	return &Network{backend: backend, paths: make(map[[2]string]Path), changed: make(chan struct{})}
}

// Memory returns a backend of one discovery.Memory a region.
func Memory() func(region string) encounter.KV {
	var mu sync.Mutex
	regions := make(map[string]*discovery.Memory)
	return func(region string) encounter.KV {
		mu.Lock()
		defer mu.Unlock()
		if regions[region] == nil {
			regions[region] = discovery.NewMemory()
		}
		return regions[region]
	}
}

// Set changes the path from one region to another, in that direction alone.
func (n *Network) Set(from, to string, p Path) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.paths[[2]string{from, to}] = p
	close(n.changed)
	n.changed = make(chan struct{})
}

// Isolate gives the paths between one region and the others, both ways, a state.
func (n *Network) Isolate(region string, others []string, p Path) {
	for _, other := range others {
		if other != region {
			n.Set(region, other, p)
			n.Set(other, region, p)
		}
	}
}

func (n *Network) path(from, to string) (Path, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.paths[[2]string{from, to}], n.changed
}

// KV returns a region's store as seen from another region.
func (n *Network) KV(from, to string) encounter.KV {
	return &link{network: n, from: from, to: to, kv: n.backend(to)}
}

// link is the way from one region to another's store.
type link struct {
	network  *Network
	from, to string
	kv       encounter.KV
}

// pass carries one request and loses it, or its answer, as the path says.
func (l *link) pass(ctx context.Context, request func() error) error {
	path, _ := l.network.path(l.from, l.to)
	if path.Delay > 0 {
		select {
		case <-time.After(path.Delay):
		case <-ctx.Done():
			return ctx.Err()
		}
		path, _ = l.network.path(l.from, l.to)
	}
	if path.Cut {
		return l.lost(ctx, path)
	}
	err := request()
	if path.Deaf {
		return l.lost(ctx, path)
	}
	return err
}

func (l *link) lost(ctx context.Context, path Path) error {
	if !path.Refuse {
		<-ctx.Done()
		return ctx.Err()
	}
	return fmt.Errorf("%w: no path from %s to %s", discovery.ErrUnavailable, l.from, l.to)
}

// Get implements encounter.KV.
func (l *link) Get(ctx context.Context, key string) (entry discovery.Entry, err error) {
	err = l.pass(ctx, func() error {
		entry, err = l.kv.Get(ctx, key)
		return err
	})
	return entry, err
}

// CompareAndSet implements encounter.KV.
func (l *link) CompareAndSet(ctx context.Context, key string, value []byte, index uint64) (entry discovery.Entry, err error) {
	err = l.pass(ctx, func() error {
		entry, err = l.kv.CompareAndSet(ctx, key, value, index)
		return err
	})
	return entry, err
}

// Delete implements encounter.KV.
func (l *link) Delete(ctx context.Context, key string, index uint64) error {
	return l.pass(ctx, func() error { return l.kv.Delete(ctx, key, index) })
}

// List implements encounter.KV.
func (l *link) List(ctx context.Context, prefix string) (entries []discovery.Entry, err error) {
	err = l.pass(ctx, func() error {
		entries, err = l.kv.List(ctx, prefix)
		return err
	})
	return entries, err
}

// Watch implements encounter.KV. A cut holds values back; after it only the newest comes.
func (l *link) Watch(ctx context.Context, key string) <-chan discovery.Entry {
	out := make(chan discovery.Entry)
	in := l.kv.Watch(ctx, key)
	go func() { // ends with ctx, which closes in
		defer close(out)
		var newest discovery.Entry
		waiting := false
		for {
			path, changed := l.network.path(l.from, l.to)
			var ready chan<- discovery.Entry
			if waiting && !path.Cut {
				ready = out
			}
			select {
			case entry, open := <-in:
				if !open {
					return
				}
				newest, waiting = entry, true
			case ready <- newest:
				waiting = false
			case <-changed:
			}
		}
	}()
	return out
}
