// Package plan says what a world consists of: its regions, their nodes and every address. Pure.
package plan

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
)

// ErrInvalid says that a world cannot be laid out as asked.
var ErrInvalid = errors.New("invalid world")

// MaxRegions is how many regions fit into a world's /16.
const MaxRegions = 9

// Kind is what a node is for.
type Kind string

// Kinds of nodes. A guest runs no agent: it is where a participant's client lives.
const (
	Server  Kind = "server"
	Gateway Kind = "gateway"
	Media   Kind = "media"
	Relay   Kind = "relay"
	Guest   Kind = "guest"
)

// Pools are the Nomad node pools of a world.
func Pools() []string { return []string{string(Gateway), string(Media), string(Relay)} }

// Last octet of the first node of a kind, and how many may follow it.
var octets = map[Kind]int{Server: 10, Gateway: 21, Media: 31, Relay: 41, Guest: 101}

const maxPerKind = 9

// Node is one machine of the world.
type Node struct {
	Name   string     `json:"name"`
	Region string     `json:"region"`
	Kind   Kind       `json:"kind"`
	Addr   netip.Addr `json:"addr"`
}

// Pool is the Nomad node pool the node belongs to, empty for nodes without a Nomad client.
func (n Node) Pool() string {
	if !n.Client() {
		return ""
	}
	return string(n.Kind)
}

// Client says whether the node runs a Nomad client.
func (n Node) Client() bool { return n.Kind != Server && n.Kind != Guest }

// Agents says whether the node runs Consul and Nomad at all.
func (n Node) Agents() bool { return n.Kind != Guest }

// Region is one Consul datacenter and Nomad region with a network of its own.
type Region struct {
	Name   string       `json:"name"`
	Prefix netip.Prefix `json:"prefix"`
	// Router is the address of the region's way out.
	Router netip.Addr `json:"router"`
	// Bridge is the name of the region's switch on the router.
	Bridge string `json:"bridge"`
	Nodes  []Node `json:"nodes"`
}

// Server is the node that runs the region's Consul and Nomad servers.
func (r Region) Server() Node { return r.Nodes[0] }

// Plan is a whole world. The first region is Consul's primary datacenter and Nomad's authoritative region.
type Plan struct {
	// Number is the second octet of every address, 10.Number.0.0/16.
	Number  int      `json:"number"`
	Regions []Region `json:"regions"`
}

// Shape is how many nodes of a kind each region gets.
type Shape struct{ Gateways, Media, Relays, Guests int }

// Standard is the shape of a region unless told otherwise.
func Standard() Shape { return Shape{Gateways: 2, Media: 2, Relays: 1, Guests: 1} }

var regionName = regexp.MustCompile(`^[a-z][a-z0-9]{0,14}$`)

// New lays out a world. In a world of three regions or more the first one has a second relay, so that a
// relayed participant can change relays within a region.
func New(number int, regions []string, shape Shape) (Plan, error) {
	if number < 1 || number > 254 {
		return Plan{}, fmt.Errorf("%w: number %d: allowed are 1 to 254", ErrInvalid, number)
	}
	if len(regions) < 1 || len(regions) > MaxRegions {
		return Plan{}, fmt.Errorf("%w: %d regions: allowed are 1 to %d", ErrInvalid, len(regions), MaxRegions)
	}
	p := Plan{Number: number}
	for i, name := range regions {
		if !regionName.MatchString(name) || slices.Contains(regions[:i], name) {
			return Plan{}, fmt.Errorf("%w: region %q: names are unique and match %s", ErrInvalid, name, regionName)
		}
		own := shape
		if i == 0 && len(regions) >= 3 && own.Relays == 1 {
			own.Relays = 2
		}
		region, err := layOut(number, i+1, name, own)
		if err != nil {
			return Plan{}, err
		}
		p.Regions = append(p.Regions, region)
	}
	return p, nil
}

func layOut(number, index int, name string, shape Shape) (Region, error) {
	address := func(last int) netip.Addr {
		return netip.AddrFrom4([4]byte{10, byte(number), byte(index), byte(last)})
	}
	r := Region{
		Name: name, Prefix: netip.PrefixFrom(address(0), 24), Router: address(1), Bridge: fmt.Sprintf("br%d", index),
		Nodes: []Node{{Name: name + "-server", Region: name, Kind: Server, Addr: address(octets[Server])}},
	}
	for _, group := range []struct {
		kind  Kind
		count int
	}{{Gateway, shape.Gateways}, {Media, shape.Media}, {Relay, shape.Relays}, {Guest, shape.Guests}} {
		if group.count < 0 || group.count > maxPerKind {
			return Region{}, fmt.Errorf("%w: %d %s nodes: allowed are 0 to %d", ErrInvalid, group.count, group.kind, maxPerKind)
		}
		for i := range group.count {
			r.Nodes = append(r.Nodes, Node{
				Name: fmt.Sprintf("%s-%s-%d", name, group.kind, i+1), Region: name, Kind: group.kind,
				Addr: address(octets[group.kind] + i),
			})
		}
	}
	return r, nil
}

// Network is the prefix all addresses of the world share.
func (p Plan) Network() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(p.Number), 0, 0}), 16)
}

// Host is the address of this machine in the world.
func (p Plan) Host() netip.Addr { return netip.AddrFrom4([4]byte{10, byte(p.Number), 0, 1}) }

// Router is the router's address towards this machine.
func (p Plan) Router() netip.Addr { return netip.AddrFrom4([4]byte{10, byte(p.Number), 0, 2}) }

// Region finds a region by its name.
func (p Plan) Region(name string) (Region, bool) {
	i := slices.IndexFunc(p.Regions, func(r Region) bool { return r.Name == name })
	if i < 0 {
		return Region{}, false
	}
	return p.Regions[i], true
}

// Nodes lists all nodes, region by region, the server first.
func (p Plan) Nodes() []Node {
	var nodes []Node
	for _, r := range p.Regions {
		nodes = append(nodes, r.Nodes...)
	}
	return nodes
}

// Names lists the regions.
func (p Plan) Names() []string {
	names := make([]string, 0, len(p.Regions))
	for _, r := range p.Regions {
		names = append(names, r.Name)
	}
	return names
}

// Targets resolves the name of a node or region to the nodes it means.
func (p Plan) Targets(name string) ([]Node, error) {
	if r, ok := p.Region(name); ok {
		return r.Nodes, nil
	}
	for _, n := range p.Nodes() {
		if n.Name == name {
			return []Node{n}, nil
		}
	}
	return nil, fmt.Errorf("%w: no node or region %q: regions are %v, nodes REGION-KIND-N and REGION-server", ErrInvalid, name, p.Names())
}
