package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/hashicorp/consul/api"
)

// NearestQuery is a prepared query: the healthy instances of a service in the own region, or if there are none,
// in the nearest other region that has any, by the servers' measured round-trip times.
type NearestQuery struct {
	// Name is what the query is executed by, over HTTP here or as NAME.query.consul over DNS.
	Name string
	// Service is whose instances are looked for.
	Service string
	// Regions is how many other regions are tried at most, at least 1.
	Regions int
	// Token, if set, is what the query is executed with, in every region: a global one that may read the service.
	// Without it the caller's is used, and that of a workload shows nothing of other regions, where it is not known.
	Token string
}

func (q NearestQuery) definition() *api.PreparedQueryDefinition {
	return &api.PreparedQueryDefinition{
		Name: q.Name, Token: q.Token,
		Service: api.ServiceQuery{
			Service: q.Service, OnlyPassing: true, Failover: api.QueryFailoverOptions{NearestN: q.Regions},
		},
	}
}

// ApplyNearestQuery creates the query, or makes the existing one of its name like it; it needs query:write.
func (c *Consul) ApplyNearestQuery(ctx context.Context, q NearestQuery) error {
	if err := cmp.Or(ctx.Err(), CheckName("query", q.Name), CheckName("service name", q.Service)); err != nil {
		return err
	}
	if q.Regions < 1 {
		return fmt.Errorf("%w: query %s: %d regions, at least 1", ErrInvalid, q.Name, q.Regions)
	}
	limited, cancel := c.bounded(ctx)
	defer cancel()
	known, _, err := c.api.PreparedQuery().List(new(api.QueryOptions).WithContext(limited))
	if err != nil {
		return consulError(ctx, "query "+q.Name, err)
	}
	definition, options := q.definition(), new(api.WriteOptions).WithContext(limited)
	for _, one := range known {
		if one != nil && one.Name == q.Name {
			definition.ID = one.ID
			_, err = c.api.PreparedQuery().Update(definition, options)
			return consulError(ctx, "query "+q.Name, err)
		}
	}
	_, _, err = c.api.PreparedQuery().Create(definition, options)
	return consulError(ctx, "query "+q.Name, err)
}

// Nearest executes a NearestQuery by name, ordered by id; ErrNotFound if no such query was applied. It says nothing
// of maintenance: instances in maintenance mode are not passing. The own region's servers ask the others', so it is
// ErrUnavailable while they are down; Services is not.
func (c *Consul) Nearest(ctx context.Context, query string) ([]Service, error) {
	if err := cmp.Or(ctx.Err(), CheckName("query", query)); err != nil {
		return nil, err
	}
	limited, cancel := c.bounded(ctx)
	defer cancel()
	answer, _, err := c.api.PreparedQuery().Execute(query, new(api.QueryOptions).WithContext(limited))
	if err == nil && answer == nil {
		err = errNotConsul
	}
	if err != nil {
		return nil, consulError(ctx, "query "+query, queryNotFound(err))
	}
	entries := make([]*api.ServiceEntry, len(answer.Nodes))
	for i := range answer.Nodes {
		entries[i] = &answer.Nodes[i]
	}
	out := instancesOf(entries)
	for i := range out {
		out[i].Region = cmp.Or(out[i].Region, answer.Datacenter)
	}
	return out, nil
}

// queryNotFound makes the failure of older servers what newer ones say.
func queryNotFound(err error) error {
	var status api.StatusError
	if errors.As(err, &status) && strings.Contains(status.Body, "Query not found") {
		status.Code = http.StatusNotFound
		return status
	}
	return err
}
