package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/nomad/api"
)

// Nomad does what operators do with nodes and allocations, in every region that the server knows.
type Nomad struct{ client *api.Client }

// NewNomad uses a client.
func NewNomad(client *api.Client) *Nomad { return &Nomad{client} }

// node is a Nomad node and the region it is in.
type node struct{ id, name, region string }

// Healthy is a probe: every region answers, and every node is ready and takes work.
func (n *Nomad) Healthy(ctx context.Context) error {
	regions, err := n.regions(ctx)
	if err != nil {
		return err
	}
	var problems []error
	for _, region := range regions {
		nodes, _, err := n.client.Nodes().List((&api.QueryOptions{Region: region}).WithContext(ctx))
		if err != nil {
			problems = append(problems, fmt.Errorf("nomad of %s: %w", region, err))
			continue
		}
		for _, each := range nodes {
			if each.Status != "ready" || each.SchedulingEligibility != "eligible" || each.Drain {
				state := each.Status + " and " + each.SchedulingEligibility
				problems = append(problems, fmt.Errorf("nomad node %s of %s is %s", each.Name, region, state))
			}
		}
	}
	return errors.Join(problems...)
}

// ask reads a path that the client has no method with a context for: one that is silent must not hold a drill up.
func (n *Nomad) ask(ctx context.Context, path string, answer any) error {
	if _, err := n.client.Raw().Query(path, answer, (&api.QueryOptions{}).WithContext(ctx)); err != nil {
		return fmt.Errorf("nomad: %w", err)
	}
	return nil
}

func (n *Nomad) regions(ctx context.Context) (names []string, err error) {
	err = n.ask(ctx, "/v1/regions", &names)
	return names, err
}

// Version is that of the agent that the client asks.
func (n *Nomad) Version(ctx context.Context) (string, error) {
	var self api.AgentSelf
	if err := n.ask(ctx, "/v1/agent/self", &self); err != nil {
		return "", err
	}
	if build := self.Member.Tags["build"]; build != "" {
		return build, nil
	}
	version, _ := self.Config["Version"].(map[string]any)
	text, _ := version["Version"].(string)
	return text, nil
}

// find looks for a node by its name in all regions.
func (n *Nomad) find(ctx context.Context, name string) (node, error) {
	regions, err := n.regions(ctx)
	if err != nil {
		return node{}, err
	}
	var unanswered error
	for _, region := range regions {
		nodes, _, err := n.client.Nodes().List((&api.QueryOptions{Region: region}).WithContext(ctx))
		if err != nil {
			unanswered = fmt.Errorf("nomad of %s: %w", region, err)
			continue
		}
		i := slices.IndexFunc(nodes, func(s *api.NodeListStub) bool { return s.Name == name && s.Status != "down" })
		if i >= 0 {
			return node{nodes[i].ID, name, region}, nil
		}
	}
	if unanswered != nil {
		return node{}, unanswered
	}
	return node{}, fmt.Errorf("no nomad node %q in regions %v", name, regions)
}

// SetDraining starts a drain that leaves jobs their own time to stop, or ends it and makes the node eligible.
func (n *Nomad) SetDraining(ctx context.Context, name string, on bool) error {
	found, err := n.find(ctx, name)
	if err != nil {
		return err
	}
	options := &api.DrainOptions{MarkEligible: true}
	if on {
		options = &api.DrainOptions{DrainSpec: &api.DrainSpec{Deadline: drainDeadline}, Meta: map[string]string{"message": reason}}
	}
	_, err = n.client.Nodes().UpdateDrainOpts(found.id, options, (&api.WriteOptions{Region: found.region}).WithContext(ctx))
	return wrap(found, err)
}

// SetEligible says whether a node takes new allocations.
func (n *Nomad) SetEligible(ctx context.Context, name string, on bool) error {
	found, err := n.find(ctx, name)
	if err != nil {
		return err
	}
	_, err = n.client.Nodes().ToggleEligibility(found.id, on, (&api.WriteOptions{Region: found.region}).WithContext(ctx))
	return wrap(found, err)
}

// RestartJob restarts the allocations of a job on a node.
func (n *Nomad) RestartJob(ctx context.Context, name, job string) error {
	return n.each(ctx, name, job, func(a *api.Allocation, q *api.QueryOptions) error { return n.client.Allocations().Restart(a, "", q) })
}

// StopJob stops the allocations of a job on a node; Nomad replaces them.
func (n *Nomad) StopJob(ctx context.Context, name, job string) error {
	return n.each(ctx, name, job, func(a *api.Allocation, q *api.QueryOptions) error {
		_, err := n.client.Allocations().Stop(a, q)
		return err
	})
}

func (n *Nomad) each(ctx context.Context, name, job string, do func(*api.Allocation, *api.QueryOptions) error) error {
	found, err := n.find(ctx, name)
	if err != nil {
		return err
	}
	query := (&api.QueryOptions{Region: found.region}).WithContext(ctx)
	allocations, _, err := n.client.Nodes().Allocations(found.id, query)
	if err != nil {
		return wrap(found, err)
	}
	allocations = slices.DeleteFunc(allocations, func(a *api.Allocation) bool {
		return a.JobID != job || a.ClientStatus != api.AllocClientStatusRunning
	})
	if len(allocations) == 0 {
		return fmt.Errorf("nomad node %s of %s runs no job %q", found.name, found.region, job)
	}
	var problems []error
	for _, a := range allocations {
		problems = append(problems, do(a, query))
	}
	return wrap(found, errors.Join(problems...))
}

func wrap(n node, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("nomad node %s of %s: %w", n.name, n.region, err)
}
