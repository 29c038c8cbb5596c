//go:build linux

package deploy

import (
	"context"
	"fmt"

	"github.com/wardline/wardline/core/access"
	stack "github.com/wardline/wardline/test/stack"
	"github.com/wardline/wardline/test/stack/plan"
)

// gatewayPort is http_port of jobs/gateway.nomad.hcl.
const gatewayPort = 8443

// GatewayURL is the base URL of a region's first gateway.
func GatewayURL(w *stack.World, region string) (string, error) {
	r, ok := w.Plan().Region(region)
	if ok {
		for _, n := range r.Nodes {
			if n.Kind == plan.Gateway {
				return fmt.Sprintf("https://%s:%d", n.Addr, gatewayPort), nil
			}
		}
	}
	return "", fmt.Errorf("%w: no gateway in region %q", plan.ErrInvalid, region)
}

// Link is what a participant opens: a region's first gateway with the join token in the fragment.
func Link(w *stack.World, region, token string) (string, error) {
	url, err := GatewayURL(w, region)
	if err != nil {
		return "", err
	}
	return url + "/visit#" + token, nil
}

// Links are a provider's link to the first region and a patient's to the last, for people.
func Links(ctx context.Context, w *stack.World) (string, error) {
	names := w.Plan().Names()
	tokens, err := Visit(ctx, w, names[0], Person("provider-1", access.Provider), Person("patient-1", access.Patient))
	if err != nil {
		return "", err
	}
	provider, err := Link(w, names[0], tokens["provider-1"])
	if err != nil {
		return "", err
	}
	patient, err := Link(w, names[len(names)-1], tokens["patient-1"])
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("  provider  %s\n\n  patient   %s\n", provider, patient), nil
}
