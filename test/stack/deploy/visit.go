//go:build linux

package deploy

import (
	"context"
	"fmt"
	"os/exec"
	"strings"

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

// Link is what a participant of an encounter opens: a join link to a region's first gateway. Policy allows all regions
// of the world.
func Link(ctx context.Context, w *stack.World, r Release, region, encounter, role, participant string) (string, error) {
	url, err := GatewayURL(w, region)
	if err != nil {
		return "", err
	}
	args := []string{
		"token", "--data", Data(w), "--encounter", encounter, "--role", role, "--participant", participant,
		"--url", url, "--format", "link", "--region", strings.Join(w.Plan().Names(), ","),
	}
	output, err := exec.CommandContext(ctx, r.Binary, args...).Output() //nolint:gosec // G204: the caller's own binary
	if err != nil {
		return "", fmt.Errorf("mint a link: %w", err)
	}
	return strings.TrimSpace(string(output)), nil
}

// Links are a provider's link to the first region and a patient's to the last, for people.
func Links(ctx context.Context, w *stack.World, r Release) (string, error) {
	names := w.Plan().Names()
	provider, err := Link(ctx, w, r, names[0], "visit-1", "provider", "provider-1")
	if err != nil {
		return "", err
	}
	patient, err := Link(ctx, w, r, names[len(names)-1], "visit-1", "patient", "patient-1")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("  provider  %s\n\n  patient   %s\n", provider, patient), nil
}
