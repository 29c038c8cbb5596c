// Package consul carries the Consul ACL policies of Wardline's components, one file a component. Each
// becomes a policy and a role named wardline-COMPONENT, which the component's Nomad tasks log in to.
package consul

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed *.hcl
var files embed.FS

// Policies returns the rules by component.
func Policies() (map[string]string, error) {
	entries, err := files.ReadDir(".")
	if err != nil {
		return nil, fmt.Errorf("list the policies: %w", err)
	}
	policies := make(map[string]string, len(entries))
	for _, entry := range entries {
		rules, err := files.ReadFile(entry.Name())
		if err != nil {
			return nil, fmt.Errorf("read a policy: %w", err)
		}
		policies[strings.TrimSuffix(entry.Name(), ".hcl")] = string(rules)
	}
	return policies, nil
}
