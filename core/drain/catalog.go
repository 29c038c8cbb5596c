package drain

import (
	"context"
	"fmt"

	"github.com/wardline/wardline/core/discovery"
)

// Catalog lists instances of a service.
type Catalog interface {
	Services(ctx context.Context, name string) ([]discovery.Service, error)
}

// CatalogAgent is an Agent where there is none, as with the local twins of Consul: what the catalog says about the
// component's own instance is its node's maintenance. The catalog does not tell the reason.
type CatalogAgent struct {
	Catalog Catalog
	// Service and ID name the instance.
	Service, ID string
}

// AgentMaintenance implements Agent. It fails with discovery.ErrNotFound while the instance is not in the catalog.
func (a CatalogAgent) AgentMaintenance(ctx context.Context) (discovery.AgentMaintenance, error) {
	services, err := a.Catalog.Services(ctx, a.Service)
	if err != nil {
		return discovery.AgentMaintenance{}, err
	}
	for _, s := range services {
		if s.ID == a.ID {
			return discovery.AgentMaintenance{Node: s.Maintenance}, nil
		}
	}
	return discovery.AgentMaintenance{}, fmt.Errorf("%s %s: %w", a.Service, a.ID, discovery.ErrNotFound)
}
