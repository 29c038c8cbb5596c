package discovery

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/hashicorp/consul/api"
)

// SetMaintenance implements Maintenance for a node of any region: through its own agent, which needs node:write
// on it, or in the catalog if it has none.
func (c *Consul) SetMaintenance(ctx context.Context, node string, on bool, reason string) error {
	if err := cmp.Or(ctx.Err(), CheckName("node", node)); err != nil {
		return err
	}
	own, datacenter, err := c.Self(ctx)
	if err != nil {
		return err
	}
	if node == own {
		return c.setAgentMaintenance(ctx, c.base.local(), datacenter, "/v1/agent/maintenance", on, reason)
	}
	found, err := c.findNode(ctx, node)
	if err != nil {
		return err
	}
	limited, cancel := c.bounded(ctx)
	defer cancel()
	agent, err := c.hasAgent(limited, node, found.Datacenter)
	if err != nil {
		return consulError(ctx, "node "+node, err)
	}
	if agent {
		return c.setAgentMaintenance(ctx, c.base.of(found.Address), found.Datacenter, "/v1/agent/maintenance", on, reason)
	}
	return consulError(ctx, "maintenance of node "+node, c.setExternalMaintenance(limited, found, on, reason))
}

// SetServiceMaintenance switches maintenance mode of one service instance on this agent, given by Consul's id or the
// component's own. Re-registering the service, as Nomad does when its definition changes, may switch it off again.
func (c *Consul) SetServiceMaintenance(ctx context.Context, id string, on bool, reason string) error {
	if err := cmp.Or(ctx.Err(), CheckName("service id", id)); err != nil {
		return err
	}
	held, err := c.agentServices(ctx)
	if err != nil {
		return err
	}
	found := false
	for known, s := range held {
		if known != id && ownID(known, s.Meta) != id {
			continue
		}
		found = true
		err = cmp.Or(err, c.setAgentMaintenance(ctx, c.base.local(), "", "/v1/agent/service/maintenance/"+known, on, reason))
	}
	if !found {
		return fmt.Errorf("service %s: %w on this agent", id, ErrNotFound)
	}
	return err
}

// agentServices are the services that are registered with this agent, by Consul's id.
func (c *Consul) agentServices(ctx context.Context) (map[string]*api.AgentService, error) {
	limited, cancel := context.WithTimeout(ctx, c.pace.local)
	defer cancel()
	held, err := c.api.Agent().ServicesWithFilterOpts("", (&api.QueryOptions{}).WithContext(limited))
	maps.DeleteFunc(held, func(_ string, s *api.AgentService) bool { return s == nil })
	return held, consulError(ctx, "services of the agent", err)
}

// findNode looks in every region, the own one first.
func (c *Consul) findNode(ctx context.Context, node string) (*api.Node, error) {
	datacenters, err := c.Regions(ctx)
	if err != nil {
		return nil, err
	}
	var unanswered error
	for _, datacenter := range datacenters {
		limited, cancel := c.bounded(ctx)
		found, _, err := c.api.Catalog().Node(node, (&api.QueryOptions{Datacenter: datacenter}).WithContext(limited))
		cancel()
		if err != nil {
			unanswered = consulError(ctx, "node "+node, err)
			continue
		}
		if found != nil && found.Node != nil {
			return found.Node, nil
		}
	}
	if unanswered != nil {
		return nil, unanswered // it may be in the region that did not answer
	}
	return nil, fmt.Errorf("node %s: %w", node, ErrNotFound)
}

// setAgentMaintenance asks an agent; the library's own call takes no context and knows this node's agent only.
func (c *Consul) setAgentMaintenance(ctx context.Context, agent url.URL, datacenter, path string, on bool, reason string) error {
	limited, cancel := c.bounded(ctx)
	defer cancel()
	agent.Path = path
	query := url.Values{"enable": {strconv.FormatBool(on)}, "reason": {reason}}
	if datacenter != "" { // says which token to send, the agent ignores it
		query.Set("dc", datacenter)
	}
	agent.RawQuery = query.Encode()
	_, err := c.send(limited, http.MethodPut, agent, nil)
	return consulError(ctx, "maintenance", err)
}

// setExternalMaintenance writes the check that an agent would have, for a node without one.
func (c *Consul) setExternalMaintenance(ctx context.Context, node *api.Node, on bool, reason string) error {
	options := (&api.WriteOptions{Datacenter: node.Datacenter}).WithContext(ctx)
	if !on {
		_, err := c.api.Catalog().Deregister(
			&api.CatalogDeregistration{Node: node.Node, CheckID: api.NodeMaint, Datacenter: node.Datacenter}, options)
		return err
	}
	_, err := c.api.Catalog().Register(&api.CatalogRegistration{
		Node: node.Node, Address: node.Address, Datacenter: node.Datacenter, SkipNodeUpdate: true,
		Check: &api.AgentCheck{
			Node: node.Node, CheckID: api.NodeMaint, Name: "Node Maintenance Mode", Notes: reason, Status: api.HealthCritical,
		},
	}, options)
	return err
}

// AgentMaintenance is what is in maintenance mode on this node.
type AgentMaintenance struct {
	// Node is set while the whole node is; Reason is the operator's.
	Node   bool
	Reason string
	// Services are the operator's reasons by the id of the service instance: Consul's, and where it differs the
	// component's own too.
	Services map[string]string
}

// AgentMaintenance asks this node's agent, which answers also while it has lost its servers. Service maintenance
// vanishes when Nomad registers the service again: whoever drains on it remembers that it was seen.
func (c *Consul) AgentMaintenance(ctx context.Context) (AgentMaintenance, error) {
	limited, cancel := context.WithTimeout(ctx, c.pace.local)
	defer cancel()
	checks, err := c.api.Agent().ChecksWithFilterOpts("", (&api.QueryOptions{}).WithContext(limited))
	if err != nil {
		return AgentMaintenance{}, consulError(ctx, "checks of the agent", err)
	}
	state := AgentMaintenance{Services: make(map[string]string)}
	for id, check := range checks {
		if check == nil {
			continue
		}
		if id == api.NodeMaint {
			state.Node, state.Reason = true, check.Notes
		} else if service, ok := strings.CutPrefix(id, api.ServiceMaintPrefix); ok {
			state.Services[service] = check.Notes
		}
	}
	return state, c.nameServices(ctx, state.Services)
}

// nameServices adds the reasons under the components' own ids.
func (c *Consul) nameServices(ctx context.Context, reasons map[string]string) error {
	if len(reasons) == 0 {
		return nil
	}
	held, err := c.agentServices(ctx)
	for id, s := range held {
		if reason, ok := reasons[id]; ok {
			reasons[ownID(id, s.Meta)] = reason
		}
	}
	return err
}
