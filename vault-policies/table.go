package vaultpolicies

import (
	"slices"

	"github.com/wardline/wardline/core/secrets"
)

// Component is who a policy is for: a part of the product, or a person's part.
type Component string

// The components, in the order in which tables show them.
const (
	Gateway    Component = secrets.GatewayRole
	SFU        Component = secrets.SFURole
	TURN       Component = secrets.TURNRole
	Recorder   Component = "recorder"
	Autoscaler Component = "autoscaler"
	// Rotator is the job that rotates keys and shared secrets when they are old, and reads none.
	Rotator Component = secrets.RotatorRole
	// Backup is the job that takes snapshots, which are sealed.
	Backup Component = secrets.BackupRole
	// Operator rotates keys and adds tenants, and reads no secret.
	Operator Component = "operator"
	// Auditor reads how Vault is set up, and changes nothing.
	Auditor Component = "auditor"
)

// Components lists all of them.
func Components() []Component {
	return append(Workloads(), Operator, Auditor)
}

// Workloads lists those that Nomad runs: they log in with a workload identity.
func Workloads() []Component {
	return append(Servers(), Rotator, Backup)
}

// Servers lists the workloads that stay and talk to each other: they have certificates.
func Servers() []Component {
	return []Component{Gateway, SFU, TURN, Recorder, Autoscaler}
}

// PolicyName is what a component's policy is called in Vault.
func (c Component) PolicyName() string { return "wardline-" + string(c) }

// Rule is one path stanza of a policy.
type Rule struct {
	// Path is a Vault path; "+" stands for one segment.
	Path         string
	Capabilities []string
	// Parameters, if not nil, are all that may be sent, with the values allowed; no values means any.
	Parameters map[string][]string
}

// Probe is a request that a group of paths is there for. The tests send it as every component.
type Probe struct {
	Method, Path string
	Body         map[string]any
}

// Group is one thing that can be done with Vault.
type Group struct {
	Name string
	// Why says what it is for, in the generated policies.
	Why   string
	Rules []Rule
	// Who may do it; nobody means that it takes a break-glass token.
	Who    []Component
	Probes []Probe
}

// Allows reports whether a component may do it.
func (g Group) Allows(c Component) bool { return slices.Contains(g.Who, c) }

const (
	tokenKey   = secrets.TokenMount + "/keys/" + secrets.TokenKey
	anyTenant  = "/+"
	probed     = "/probe-tenant"
	sharedData = secrets.SharedMount + "/data/" + secrets.SharedPath + "/"
	sharedMeta = secrets.SharedMount + "/metadata/" + secrets.SharedPath + "/"
)

// Table is who may do what: policies are written from it, and the tests try each line both ways.
func Table() []Group {
	return slices.Concat(selfGroups(), signingGroups(), sharedGroups(), certificateGroups(), tenantGroups(),
		oversightGroups(), forbiddenGroups())
}

func selfGroups() []Group {
	return []Group{{
		Name: "own login", Why: "look at, renew and end the own token",
		Rules: []Rule{
			{Path: "auth/token/lookup-self", Capabilities: []string{"read"}},
			{Path: "auth/token/renew-self", Capabilities: []string{"update"}},
			{Path: "auth/token/revoke-self", Capabilities: []string{"update"}},
		},
		Who: Components(),
		Probes: []Probe{
			{Method: "GET", Path: "auth/token/lookup-self"},
			{Method: "PUT", Path: "auth/token/renew-self"},
			{Method: "PUT", Path: "auth/token/revoke-self"},
		},
	}}
}

func signingGroups() []Group {
	input := map[string]any{"input": "cHJvYmU="}
	sign := func(key string) []Rule {
		return []Rule{{Path: secrets.TokenMount + "/sign/" + key, Capabilities: []string{"update"}}}
	}
	return []Group{
		{
			Name: "sign join tokens", Why: "sign join tokens with a key that cannot be taken out",
			Rules: sign(secrets.TokenKey), Who: []Component{Gateway},
			Probes: []Probe{{Method: "PUT", Path: secrets.TokenMount + "/sign/" + secrets.TokenKey, Body: input}},
		},
		{
			Name: "read token public keys", Why: "publish the keys that verify join tokens",
			Rules:  []Rule{{Path: tokenKey, Capabilities: []string{"read"}}},
			Who:    []Component{Gateway, Rotator, Operator, Auditor},
			Probes: []Probe{{Method: "GET", Path: tokenKey}},
		},
		{
			Name: "rotate the token key", Why: "make a new version and retire those before the previous one",
			Rules: []Rule{
				{Path: tokenKey + "/rotate", Capabilities: []string{"update"}},
				{
					Path: tokenKey + "/config", Capabilities: []string{"update"},
					Parameters: map[string][]string{"min_decryption_version": nil},
				},
			},
			Who: []Component{Rotator, Operator},
			Probes: []Probe{
				{Method: "PUT", Path: tokenKey + "/rotate"},
				{Method: "PUT", Path: tokenKey + "/config", Body: map[string]any{"min_decryption_version": 1}},
			},
		},
		{
			Name: "sign audit checkpoints", Why: "sign checkpoints of the audit trail it writes",
			Rules: sign(secrets.CheckpointKey), Who: []Component{Gateway, Recorder},
			Probes: []Probe{{Method: "PUT", Path: secrets.TokenMount + "/sign/" + secrets.CheckpointKey, Body: input}},
		},
		{
			Name: "read checkpoint public keys", Why: "verify checkpoints of the audit trail",
			Rules:  []Rule{{Path: secrets.TokenMount + "/keys/" + secrets.CheckpointKey, Capabilities: []string{"read"}}},
			Who:    []Component{Operator, Auditor},
			Probes: []Probe{{Method: "GET", Path: secrets.TokenMount + "/keys/" + secrets.CheckpointKey}},
		},
	}
}

func sharedGroups() []Group {
	read := func(name, why string, who ...Component) Group {
		return Group{
			Name: "read the " + name + " secret", Why: why, Who: who,
			Rules:  []Rule{{Path: sharedData + name, Capabilities: []string{"read"}}},
			Probes: []Probe{{Method: "GET", Path: sharedData + name}},
		}
	}
	// A version that is long past, so that trying it rotates nothing.
	stale := map[string]any{"options": map[string]any{"cas": 0}, "data": map[string]any{"value": "probe"}}
	return []Group{
		read(secrets.TURNSecret, "mint and verify TURN credentials", Gateway, TURN),
		read(secrets.RosterSecret, "seal and open display names", Gateway),
		{
			Name: "rotate shared secrets", Why: "write a new version without being able to read one",
			// Each by its name: Vault prefers an exact path, so who also reads one would lose what "+" grants.
			Rules: []Rule{
				{Path: sharedData + secrets.TURNSecret, Capabilities: []string{"create", "update"}},
				{Path: sharedData + secrets.RosterSecret, Capabilities: []string{"create", "update"}},
			},
			Who: []Component{Rotator, Operator},
			Probes: []Probe{
				{Method: "PUT", Path: sharedData + secrets.TURNSecret, Body: stale},
				{Method: "PUT", Path: sharedData + secrets.RosterSecret, Body: stale},
			},
		},
		{
			Name: "read versions of shared secrets", Why: "see when they were rotated",
			Rules:  []Rule{{Path: sharedMeta + "+", Capabilities: []string{"read"}}},
			Who:    []Component{Rotator, Operator, Auditor},
			Probes: []Probe{{Method: "GET", Path: sharedMeta + secrets.TURNSecret}},
		},
	}
}

// certificateGroups is one group a server: none can have another's name.
func certificateGroups() []Group {
	groups := make([]Group, 0, len(Servers()))
	for _, server := range Servers() {
		path := secrets.PKIMount + "/sign/" + string(server)
		groups = append(groups, Group{
			Name: "certificate of " + string(server), Why: "have the own certificate signed",
			// Nothing but the request: with not_after it would outlive the role's max_ttl.
			Rules:  []Rule{{Path: path, Capabilities: []string{"update"}, Parameters: map[string][]string{"csr": nil}}},
			Who:    []Component{server},
			Probes: []Probe{{Method: "PUT", Path: path, Body: map[string]any{"csr": "probe"}}},
		})
	}
	return groups
}

func tenantGroups() []Group {
	sealed := map[string]any{"ciphertext": "vault:v1:cHJvYmU="}
	use := func(name, why, operation string, body map[string]any, who ...Component) Group {
		path := secrets.TenantMount + "/" + operation
		return Group{
			Name: name, Why: why, Who: who,
			Rules:  []Rule{{Path: path + anyTenant, Capabilities: []string{"update"}}},
			Probes: []Probe{{Method: "PUT", Path: path + probed, Body: body}},
		}
	}
	keys := secrets.TenantMount + "/keys"
	return []Group{
		use("make data keys", "make data keys for new records", "datakey/plaintext", nil, Gateway, Recorder),
		use("unwrap data keys", "open data keys of records", "decrypt", sealed, Gateway, Recorder),
		use("rewrap data keys", "renew the wrapping without seeing the key", "rewrap", sealed, Gateway, Recorder, Operator),
		{
			Name: "add and rotate tenant keys", Why: "make a tenant's key and new versions of it, never an exportable one",
			Rules: []Rule{
				{
					Path: keys + anyTenant, Capabilities: []string{"create", "update"},
					Parameters: map[string][]string{"type": {"aes256-gcm96"}},
				},
				{Path: keys + anyTenant + "/rotate", Capabilities: []string{"update"}},
			},
			Who: []Component{Operator},
			Probes: []Probe{
				{Method: "PUT", Path: keys + probed, Body: map[string]any{"type": "aes256-gcm96"}},
				{Method: "PUT", Path: keys + probed + "/rotate"},
			},
		},
		{
			Name: "list tenant keys", Why: "see which tenants have keys, and their versions",
			Rules: []Rule{
				{Path: keys, Capabilities: []string{"list"}},
				{Path: keys + anyTenant, Capabilities: []string{"read"}},
			},
			Who:    []Component{Operator, Auditor},
			Probes: []Probe{{Method: "LIST", Path: keys}, {Method: "GET", Path: keys + probed}},
		},
	}
}
