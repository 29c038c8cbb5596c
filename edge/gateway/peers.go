package gateway

import (
	"cmp"
	"context"
	"hash/fnv"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/signaling"
)

const (
	// maxPeersOfRegion keeps one large region from taking all the places in a client's list.
	maxPeersOfRegion = 3
	// maxOrigins bounds the origins in the pages' policy: each costs some 60 bytes a response.
	maxOrigins = 32
	// originsKept bounds the origins remembered of gateways that are gone, and for how long: as long as a visit may
	// go on in a page that came from one of them.
	originsKept, originKeptFor = 256, 24 * time.Hour
	// loadWithin bounds how long a catalog that does not answer holds up the start.
	loadWithin = 2 * time.Second
)

// peers are the gateways of all regions, kept at hand so that a welcome, a page's policy and a handshake never wait.
type peers struct {
	self signaling.Gateway
	now  func() time.Time

	mu    sync.Mutex
	known []peer
	// origins are those of all known gateways but this one, for the pages' policy.
	origins []string
	// gone is when the origins of gateways no longer known disappeared.
	gone map[string]time.Time
}

// peer is a gateway in the catalog.
type peer struct {
	signaling.Gateway
	// serving is set unless it is critical or in maintenance.
	serving bool
	// stale is set while its region does not answer: it may be lost.
	stale bool
}

// newPeers knows this gateway; its URL is "" if clients cannot be sent there.
func newPeers(id, region, url string, now func() time.Time) *peers {
	return &peers{
		self: signaling.Gateway{ID: id, Region: region, URL: signaling.Origin(url)},
		now:  now, gone: make(map[string]time.Time),
	}
}

// follow keeps the gateways known until ctx ends; changed is called after each change.
func (p *peers) follow(ctx context.Context, catalog discovery.Catalog, changed func()) {
	for services := range catalog.WatchServices(ctx, discovery.GatewayService) {
		p.set(services)
		changed()
	}
}

// load makes the gateways known before anybody asks; follow makes up for a catalog that does not answer.
func (p *peers) load(ctx context.Context, catalog discovery.Catalog) {
	ctx, cancel := context.WithTimeout(ctx, loadWithin)
	defer cancel()
	if services, err := catalog.Services(ctx, discovery.GatewayService); err == nil {
		p.set(services)
	}
}

// set takes the catalog's list. What no client could be sent to is left out.
func (p *peers) set(services []discovery.Service) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	for _, old := range p.known {
		p.gone[old.URL] = now
	}
	p.known = p.known[:0:0]
	for _, s := range services {
		origin := signaling.Origin(s.Meta[discovery.MetaURL])
		if !p.usable(origin) || !signaling.ValidID(s.ID) || !signaling.ValidID(s.Region) {
			continue
		}
		p.known = append(p.known, peer{
			Gateway: signaling.Gateway{ID: s.ID, Region: s.Region, URL: origin},
			serving: !s.Maintenance && s.Health != discovery.Critical,
			stale:   s.Stale,
		})
		delete(p.gone, origin)
	}
	p.forget(now)
	p.origins = p.listOrigins()
}

// usable reports whether pages of this gateway may be sent to an origin: never from https to http.
func (p *peers) usable(origin string) bool {
	return strings.HasPrefix(origin, "https://") ||
		strings.HasPrefix(origin, "http://") && strings.HasPrefix(p.self.URL, "http://")
}

// forget drops the origins that have been gone for too long, and the oldest of too many.
func (p *peers) forget(now time.Time) {
	maps.DeleteFunc(p.gone, func(_ string, since time.Time) bool { return now.Sub(since) > originKeptFor })
	oldest := slices.SortedFunc(maps.Keys(p.gone), func(a, b string) int { return p.gone[a].Compare(p.gone[b]) })
	for _, origin := range oldest[:max(0, len(oldest)-originsKept)] {
		delete(p.gone, origin)
	}
}

// listOrigins lists the other gateways' origins, those in service first.
func (p *peers) listOrigins() []string {
	var serving, rest []string
	for _, one := range p.known {
		switch {
		case one.URL == p.self.URL:
		case one.serving:
			serving = append(serving, one.URL)
		default:
			rest = append(rest, one.URL)
		}
	}
	slices.Sort(serving)
	slices.Sort(rest)
	all := slices.Concat(slices.Compact(serving), slices.Compact(rest))
	return all[:min(len(all), maxOrigins)]
}

// others returns the origins that a page of this gateway may connect to beside its own. The caller must not change it.
func (p *peers) others() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.origins
}

// knows reports whether an Origin header is that of a gateway, or of one that was there not long ago: its pages are
// still open when it is lost, and that is what the other gateways are for.
func (p *peers) knows(origin string) bool {
	origin = strings.ToLower(origin)
	if origin == "" {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	since, left := p.gone[origin]
	return left && p.now().Sub(since) <= originKeptFor ||
		slices.ContainsFunc(p.known, func(one peer) bool { return one.URL == origin })
}

// measured keeps the round-trip times to regions that there are: the rest is made up, and would stay in the record.
func (p *peers) measured(rtt map[string]float64) map[string]float64 {
	regions := map[string]bool{p.self.Region: true}
	for region := range p.regions(false) {
		regions[region] = true
	}
	known := maps.Clone(rtt)
	maps.DeleteFunc(known, func(region string, _ float64) bool { return !regions[region] })
	return known
}

// regions returns the base URLs of gateways by region, of those in service or of all.
func (p *peers) regions(serving bool) map[string][]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	urls := make(map[string][]string)
	for _, one := range p.known {
		if one.serving || !serving {
			urls[one.Region] = append(urls[one.Region], one.URL)
		}
	}
	return urls
}

// outlook is what the order of a client's gateways depends on.
type outlook struct {
	// Session spreads the clients of one gateway over the next ones.
	Session string
	// Allowed are the regions that policy allows, best first; empty means any.
	Allowed []string
	// RTT is the client's measured round-trip time to each region in milliseconds.
	RTT map[string]float64
}

// list returns the gateways for a client: this one, then others of its region, then those of other allowed regions by
// the client's round-trip time or, where that is not known, in the order of the policy. Regions that do not answer come last.
func (p *peers) list(client outlook) []signaling.Gateway {
	p.mu.Lock()
	known := slices.Clone(p.known)
	p.mu.Unlock()
	known = slices.DeleteFunc(known, func(one peer) bool {
		return !one.serving || one.URL == p.self.URL || one.ID == p.self.ID ||
			len(client.Allowed) > 0 && !slices.Contains(client.Allowed, one.Region)
	})
	slices.SortFunc(known, func(a, b peer) int {
		return cmp.Or(
			cmp.Compare(rank(a.stale), rank(b.stale)),
			p.compareRegions(client, a.Region, b.Region),
			cmp.Compare(lot(client.Session, a.ID), lot(client.Session, b.ID)), cmp.Compare(a.ID, b.ID),
		)
	})
	var list []signaling.Gateway
	if p.self.URL != "" {
		list = append(list, p.self)
	}
	taken, listed := make(map[string]int), make(map[string]bool)
	for _, one := range known {
		if len(list) == signaling.MaxGateways {
			break
		}
		if taken[one.Region] == maxPeersOfRegion || listed[one.URL] {
			continue
		}
		taken[one.Region]++
		listed[one.URL] = true
		list = append(list, one.Gateway)
	}
	return list
}

func (p *peers) compareRegions(client outlook, a, b string) int {
	if a == b {
		return 0
	}
	return cmp.Or(
		cmp.Compare(p.distance(client, a), p.distance(client, b)),
		cmp.Compare(position(client.Allowed, a), position(client.Allowed, b)),
		strings.Compare(a, b),
	)
}

// rank orders what is not before what is.
func rank(last bool) int {
	if last {
		return 1
	}
	return 0
}

// distance of a region in milliseconds: the own one first, unknown ones last.
func (p *peers) distance(client outlook, region string) float64 {
	if region == p.self.Region {
		return -1
	}
	if ms, ok := client.RTT[region]; ok {
		return ms
	}
	return math.Inf(1)
}

// position of a region in the order of the policy.
func position(allowed []string, region string) int {
	if i := slices.Index(allowed, region); i >= 0 {
		return i
	}
	return len(allowed)
}

// lot is what a session draws for a gateway, the same at each gateway.
func lot(session, gateway string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(session + "\x00" + gateway))
	return h.Sum64()
}
