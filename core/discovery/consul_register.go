package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/hashicorp/consul/api"
)

// serfHealth is the check by which Consul's agents watch each other; a node without it has no agent.
const serfHealth = "serfHealth"

// externalNode marks catalog nodes without an agent, as Consul's own tools do.
const externalNode = "external-node"

// deregisterAfter is the shortest time Consul accepts after which the agent removes a critical service.
const deregisterAfter = time.Minute

// Register implements Registrar. On this agent's node the instance lives as long as this process: it turns
// critical 15 s after its end, and vanishes a minute later. A node that has no agent is entered in
// the catalog as an external one, whose instances stay until Deregister. ErrInvalid for the node of another agent.
func (c *Consul) Register(ctx context.Context, s Service) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s, err := checked(s)
	if err != nil {
		return err
	}
	node, datacenter, err := c.Self(ctx)
	if err != nil {
		return err
	}
	s.Meta = maps.Clone(s.Meta)
	delete(s.Meta, MetaID) // the id is s.ID
	if s.Region != datacenter {
		if s.Meta == nil {
			s.Meta = make(map[string]string, 1)
		}
		s.Meta[MetaRegion] = s.Region
	}
	if s.Node != node {
		return c.registerExternal(ctx, s, datacenter)
	}
	if err := c.registerHere(ctx, s); err != nil {
		return err
	}
	c.mu.Lock()
	c.own[s.ID] = s
	c.mu.Unlock()
	return nil
}

func checkID(id string) string { return "wardline:" + id }

// registerHere registers with the agent.
func (c *Consul) registerHere(ctx context.Context, s Service) error {
	limited, cancel := c.bounded(ctx)
	defer cancel()
	err := c.api.Agent().ServiceRegisterOpts(&api.AgentServiceRegistration{
		ID: s.ID, Name: s.Name, Meta: s.Meta,
		Check: &api.AgentServiceCheck{
			CheckID: checkID(s.ID), Name: "process of " + s.ID + " lives", TTL: c.pace.ttl.String(), Status: string(s.Health),
			DeregisterCriticalServiceAfter: deregisterAfter.String(),
		},
	}, (api.ServiceRegisterOpts{}).WithContext(limited))
	return consulError(ctx, "register "+s.ID, err)
}

// registerExternal registers in the catalog, for a node without an agent.
func (c *Consul) registerExternal(ctx context.Context, s Service, datacenter string) error {
	limited, cancel := c.bounded(ctx)
	defer cancel()
	agent, err := c.hasAgent(limited, s.Node, datacenter)
	if err != nil {
		return consulError(ctx, "register "+s.ID, err)
	}
	if agent {
		return fmt.Errorf("register %s: %w: node %s has an agent of its own, only it can take the registration", s.ID, ErrInvalid, s.Node)
	}
	_, err = c.api.Catalog().Register(&api.CatalogRegistration{
		Node: s.Node, Address: "0.0.0.0", NodeMeta: map[string]string{externalNode: "true"}, Datacenter: datacenter,
		Service: &api.AgentService{ID: s.ID, Service: s.Name, Meta: s.Meta},
		Check:   &api.AgentCheck{Node: s.Node, CheckID: checkID(s.ID), Name: "as registered", Status: string(s.Health), ServiceID: s.ID},
	}, (&api.WriteOptions{Datacenter: datacenter}).WithContext(limited))
	return consulError(ctx, "register "+s.ID, err)
}

// hasAgent reports whether a node's own agent is a member of the cluster.
func (c *Consul) hasAgent(ctx context.Context, node, datacenter string) (bool, error) {
	options := (&api.QueryOptions{Datacenter: datacenter}).WithContext(ctx)
	checks, meta, err := c.api.Health().Node(node, options)
	if err == nil {
		err = c.complete("node", node, len(checks) == 0, options, meta)
	}
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(checks, func(check *api.HealthCheck) bool { return check != nil && check.CheckID == serfHealth }), nil
}

// Deregister implements Registrar, for services on this agent and on external nodes.
func (c *Consul) Deregister(ctx context.Context, name, id string) error {
	if err := cmp.Or(ctx.Err(), CheckName("service name", name), CheckName("service id", id)); err != nil {
		return err
	}
	here, err := c.deregisterHere(ctx, name, id)
	if here || err != nil {
		return err
	}
	return c.deregisterExternal(ctx, name, id)
}

// deregisterHere removes a service from this agent, and reports whether it was there.
func (c *Consul) deregisterHere(ctx context.Context, name, id string) (bool, error) {
	c.mu.Lock()
	if c.own[id].Name == name {
		delete(c.own, id)
	}
	c.mu.Unlock()
	held, err := c.agentServices(ctx)
	if err != nil {
		return false, err
	}
	here := false
	for known, s := range held {
		if s.Service != name || known != id && ownID(known, s.Meta) != id {
			continue
		}
		here = true
		err = cmp.Or(err, c.deregisterAt(ctx, known))
	}
	return here, err
}

// deregisterAt removes a service from this agent by Consul's id.
func (c *Consul) deregisterAt(ctx context.Context, id string) error {
	limited, cancel := c.bounded(ctx)
	defer cancel()
	err := c.api.Agent().ServiceDeregisterOpts(id, (&api.QueryOptions{}).WithContext(limited))
	return consulError(ctx, "deregister "+id, err)
}

func (c *Consul) deregisterExternal(ctx context.Context, name, id string) error {
	limited, cancel := c.bounded(ctx)
	defer cancel()
	options := (&api.QueryOptions{}).WithContext(limited)
	instances, meta, err := c.api.Catalog().Service(name, "", options)
	if err == nil {
		err = c.complete("service", name, len(instances) == 0, options, meta)
	}
	if err != nil {
		return consulError(ctx, "deregister "+id, err)
	}
	for _, one := range instances {
		if one != nil && (one.ServiceID == id || ownID(one.ServiceID, one.ServiceMeta) == id) && one.NodeMeta[externalNode] == "true" {
			_, err := c.api.Catalog().Deregister(
				&api.CatalogDeregistration{Node: one.Node, ServiceID: one.ServiceID, Datacenter: one.Datacenter},
				(&api.WriteOptions{}).WithContext(limited))
			return consulError(ctx, "deregister "+id, err)
		}
	}
	return fmt.Errorf("%s %s: %w", name, id, ErrNotFound)
}

// keepAlive shows the agent that this process's services live, until Close.
func (c *Consul) keepAlive() {
	failing := make(map[string]bool) // so that each trouble is told once
	for rest(c.ctx, c.pace.beat) {
		c.mu.Lock()
		own := slices.Collect(maps.Values(c.own))
		c.mu.Unlock()
		for _, s := range own {
			err := c.beat(s)
			switch before := failing[s.ID]; {
			case c.ctx.Err() != nil:
			case err != nil && !before:
				c.log.Warn().Err(err).Str("service", s.ID).Msg("service could not show that it lives, trying on")
			case err == nil && before:
				c.log.Info().Str("service", s.ID).Msg("service shows again that it lives")
			}
			failing[s.ID] = err != nil
		}
	}
}

// beat renews one service's check. An agent that lost it, or gave it up, gets the registration again.
func (c *Consul) beat(s Service) error {
	limited, cancel := c.bounded(c.ctx)
	defer cancel()
	err := c.api.Agent().UpdateTTLOpts(checkID(s.ID), "", string(s.Health), (&api.QueryOptions{}).WithContext(limited))
	var status api.StatusError
	if !errors.As(err, &status) || status.Code != http.StatusNotFound {
		return consulError(c.ctx, "renew "+s.ID, err)
	}
	c.mu.Lock()
	_, still := c.own[s.ID] // it may have been deregistered meanwhile
	c.mu.Unlock()
	if !still {
		return nil
	}
	return c.registerHere(c.ctx, s)
}

// deregisterOwn removes what this process registered with the agent.
func (c *Consul) deregisterOwn() error {
	c.mu.Lock()
	own := c.own
	c.own = make(map[string]Service)
	c.mu.Unlock()
	ctx, cancel := c.bounded(c.ctx)
	defer cancel()
	var errs []error
	for id := range own {
		err := c.api.Agent().ServiceDeregisterOpts(id, (&api.QueryOptions{}).WithContext(ctx))
		if err = consulError(c.ctx, "deregister "+id, err); err != nil && !errors.Is(err, ErrNotFound) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
