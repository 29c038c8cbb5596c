package discovery

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/hashicorp/consul/api"
)

// consulService is the name under which Consul's servers are in their own catalog.
const consulService = "consul"

// maxRoutes is how many servers of a datacenter are remembered; Consul advises at most five.
const maxRoutes = 5

// ownAgent is the way to another datacenter through this node's agent and the own region's servers.
const ownAgent = ""

// consulRoutes are the ways to other datacenters, by which they are reached while the own region's servers are down:
// HOST:PORT of their servers, which were learned while things worked, and the own agent.
type consulRoutes struct {
	mu      sync.Mutex
	servers map[string][]string
	// answered is the way that answered last.
	answered map[string]string
}

func newConsulRoutes() *consulRoutes {
	return &consulRoutes{servers: make(map[string][]string), answered: make(map[string]string)}
}

// to returns the ways to a datacenter, best first: the one that answered last, servers, the own agent.
func (r *consulRoutes) to(datacenter string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	ways := append(slices.Clone(r.servers[datacenter]), ownAgent)
	if last, known := r.answered[datacenter]; known {
		if i := slices.Index(ways, last); i > 0 {
			ways = slices.Insert(slices.Delete(ways, i, i+1), 0, last)
		}
	}
	return ways
}

// learn replaces the servers of a datacenter; none are never better than some. The own agent is no longer preferred
// after this, so that servers which could not be reached for a while are tried again.
func (r *consulRoutes) learn(datacenter string, servers []string) {
	if len(servers) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.servers[datacenter] = servers
	if r.answered[datacenter] == ownAgent {
		delete(r.answered, datacenter)
	}
}

func (r *consulRoutes) worked(datacenter, way string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answered[datacenter] = way
}

// failed makes a way the last to be tried.
func (r *consulRoutes) failed(datacenter, way string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, known := r.answered[datacenter]; known && last == way {
		delete(r.answered, datacenter)
	}
	if servers := r.servers[datacenter]; len(servers) > 1 {
		if i := slices.Index(servers, way); i >= 0 {
			r.servers[datacenter] = append(slices.Delete(slices.Clone(servers), i, i+1), way)
		}
	}
}

// serverRoutes returns the HOST:PORT of a datacenter's servers, those that pass first. Addresses come from another
// datacenter's catalog: only plain ones of hosts are taken, and only a certificate for them gets a token.
func serverRoutes(entries []*api.ServiceEntry, port string) []string {
	type server struct {
		address string
		passing bool
	}
	var servers []server
	for _, entry := range entries {
		if entry == nil || entry.Node == nil {
			continue
		}
		address, ok := hostAddress(cmp.Or(entry.Node.TaggedAddresses["wan"], entry.Node.Address))
		if !ok || slices.ContainsFunc(servers, func(s server) bool { return s.address == address }) {
			continue
		}
		servers = append(servers, server{address, !slices.ContainsFunc(entry.Checks, failing)})
	}
	slices.SortStableFunc(servers, func(a, b server) int {
		switch {
		case a.passing == b.passing:
			return cmp.Compare(a.address, b.address)
		case a.passing:
			return -1
		default:
			return 1
		}
	})
	routes := make([]string, 0, maxRoutes)
	for _, s := range servers[:min(len(servers), maxRoutes)] {
		routes = append(routes, net.JoinHostPort(s.address, port))
	}
	return routes
}

func failing(check *api.HealthCheck) bool { return check != nil && check.Status != api.HealthPassing }

// hostAddress returns an IP address that a single host can have.
func hostAddress(text string) (string, bool) {
	address, err := netip.ParseAddr(text)
	address = address.Unmap()
	if err != nil || address.Zone() != "" || address.IsUnspecified() || address.IsMulticast() || address.IsLinkLocalUnicast() ||
		address == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return "", false
	}
	return address.String(), true
}
