package discovery

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

// Regions lists the federated datacenters, the own one first. The list is the last good one while Consul cannot be
// reached; ErrUnavailable if there never was one. One that is listed no more stays for as long as it may only be away.
func (c *Consul) Regions(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	known := c.federated
	c.mu.Unlock()
	if known != nil {
		return slices.Clone(known), nil
	}
	return c.readRegions(ctx)
}

// readRegions asks the own region's servers.
func (c *Consul) readRegions(ctx context.Context) ([]string, error) {
	_, own, err := c.Self(ctx)
	if err != nil {
		return nil, err
	}
	limited, cancel := c.bounded(ctx)
	defer cancel()
	var all []string
	if err := c.read(limited, "/v1/catalog/datacenters", "", &all); err != nil {
		return nil, consulError(ctx, "regions", err)
	}
	others := slices.DeleteFunc(all, func(name string) bool { return name == own || CheckName("datacenter", name) != nil })
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range others {
		c.listed[name] = now
	}
	// Servers that were started anew list only what they have reached since: a region that is cut off is missing then.
	maps.DeleteFunc(c.listed, func(_ string, last time.Time) bool { return now.Sub(last) >= c.pace.leave })
	c.federated = append([]string{own}, slices.Sorted(maps.Keys(c.listed))...)
	return slices.Clone(c.federated), nil
}

// isOwn reports whether a datacenter is the agent's.
func (c *Consul) isOwn(datacenter string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return datacenter == "" || datacenter == c.self.Datacenter
}

// reachName is what consulReach calls a datacenter.
func (c *Consul) reachName(datacenter string) string {
	if c.isOwn(datacenter) {
		return ""
	}
	return datacenter
}

// stale reports whether what is known of a datacenter's services may be outdated. The own one's never is: while its
// servers are down its instances can still be reached, and their users see for themselves whether they live.
func (c *Consul) stale(datacenter string) bool {
	return !c.isOwn(datacenter) && c.reach.stale(datacenter)
}

// keepRegions attends to each federated region, until Close.
func (c *Consul) keepRegions() {
	attended := perRegion{ctx: c.ctx, running: make(map[string]context.CancelFunc)}
	defer attended.stop()
	for pause := c.pace.pulse / 10; rest(c.ctx, pause); {
		regions, err := c.readRegions(c.ctx)
		if pause = c.pace.pulse; err == nil {
			pause = c.pace.regions
			attended.run(regions, c.attend)
		}
	}
}

// attend asks a region again and again whether it answers, and keeps up to date how to reach it.
func (c *Consul) attend(ctx context.Context, datacenter string) {
	name := c.reachName(datacenter)
	unlearned := false
	for due := time.Now(); ; {
		if err := c.pulse(ctx, datacenter); err == nil {
			c.reach.answered(name, time.Now())
			if name != "" && c.routes != nil && !time.Now().Before(due) {
				err := c.learnRoutes(ctx, datacenter)
				if err != nil && !unlearned && ctx.Err() == nil {
					c.log.Warn().Err(err).Str("datacenter", datacenter).Msg("servers of a region not learned, trying on")
				}
				unlearned = err != nil
				due = time.Now().Add(c.pace.regions)
			}
		} else if ctx.Err() == nil && c.reach.silent(name, time.Now()) {
			c.log.Warn().Err(err).Str("datacenter", datacenter).Msg("region does not answer: keeping what is known")
		}
		if !rest(ctx, c.pace.pulse) {
			return
		}
	}
}

// pulse asks a region's servers whether they have a leader. This also keeps a connection and a token at hand.
func (c *Consul) pulse(ctx context.Context, datacenter string) error {
	limited, cancel := context.WithTimeout(ctx, c.pace.pulse)
	defer cancel()
	var leader string
	if err := c.read(limited, "/v1/status/leader", datacenter, &leader); err != nil {
		return consulError(ctx, "leader in "+datacenter, err)
	}
	if leader == "" {
		return fmt.Errorf("consul: %w: the servers in %s have no leader", ErrUnavailable, datacenter)
	}
	return nil
}

// learnRoutes reads where a region's servers are.
func (c *Consul) learnRoutes(ctx context.Context, datacenter string) error {
	limited, cancel := c.bounded(ctx)
	defer cancel()
	options := (&api.QueryOptions{Datacenter: datacenter}).WithContext(limited)
	entries, meta, err := c.api.Health().Service(consulService, "", false, options)
	if err == nil {
		err = c.complete("service", consulService, len(entries) == 0, options, meta)
	}
	if err != nil {
		return consulError(ctx, "servers", err)
	}
	c.routes.learn(datacenter, serverRoutes(entries, c.base.othersPort))
	return nil
}

// perRegion runs something for each region, as regions come and go.
type perRegion struct {
	ctx     context.Context
	running map[string]context.CancelFunc
	group   sync.WaitGroup
}

// run starts it for regions that came and stops it for regions that left.
func (p *perRegion) run(regions []string, follow func(ctx context.Context, region string)) {
	for region, stop := range p.running {
		if !slices.Contains(regions, region) {
			stop()
			delete(p.running, region)
		}
	}
	for _, region := range regions {
		if p.running[region] != nil {
			continue
		}
		ctx, stop := context.WithCancel(p.ctx)
		p.running[region] = stop
		p.group.Go(func() { follow(ctx, region) })
	}
}

// stop stops all and waits for them.
func (p *perRegion) stop() {
	for _, stop := range p.running {
		stop()
	}
	p.group.Wait()
}
