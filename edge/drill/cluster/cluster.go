// Package cluster is the real cluster of a drill: how well it is, where its components are, and the few things that an
// operator may do to it through Consul and Nomad.
package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/edge/drill"
)

// ErrUnhealthy says what is not as it should be.
var ErrUnhealthy = errors.New("not healthy")

// kinds are the services that make a cluster, and what a drill calls them.
var kinds = map[string]string{discovery.GatewayService: "gateway", discovery.SFUService: "sfu", discovery.TURNService: "relay"}

// Catalog says which components there are.
type Catalog interface {
	Services(ctx context.Context, name string) ([]discovery.Service, error)
}

// Cluster implements drill.Cluster on a catalog of services. Safe for concurrent use.
type Cluster struct {
	catalog Catalog
	// probes say more about the health than the catalog does.
	probes []func(context.Context) error

	mu sync.Mutex
	// expected are the components seen when the cluster was healthy for the first time.
	expected []string
	last     []drill.Server
}

// New makes a cluster of a catalog and of further checks of its health.
func New(catalog Catalog, probes ...func(context.Context) error) *Cluster {
	return &Cluster{catalog: catalog, probes: probes}
}

// patience bounds one look at the health: a server that takes questions and answers none is not well either.
const patience = 15 * time.Second

// Healthy implements drill.Cluster.
func (c *Cluster) Healthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var problems []error
	for _, probe := range c.probes {
		problems = append(problems, probe(ctx))
	}
	services, err := c.services(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnhealthy, errors.Join(append(problems, err)...))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, missing := range missing(services, c.expected) {
		problems = append(problems, fmt.Errorf("%s is gone", missing))
	}
	problems = append(problems, ailing(services)...)
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("%w: %s", ErrUnhealthy, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	if c.expected == nil {
		c.expected = labels(services)
	}
	c.last = servers(services)
	return nil
}

func (c *Cluster) services(ctx context.Context) ([]discovery.Service, error) {
	var all []discovery.Service
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		found, err := c.catalog.Services(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", name, err)
		}
		all = append(all, found...)
	}
	return all, nil
}

func label(s discovery.Service) string { return kinds[s.Name] + " " + s.ID + " of " + s.Region }

func labels(services []discovery.Service) []string {
	all := make([]string, 0, len(services))
	for _, s := range services {
		all = append(all, label(s))
	}
	return all
}

func missing(services []discovery.Service, expected []string) []string {
	there := labels(services)
	return slices.DeleteFunc(slices.Clone(expected), func(name string) bool { return slices.Contains(there, name) })
}

// ailing names what takes no work, and what a visit needs and nobody offers.
func ailing(services []discovery.Service) []error {
	var problems []error
	for _, s := range services {
		switch {
		case s.Maintenance:
			problems = append(problems, fmt.Errorf("%s is in maintenance mode", label(s)))
		case s.Health != discovery.Passing:
			problems = append(problems, fmt.Errorf("%s is %s", label(s), s.Health))
		}
	}
	for _, kind := range []string{discovery.GatewayService, discovery.SFUService} {
		if !slices.ContainsFunc(services, func(s discovery.Service) bool { return s.Name == kind }) {
			problems = append(problems, fmt.Errorf("there is no %s", kinds[kind]))
		}
	}
	return problems
}

// Servers implements drill.Cluster.
func (c *Cluster) Servers(ctx context.Context) ([]drill.Server, error) {
	services, err := c.services(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		if c.last != nil {
			return slices.Clone(c.last), nil
		}
		return nil, err
	}
	c.last = servers(services)
	return slices.Clone(c.last), nil
}

func servers(services []discovery.Service) []drill.Server {
	all := make([]drill.Server, 0, len(services))
	for _, s := range services {
		server := drill.Server{Kind: kinds[s.Name], ID: s.ID, Node: s.Node, Region: s.Region, URL: s.Meta[discovery.MetaURL]}
		for _, key := range []string{discovery.MetaTURN, discovery.MetaTURNTLS} {
			if host, _, err := net.SplitHostPort(s.Meta[key]); err == nil && !slices.Contains(server.Addresses, host) {
				server.Addresses = append(server.Addresses, host)
			}
		}
		all = append(all, server)
	}
	slices.SortFunc(all, func(a, b drill.Server) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID)) })
	return all
}

// ConsulHealth is a probe: every datacenter answers, and no check of a node or of a component is critical anywhere.
func ConsulHealth(client *api.Client) func(context.Context) error {
	return func(ctx context.Context) error {
		var datacenters []string
		if err := askConsul(ctx, client, "/v1/catalog/datacenters", &datacenters); err != nil {
			return err
		}
		var problems []error
		for _, datacenter := range datacenters {
			options := (&api.QueryOptions{Datacenter: datacenter, RequireConsistent: true}).WithContext(ctx)
			checks, _, err := client.Health().State(api.HealthCritical, options)
			if err != nil {
				problems = append(problems, fmt.Errorf("consul of %s: %w", datacenter, err))
				continue
			}
			for _, check := range checks {
				if _, ours := kinds[check.ServiceName]; ours || check.ServiceName == "" {
					who := cmp.Or(check.ServiceID, check.Node)
					problems = append(problems, fmt.Errorf("%s of %s: %s is critical", who, datacenter, check.Name))
				}
			}
		}
		return errors.Join(problems...)
	}
}

// ConsulVersion is the version of the agent that the client asks.
func ConsulVersion(ctx context.Context, client *api.Client) (string, error) {
	var self map[string]map[string]any
	if err := askConsul(ctx, client, "/v1/agent/self", &self); err != nil {
		return "", err
	}
	version, _ := self["Config"]["Version"].(string)
	return version, nil
}

// askConsul reads a path that the client has no method with a context for.
func askConsul(ctx context.Context, client *api.Client, path string, answer any) error {
	if _, err := client.Raw().Query(path, answer, (&api.QueryOptions{}).WithContext(ctx)); err != nil {
		return fmt.Errorf("consul: %w", err)
	}
	return nil
}
