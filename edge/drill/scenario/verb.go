package scenario

import "slices"

// Place is what a verb breaks.
type Place string

// Places.
const (
	// World verbs break the nodes of a world, from outside.
	World Place = "world"
	// Cluster verbs are what operators do to a cluster through Consul and Nomad.
	Cluster Place = "cluster"
)

// Need says whether an injection's second argument must be there.
type need int

const (
	none need = iota
	optional
	required
)

// Verb is a way to break something.
type Verb struct {
	Name  string
	Place Place
	// Does says what happens, with TARGET, PEER and PROCESS for the arguments.
	Does string
	// Undo says what heals it, empty if it heals by itself.
	Undo          string
	peer, process need
}

// Names of verbs.
const (
	Kill        = "kill"
	Pause       = "pause"
	Cut         = "cut"
	PowerOff    = "power-off"
	Seal        = "seal"
	Deny        = "deny"
	Maintenance = "maintenance"
	Drain       = "drain"
	Ineligible  = "ineligible"
	Restart     = "restart"
	Stop        = "stop"
)

var verbs = []Verb{
	{Kill, World, "end PROCESS on TARGET with SIGKILL", "start it again", none, required},
	{Pause, World, "stop PROCESS (or all) on TARGET without ending it", "continue it", none, optional},
	{Cut, World, "let packets between TARGET and PEER (or everybody) vanish", "let them through", optional, none},
	{PowerOff, World, "power TARGET off", "power it on", none, none},
	{Seal, World, "seal Vault on TARGET", "unseal it", none, none},
	{Deny, World, "have Vault on TARGET refuse component PROCESS (or all) everything: a policy mistake", "allow it again", none, optional},
	{Maintenance, Cluster, "put Consul node TARGET into maintenance mode", "take it out", none, none},
	{Drain, Cluster, "drain Nomad node TARGET", "end the drain and make it eligible", none, none},
	{Ineligible, Cluster, "make Nomad node TARGET ineligible", "make it eligible", none, none},
	{Restart, Cluster, "restart the allocations of Nomad job PROCESS on node TARGET", "", none, required},
	{Stop, Cluster, "stop the allocations of Nomad job PROCESS on node TARGET, which Nomad replaces", "", none, required},
}

// Verbs lists everything that can be injected.
func Verbs() []Verb { return slices.Clone(verbs) }

// FindVerb looks a verb up by its name.
func FindVerb(name string) (Verb, bool) {
	i := slices.IndexFunc(verbs, func(v Verb) bool { return v.Name == name })
	if i < 0 {
		return Verb{}, false
	}
	return verbs[i], true
}

func verbNames() []string {
	names := make([]string, 0, len(verbs))
	for _, v := range verbs {
		names = append(names, v.Name)
	}
	return names
}
