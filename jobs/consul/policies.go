// Package consul carries Wardline's Consul ACL policies, one file a component or kind of person.
//
// A component's policy becomes a policy and a role named wardline-COMPONENT. Consul's binding rules give a Nomad task
// the role that is named after its job, whatever the job is: who may submit a job called "operator" would be an operator
// if there were such a role. So people's policies never become a role of that form: they are linked to tokens directly.
//
// What a component writes in its own region only is in home: policies and roles named home-wardline-COMPONENT, which a
// region's binding rules give to its own Nomad's tasks alone. No name of a job leads there from another region.
package consul

import (
	"embed"
	"fmt"
	"path"
)

//go:embed *.hcl home/*.hcl
var files embed.FS

// components are the Nomad jobs that log in to Consul, residents those that write in their own region, people who is neither.
var (
	components = []string{"autoscaler", "gateway", "sfu", "turn"}
	residents  = []string{"gateway", "sfu", "turn"}
	people     = []string{"operator"}
)

// Policies returns the rules by component, each of which is a Nomad job and gets a role.
func Policies() (map[string]string, error) { return rules(".", components) }

// HomePolicies returns the rules by component that hold in its own region besides.
func HomePolicies() (map[string]string, error) { return rules("home", residents) }

// PeoplesPolicies returns the rules by kind of person. No role may be made of them.
func PeoplesPolicies() (map[string]string, error) { return rules(".", people) }

func rules(dir string, names []string) (map[string]string, error) {
	all := make(map[string]string, len(names))
	for _, name := range names {
		text, err := files.ReadFile(path.Join(dir, name+".hcl"))
		if err != nil {
			return nil, fmt.Errorf("read a policy: %w", err)
		}
		all[name] = string(text)
	}
	return all, nil
}
