// Package consul carries Wardline's Consul ACL policies, one file a component or kind of person.
//
// A component's policy becomes a policy and a role named wardline-COMPONENT. Consul's binding rules give a Nomad task
// the role that is named after its job, whatever the job is: who may submit a job called "operator" would be an operator
// if there were such a role. So people's policies never become a role of that form: they are linked to tokens directly.
package consul

import (
	"embed"
	"fmt"
)

//go:embed *.hcl
var files embed.FS

// components are the Nomad jobs that log in to Consul, people who does not.
var (
	components = []string{"autoscaler", "gateway", "sfu", "turn"}
	people     = []string{"operator"}
)

// Policies returns the rules by component, each of which is a Nomad job and gets a role.
func Policies() (map[string]string, error) { return rules(components) }

// PeoplesPolicies returns the rules by kind of person. No role may be made of them.
func PeoplesPolicies() (map[string]string, error) { return rules(people) }

func rules(names []string) (map[string]string, error) {
	all := make(map[string]string, len(names))
	for _, name := range names {
		text, err := files.ReadFile(name + ".hcl")
		if err != nil {
			return nil, fmt.Errorf("read a policy: %w", err)
		}
		all[name] = string(text)
	}
	return all, nil
}
