package render

import (
	"github.com/wardline/wardline/test/stack/plan"
)

// Policy is a Consul ACL policy as its API takes it.
type Policy struct {
	Name        string
	Description string
	Rules       string
}

// Link names a policy or role inside another object.
type Link struct{ Name string }

// Role is a Consul ACL role.
type Role struct {
	Name        string
	Description string
	Policies    []Link
}

// NodeIdentity lets a token register one node and no other.
type NodeIdentity struct{ NodeName, Datacenter string }

// Token is a Consul ACL token with a secret chosen by the world.
type Token struct {
	SecretID       string
	Description    string
	Policies       []Link         `json:",omitempty"`
	NodeIdentities []NodeIdentity `json:",omitempty"`
}

// Policies of the world's own agents; those of Wardline's components come from jobs/consul.
func Policies() []Policy {
	return []Policy{
		{
			Name: "acl-replication", Description: "Secondary datacenters copy ACLs from the primary",
			Rules: `acl = "write"
operator = "write"
service_prefix "" {
  policy     = "read"
  intentions = "read"
}
`,
		},
		{
			Name: "nomad-agent", Description: "Nomad agents register services and read their health",
			Rules: `agent_prefix "" {
  policy = "read"
}
node_prefix "" {
  policy = "read"
}
service_prefix "" {
  policy = "write"
}
`,
		},
	}
}

// Tokens of a world: one an agent, so that each node may register itself and nothing else.
func Tokens(p plan.Plan, s Secrets) []Token {
	tokens := []Token{{
		SecretID: s.Replication, Description: "ACL replication", Policies: []Link{{"acl-replication"}},
	}}
	for _, r := range p.Regions {
		tokens = append(tokens, Token{
			SecretID: s.NomadTokens[r.Name], Description: "Nomad agents of " + r.Name, Policies: []Link{{"nomad-agent"}},
		})
		for _, n := range r.Nodes {
			if n.Agents() {
				tokens = append(tokens, Token{
					SecretID: s.NodeTokens[n.Name], Description: "Consul agent of " + n.Name,
					NodeIdentities: []NodeIdentity{{NodeName: n.Name, Datacenter: r.Name}},
				})
			}
		}
	}
	return tokens
}

// ComponentRole is the role a workload of the Nomad job gets.
func ComponentRole(job string) string { return "wardline-" + job }

// HomeRole is the role it gets besides in its own region. No job of another region can be named so that it gets it.
func HomeRole(job string) string { return "home-wardline-" + job }

// JWTMethod is a Consul auth method of type jwt.
type JWTMethod struct {
	Name        string
	Type        string
	Description string
	Config      JWTConfig
}

// JWTConfig is a JWTMethod's configuration.
type JWTConfig struct {
	JWKSURL          string
	JWKSCACert       string
	JWTSupportedAlgs []string
	BoundAudiences   []string
	ClaimMappings    map[string]string
}

// Method is the auth method that trusts the workload identities of a region's Nomad.
func Method(r plan.Region, authority []byte) JWTMethod {
	return JWTMethod{
		Name: AuthMethod(r.Name), Type: "jwt", Description: "Workload identities of Nomad region " + r.Name,
		Config: JWTConfig{
			JWKSURL: NomadURL(r.Server()) + "/.well-known/jwks.json", JWKSCACert: string(authority),
			JWTSupportedAlgs: []string{"RS256"}, BoundAudiences: []string{"consul.io"},
			ClaimMappings: map[string]string{
				"nomad_namespace": "nomad_namespace", "nomad_job_id": "nomad_job_id",
				"nomad_task": "nomad_task", "nomad_service": "nomad_service",
			},
		},
	}
}

// BindingRule says what a login through an auth method gets.
type BindingRule struct {
	AuthMethod  string
	Description string
	Selector    string
	BindType    string
	BindName    string
}

// Bindings of an auth method: a service identity may register that service, a task has its component's role, and its
// home role too where the method is of the region's own Nomad; both of the default namespace only. A job without a role of its
// own cannot log in.
func Bindings(method string, home bool) []BindingRule {
	const task = `"nomad_service" not in value and value.nomad_namespace == default`
	rules := []BindingRule{
		{
			AuthMethod: method, Description: "Nomad registers a job's services",
			Selector: `"nomad_service" in value and value.nomad_namespace == default`,
			BindType: "service", BindName: "${value.nomad_service}",
		},
		{
			AuthMethod: method, Description: "Tasks act as their component",
			Selector: task, BindType: "role", BindName: ComponentRole("${value.nomad_job_id}"),
		},
	}
	if home {
		rules = append(rules, BindingRule{
			AuthMethod: method, Description: "Tasks write what is their own region's",
			Selector: task, BindType: "role", BindName: HomeRole("${value.nomad_job_id}"),
		})
	}
	return rules
}
