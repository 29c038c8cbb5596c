package discovery

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

// Services implements Catalog. A region that does not answer is represented by its last good answer, if there was
// one; ErrUnavailable if nothing at all is known.
func (c *Consul) Services(ctx context.Context, name string) ([]Service, error) {
	if err := cmp.Or(ctx.Err(), checkName("service name", name)); err != nil {
		return nil, err
	}
	datacenters, err := c.recentDatacenters(ctx)
	if ctx.Err() != nil {
		return nil, err
	}
	if err != nil {
		if list, known := c.lastKnown(name); known {
			return list, nil
		}
		return nil, err
	}
	return c.ask(ctx, name, datacenters)
}

// ask queries the regions side by side.
func (c *Consul) ask(ctx context.Context, name string, datacenters []string) ([]Service, error) {
	lists, errs := make([][]Service, len(datacenters)), make([]error, len(datacenters))
	var group sync.WaitGroup
	for i, datacenter := range datacenters {
		group.Go(func() {
			lists[i], errs[i] = c.servicesIn(ctx, name, datacenter, i > 0)
		})
	}
	group.Wait()
	if err := ctx.Err(); err != nil {
		return nil, consulError(ctx, "services "+name, err)
	}
	if err := cmp.Or(errs...); err != nil && !slices.Contains(errs, nil) {
		return nil, consulError(ctx, "services "+name, err)
	}
	return merged(lists), nil
}

// servicesIn asks one region, and falls back to its last good answer.
func (c *Consul) servicesIn(ctx context.Context, name, datacenter string, remote bool) ([]Service, error) {
	last, known := c.lastIn(name, datacenter)
	limit := c.pace.request
	if known && remote {
		limit = c.pace.remote
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	list, _, err := c.instances(name, (&api.QueryOptions{Datacenter: datacenter}).WithContext(ctx))
	if err == nil {
		c.remember(name, datacenter, list)
		return list, nil
	}
	if known {
		return last, nil
	}
	return nil, err
}

// instances asks for a service's instances, healthy or not.
func (c *Consul) instances(name string, options *api.QueryOptions) ([]Service, uint64, error) {
	entries, meta, err := c.api.Health().Service(name, "", false, options)
	if err == nil {
		err = c.complete("service", name, len(entries) == 0, options, meta)
	}
	if err != nil {
		return nil, 0, err
	}
	out := make([]Service, 0, len(entries))
	for _, entry := range entries {
		if s, ok := serviceOf(entry); ok {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, byID)
	return out, meta.LastIndex, nil
}

// serviceOf reports false for an entry that names no service or node.
func serviceOf(entry *api.ServiceEntry) (Service, bool) {
	if entry == nil || entry.Service == nil || entry.Node == nil {
		return Service{}, false
	}
	s := Service{
		Name:   entry.Service.Service,
		ID:     entry.Service.ID,
		Node:   entry.Node.Node,
		Region: cmp.Or(entry.Service.Meta[MetaRegion], entry.Node.Datacenter),
		Health: Passing,
	}
	if s.Meta = maps.Clone(entry.Service.Meta); s.Meta != nil {
		delete(s.Meta, MetaRegion)
	}
	for _, check := range entry.Checks {
		switch {
		case check == nil:
		case check.CheckID == api.NodeMaint || strings.HasPrefix(check.CheckID, api.ServiceMaintPrefix):
			s.Maintenance = true
		case check.Status == api.HealthPassing:
		case check.Status == api.HealthWarning && s.Health == Passing:
			s.Health = Warning
		case check.Status != api.HealthWarning: // critical, or a state of a later Consul
			s.Health = Critical
		}
	}
	return s, true
}

// datacenters lists the federated regions, the own one first.
func (c *Consul) datacenters(ctx context.Context) ([]string, error) {
	_, own, err := c.Self(ctx)
	if err != nil {
		return nil, err
	}
	var all []string
	if err := c.read(ctx, "/v1/catalog/datacenters", &all); err != nil {
		return nil, err
	}
	others := slices.DeleteFunc(all, func(name string) bool { return name == own || name == "" })
	return append([]string{own}, others...), nil
}

// recentDatacenters asks only if the list it has is not recent.
func (c *Consul) recentDatacenters(ctx context.Context) ([]string, error) {
	c.mu.Lock()
	recent, fresh := c.recent, time.Since(c.recentAt) < c.pace.regions
	c.mu.Unlock()
	if fresh && recent != nil {
		return recent, nil
	}
	recent, err := c.datacenters(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.recent, c.recentAt = recent, time.Now()
	c.mu.Unlock()
	return recent, nil
}

// remember keeps a good answer.
func (c *Consul) remember(name, datacenter string, list []Service) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last[name] == nil {
		c.last[name] = make(map[string][]Service)
	}
	c.last[name][datacenter] = list
}

func (c *Consul) lastIn(name, datacenter string) ([]Service, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list, known := c.last[name][datacenter]
	return list, known
}

func (c *Consul) lastKnown(name string) ([]Service, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	regions, known := c.last[name]
	return merged(slices.Collect(maps.Values(regions))), known
}

// merged returns one list, ordered by id, that shares nothing with the given ones.
func merged(lists [][]Service) []Service {
	out := slices.Concat(lists...)
	for i := range out {
		out[i].Meta = maps.Clone(out[i].Meta)
	}
	slices.SortFunc(out, func(a, b Service) int {
		return cmp.Or(byID(a, b), cmp.Compare(a.Region, b.Region), cmp.Compare(a.Node, b.Node))
	})
	return out
}

// WatchServices implements Catalog. The first list waits a moment for every region's answer; a region that stops
// answering keeps its last good one.
func (c *Consul) WatchServices(ctx context.Context, name string) <-chan []Service {
	return c.lists.add(ctx, name)
}

// regionLists are the lists of a watched service by datacenter.
type regionLists struct {
	publish func([]Service)

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

func (r *regionLists) publishLocked() {
	if !r.waiting && len(r.lists) > 0 {
		r.publish(merged(slices.Collect(maps.Values(r.lists))))
	}
}

// followServices publishes a service's instances: one blocking query a region, as regions come and go.
func (c *Consul) followServices(ctx context.Context, name string, publish func([]Service)) {
	if checkName("service name", name) != nil { // can never exist
		return
	}
	regions := &regionLists{publish: publish, lists: make(map[string][]Service), waiting: true}
	patience := time.AfterFunc(c.pace.first, regions.stopWaiting)
	defer patience.Stop()
	running := make(map[string]context.CancelFunc)
	var group sync.WaitGroup
	defer group.Wait()
	at := cursor{pace: &c.pace}
	for {
		datacenters, err := c.datacenters(ctx)
		pause := c.pace.regions
		if err != nil {
			pause = at.failed(0.5)
		} else {
			at.failures = 0
			regions.expect(datacenters)
			c.followRegions(ctx, name, datacenters, running, &group, regions)
		}
		if !rest(ctx, pause) {
			break
		}
	}
	for _, stop := range running {
		stop()
	}
}

// followRegions starts queries of regions that came and stops those of regions that left.
func (c *Consul) followRegions(
	ctx context.Context, name string, datacenters []string,
	running map[string]context.CancelFunc, group *sync.WaitGroup, regions *regionLists,
) {
	for datacenter, stop := range running {
		if !slices.Contains(datacenters, datacenter) {
			stop()
			delete(running, datacenter)
		}
	}
	for _, datacenter := range datacenters {
		if running[datacenter] != nil {
			continue
		}
		regional, stop := context.WithCancel(ctx)
		running[datacenter] = stop
		group.Go(func() {
			c.follow(regional, "services "+name, datacenter, func(options *api.QueryOptions) (func(), uint64, error) {
				list, index, err := c.instances(name, options)
				return func() {
					c.remember(name, datacenter, list)
					regions.set(datacenter, list)
				}, index, err
			})
		})
	}
}
