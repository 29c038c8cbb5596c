//go:build linux

package stack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	policies "github.com/wardline/wardline/jobs/consul"
	"github.com/wardline/wardline/test/stack/plan"
	"github.com/wardline/wardline/test/stack/render"
)

// errNotYet says why a condition does not hold yet.
var errNotYet = errors.New("not yet")

func (w *World) wait(ctx context.Context, what string, holds func(context.Context) error) error {
	return w.progress.wait(ctx, what, w.alive, holds)
}

func (w *World) until(ctx context.Context, holds func(context.Context) error) error {
	return w.progress.until(ctx, func() error { return nil }, holds)
}

// bringUp starts the agents: the first region's servers, since the others copy ACLs from them, then everything else.
func (w *World) bringUp(ctx context.Context) error {
	first := w.plan.Regions[0]
	if err := w.startAgents(ctx, w.nodes[first.Server().Name]); err != nil {
		return err
	}
	group, each := errgroup.WithContext(ctx)
	group.Go(func() error { return w.bootstrapConsul(each, first) })
	group.Go(func() error { return w.bootstrapNomad(each, first) })
	if err := group.Wait(); err != nil {
		return err
	}
	group, each = errgroup.WithContext(ctx)
	for _, r := range w.plan.Regions {
		group.Go(func() error { return w.bringUpRegion(each, r) })
	}
	return group.Wait()
}

func (w *World) bootstrapConsul(ctx context.Context, r plan.Region) error {
	api := w.Consul(r.Name)
	if err := w.consulLeads(ctx, r); err != nil {
		return err
	}
	rules, err := policies.Policies()
	if err != nil {
		return err
	}
	homeRules, err := policies.HomePolicies()
	if err != nil {
		return err
	}
	all := render.Policies()
	var roles []render.Role
	add := func(name, description, rules string) {
		all = append(all, render.Policy{Name: name, Description: description, Rules: rules})
		roles = append(roles, render.Role{Name: name, Description: description, Policies: []render.Link{{Name: name}}})
	}
	for _, job := range slices.Sorted(maps.Keys(rules)) {
		add(render.ComponentRole(job), "Tasks of job "+job, rules[job])
	}
	for _, job := range slices.Sorted(maps.Keys(homeRules)) {
		add(render.HomeRole(job), "Tasks of job "+job+" of the own region", homeRules[job])
	}
	for _, policy := range all {
		if err := api.Put(ctx, "/v1/acl/policy", policy, nil); err != nil {
			return fmt.Errorf("consul policy %s: %w", policy.Name, err)
		}
	}
	for _, role := range roles {
		if err := api.Put(ctx, "/v1/acl/role", role, nil); err != nil {
			return fmt.Errorf("consul role %s: %w", role.Name, err)
		}
	}
	for _, token := range render.Tokens(w.plan, w.secrets) {
		if err := api.Put(ctx, "/v1/acl/token", token, nil); err != nil {
			return fmt.Errorf("consul token %q: %w", token.Description, err)
		}
	}
	w.progress.say("%s: Consul ACLs written", r.Name)
	return nil
}

func (w *World) consulLeads(ctx context.Context, r plan.Region) error {
	return w.wait(ctx, r.Name+": Consul has a leader", func(ctx context.Context) error {
		var token struct{ SecretID string }
		// The management token arrives with the first leader, or by replication.
		return w.Consul(r.Name).Get(ctx, "/v1/acl/token/self", &token)
	})
}

func (w *World) bootstrapNomad(ctx context.Context, r plan.Region) error {
	api := w.Nomad(r.Name)
	secret := map[string]string{"BootstrapSecret": w.secrets.NomadManagement}
	err := w.wait(ctx, r.Name+": Nomad has a leader", func(ctx context.Context) error {
		err := api.Put(ctx, "/v1/acl/bootstrap", secret, nil)
		var status *StatusError
		if errors.As(err, &status) && strings.Contains(status.Body, "already done") {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, pool := range plan.Pools() {
		definition := map[string]string{"Name": pool, "Description": "Wardline " + pool + " nodes"}
		if err := api.Put(ctx, "/v1/node/pool/"+pool, definition, nil); err != nil {
			return fmt.Errorf("nomad node pool %s: %w", pool, err)
		}
	}
	return nil
}

// bringUpRegion brings up a region next to the first one, which is only short of its clients.
func (w *World) bringUpRegion(ctx context.Context, r plan.Region) error {
	if r.Name != w.plan.Regions[0].Name {
		if err := w.startAgents(ctx, w.nodes[r.Server().Name]); err != nil {
			return err
		}
		group, each := errgroup.WithContext(ctx)
		group.Go(func() error { return w.consulLeads(each, r) })
		group.Go(func() error { return w.nomadReplicated(each, r) })
		if err := group.Wait(); err != nil {
			return err
		}
	}
	group, each := errgroup.WithContext(ctx)
	group.Go(func() error { return w.trustNomads(each, r) })
	if server := w.nodes[r.Server().Name]; w.hasVault(server) {
		group.Go(func() error { return w.bootstrapVault(each, server) })
	}
	for _, n := range r.Nodes {
		if n.Client() {
			group.Go(func() error { return w.startAgents(each, w.nodes[n.Name]) })
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return w.complete(ctx, r)
}

func (w *World) nomadReplicated(ctx context.Context, r plan.Region) error {
	return w.wait(ctx, r.Name+": Nomad has a leader and the first region's ACLs", func(ctx context.Context) error {
		if err := w.Nomad(r.Name).Get(ctx, "/v1/acl/token/self", nil); err != nil {
			return err
		}
		for _, pool := range plan.Pools() {
			if err := w.Nomad(r.Name).Get(ctx, "/v1/node/pool/"+pool, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// trustNomads lets the workloads of every region log in to this region's Consul.
func (w *World) trustNomads(ctx context.Context, r plan.Region) error {
	api := w.Consul(r.Name)
	for _, other := range w.plan.Regions {
		method := render.Method(other, w.authority.PEM())
		err := w.wait(ctx, fmt.Sprintf("%s: Consul trusts the workloads of %s", r.Name, other.Name), func(ctx context.Context) error {
			// Consul reads the keys once when the method is written, and never closes that connection.
			if err := w.Nomad(other.Name).Get(ctx, "/.well-known/jwks.json", nil); err != nil {
				return err
			}
			err := api.Put(ctx, "/v1/acl/auth-method", method, nil)
			var status *StatusError
			if errors.As(err, &status) && status.Code == http.StatusInternalServerError && strings.Contains(status.Body, "already exists") {
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
		for _, rule := range render.Bindings(method.Name, other.Name == r.Name) {
			if err := api.Put(ctx, "/v1/acl/binding-rule", rule, nil); err != nil {
				return fmt.Errorf("binding rule of %s in %s: %w", method.Name, r.Name, err)
			}
		}
	}
	return nil
}

// complete waits until a region is whole in the eyes of its own servers.
func (w *World) complete(ctx context.Context, r plan.Region) error {
	group, each := errgroup.WithContext(ctx)
	group.Go(func() error {
		return w.wait(each, r.Name+": all Consul members alive, all regions joined", func(ctx context.Context) error {
			return w.ConsulWhole(ctx, r.Name)
		})
	})
	group.Go(func() error {
		return w.wait(each, r.Name+": all Nomad nodes ready in their pools, all regions joined", func(ctx context.Context) error {
			return w.NomadWhole(ctx, r.Name)
		})
	})
	return group.Wait()
}

// memberAlive is Serf's status of a member that answers.
const memberAlive = 1

// ConsulWhole returns nil once every node of the region is an alive, passing member of its Consul, and every
// region's server is joined over the WAN; otherwise what is missing.
func (w *World) ConsulWhole(ctx context.Context, region string) error {
	r, ok := w.plan.Region(region)
	if !ok {
		return fmt.Errorf("%w: no region %q: regions are %v", plan.ErrInvalid, region, w.plan.Names())
	}
	type member struct {
		Name   string
		Status int
	}
	check := func(path string, want []string) error {
		var members []member
		if err := w.Consul(region).Get(ctx, path, &members); err != nil {
			return err
		}
		for _, name := range want {
			if !slices.Contains(members, member{name, memberAlive}) {
				return fmt.Errorf("%w: Consul member %s is not alive", errNotYet, name)
			}
		}
		return nil
	}
	var local, wan []string
	for _, n := range r.Nodes {
		if n.Agents() {
			local = append(local, n.Name)
		}
	}
	for _, other := range w.plan.Regions {
		wan = append(wan, other.Server().Name+"."+other.Name)
	}
	if err := check("/v1/agent/members", local); err != nil {
		return err
	}
	if err := check("/v1/agent/members?wan=1", wan); err != nil {
		return err
	}
	return w.registered(ctx, region, local)
}

// registered says whether the catalog, which follows gossip, knows the nodes too.
func (w *World) registered(ctx context.Context, region string, names []string) error {
	var checks []struct{ Node, CheckID, Status string }
	if err := w.Consul(region).Get(ctx, "/v1/health/state/any", &checks); err != nil {
		return err
	}
	for _, name := range names {
		if !slices.Contains(checks, struct{ Node, CheckID, Status string }{name, "serfHealth", "passing"}) {
			return fmt.Errorf("%w: Consul node %s is not registered as healthy", errNotYet, name)
		}
	}
	return nil
}

// NomadWhole returns nil once every client of the region is ready and in its pool, and every region is
// known; otherwise what is missing.
func (w *World) NomadWhole(ctx context.Context, region string) error {
	r, ok := w.plan.Region(region)
	if !ok {
		return fmt.Errorf("%w: no region %q: regions are %v", plan.ErrInvalid, region, w.plan.Names())
	}
	type client struct{ Name, Status, NodePool, SchedulingEligibility string }
	var clients []client
	if err := w.Nomad(region).Get(ctx, "/v1/nodes", &clients); err != nil {
		return err
	}
	for _, n := range r.Nodes {
		if n.Client() && !slices.Contains(clients, client{n.Name, "ready", n.Pool(), "eligible"}) {
			return fmt.Errorf("%w: Nomad node %s is not ready in pool %s", errNotYet, n.Name, n.Pool())
		}
	}
	var regions []string
	if err := w.Nomad(region).Get(ctx, "/v1/regions", &regions); err != nil {
		return err
	}
	for _, name := range w.plan.Names() {
		if !slices.Contains(regions, name) {
			return fmt.Errorf("%w: Nomad region %s is not joined", errNotYet, name)
		}
	}
	return nil
}
