package discovery

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/consul/api"
)

// Services implements Catalog. A region that does not answer is represented by its last good answer, if there was
// one; ErrUnavailable if nothing at all is known.
func (c *Consul) Services(ctx context.Context, name string) ([]Service, error) {
	if err := cmp.Or(ctx.Err(), CheckName("service name", name)); err != nil {
		return nil, err
	}
	datacenters, err := c.Regions(ctx)
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
			lists[i], errs[i] = c.servicesIn(ctx, name, datacenter)
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
func (c *Consul) servicesIn(ctx context.Context, name, datacenter string) ([]Service, error) {
	last, known := c.lastIn(name, datacenter)
	limit := c.pace.request
	if region := c.reachName(datacenter); c.reach.stale(region) || known && region != "" {
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
		return c.outdated(datacenter, last), nil
	}
	return nil, err
}

// outdated returns a last good answer, marked if its region has been silent for a while.
func (c *Consul) outdated(datacenter string, list []Service) []Service {
	return marked(list, c.stale(datacenter))
}

// marked returns the list with Stale set to what is given.
func marked(list []Service, stale bool) []Service {
	out := slices.Clone(list)
	for i := range out {
		out[i].Stale = stale
	}
	return out
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
	return instancesOf(entries), meta.LastIndex, nil
}

// instancesOf returns the instances, ordered by id. Of several with one id, as while Nomad replaces an allocation,
// there is the healthiest, or the newest of those.
func instancesOf(entries []*api.ServiceEntry) []Service {
	out := make([]Service, 0, len(entries))
	created := make(map[string]uint64, len(entries))
	for _, entry := range entries {
		s, ok := serviceOf(entry)
		if !ok {
			continue
		}
		i := slices.IndexFunc(out, func(other Service) bool { return other.ID == s.ID })
		switch {
		case i < 0:
			out = append(out, s)
		case cmp.Or(bySeverity(s, out[i]), cmp.Compare(created[s.ID], entry.Service.CreateIndex)) < 0:
			out[i] = s
		default:
			continue
		}
		created[s.ID] = entry.Service.CreateIndex
	}
	slices.SortFunc(out, byID)
	return out
}

// bySeverity orders the healthier first.
func bySeverity(a, b Service) int { return cmp.Compare(severity(a.Health), severity(b.Health)) }

func severity(h Health) int { return slices.Index([]Health{Passing, Warning, Critical}, h) }

// serviceOf reports false for an entry that names no service or node.
func serviceOf(entry *api.ServiceEntry) (Service, bool) {
	if entry == nil || entry.Service == nil || entry.Node == nil {
		return Service{}, false
	}
	s := Service{
		Name:   entry.Service.Service,
		ID:     ownID(entry.Service.ID, entry.Service.Meta),
		Node:   entry.Node.Node,
		Region: entry.Node.Datacenter,
		Meta:   shownMeta(entry.Service.Meta),
		Health: Passing,
	}
	if region := entry.Service.Meta[MetaRegion]; CheckName("region", region) == nil {
		s.Region = region
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

// ownID is the component's own id of a service that Consul knows by the given one.
func ownID(id string, meta map[string]string) string {
	if own := meta[MetaID]; CheckName("service id", own) == nil {
		return own
	}
	return id
}

// shownMeta is what of a service's Meta is for callers. A job file with a variable left open gives an empty value,
// which says no more than none.
func shownMeta(meta map[string]string) map[string]string {
	var shown map[string]string
	for key, value := range meta {
		if value == "" || key == MetaRegion || key == MetaID {
			continue
		}
		if shown == nil {
			shown = make(map[string]string, len(meta))
		}
		shown[key] = value
	}
	return shown
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
	regions, known := c.last[name]
	last := maps.Clone(regions)
	c.mu.Unlock()
	lists := make([][]Service, 0, len(last))
	for datacenter, list := range last {
		lists = append(lists, c.outdated(datacenter, list))
	}
	return merged(lists), known
}

// merged returns one list, ordered by id, that shares nothing with the given ones. Regions that name instances alike
// by mistake show the one that is better known and healthier.
func merged(lists [][]Service) []Service {
	out := slices.Concat(lists...)
	slices.SortFunc(out, func(a, b Service) int {
		return cmp.Or(byID(a, b), byStale(a, b), bySeverity(a, b), cmp.Compare(a.Region, b.Region), cmp.Compare(a.Node, b.Node))
	})
	out = slices.CompactFunc(out, func(a, b Service) bool { return a.ID == b.ID })
	for i := range out {
		out[i].Meta = maps.Clone(out[i].Meta)
	}
	return out
}

// byStale orders what is known now before what was known once.
func byStale(a, b Service) int {
	switch {
	case a.Stale == b.Stale:
		return 0
	case b.Stale:
		return -1
	default:
		return 1
	}
}
