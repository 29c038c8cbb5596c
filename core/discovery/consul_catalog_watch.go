package discovery

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

// WatchServices implements Catalog. The first list waits a moment for every region's answer; a region that stops
// answering keeps its last good one.
func (c *Consul) WatchServices(ctx context.Context, name string) <-chan []Service {
	return c.lists.add(ctx, name)
}

// regionLists are the lists of a watched service by datacenter.
type regionLists struct {
	publish func([]Service)
	// stale reports whether a region has been silent for a while.
	stale func(datacenter string) bool

	mu       sync.Mutex
	expected map[string]bool
	lists    map[string][]Service
	waiting  bool // for the first answers
}

// set takes a region's new list and publishes, once there is enough to publish.
func (r *regionLists) set(datacenter string, list []Service) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.expected[datacenter] {
		return // left while its last answer was on the way
	}
	r.lists[datacenter] = list
	r.waiting = r.waiting && len(r.lists) < len(r.expected)
	r.publishLocked()
}

// expect sets which regions there are.
func (r *regionLists) expect(datacenters []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expected = make(map[string]bool, len(datacenters))
	for _, datacenter := range datacenters {
		r.expected[datacenter] = true
	}
	before := len(r.lists)
	maps.DeleteFunc(r.lists, func(datacenter string, _ []Service) bool { return !r.expected[datacenter] })
	if len(r.lists) != before {
		r.publishLocked()
	}
}

// stopWaiting publishes what is known, if anything is.
func (r *regionLists) stopWaiting() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = false
	r.publishLocked()
}

// refresh publishes again, with what is known of the regions now.
func (r *regionLists) refresh() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.publishLocked()
}

func (r *regionLists) publishLocked() {
	if r.waiting || len(r.lists) == 0 {
		return
	}
	lists := make([][]Service, 0, len(r.lists))
	for datacenter, list := range r.lists {
		lists = append(lists, marked(list, r.stale(datacenter)))
	}
	r.publish(merged(lists))
}

// followServices publishes a service's instances: one blocking query a region, as regions come and go.
func (c *Consul) followServices(ctx context.Context, name string, publish func([]Service)) {
	if CheckName("service name", name) != nil { // can never exist
		return
	}
	lists := &regionLists{publish: publish, stale: c.stale, lists: make(map[string][]Service), waiting: true}
	patience := time.AfterFunc(c.pace.first, lists.stopWaiting)
	defer patience.Stop()
	followed := perRegion{ctx: ctx, running: make(map[string]context.CancelFunc)}
	defer followed.stop()
	at := cursor{pace: &c.pace}
	for ctx.Err() == nil {
		changes := c.reach.changes()
		regions, err := c.Regions(ctx)
		pause := c.pace.regions
		if err != nil {
			pause = at.failed(random())
		} else {
			at.failures = 0
			lists.expect(regions)
			followed.run(regions, func(ctx context.Context, datacenter string) { c.followRegion(ctx, name, datacenter, lists) })
		}
		lists.refresh()
		restUnless(ctx, pause, changes)
	}
}

// followRegion keeps one region's list up to date.
func (c *Consul) followRegion(ctx context.Context, name, datacenter string, lists *regionLists) {
	c.follow(ctx, "services "+name, datacenter, func(options *api.QueryOptions) (func(), uint64, error) {
		list, index, err := c.instances(name, options)
		return func() {
			c.remember(name, datacenter, list)
			lists.set(datacenter, list)
		}, index, err
	})
}
