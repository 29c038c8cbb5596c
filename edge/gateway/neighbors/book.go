package neighbors

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/secrets"
)

const (
	// askTimeout bounds one request, so that a region that is slow or gone holds nothing up.
	askTimeout = 2 * time.Second
	// askEvery is how often a neighbor is asked for its roster secret: sooner than a rotated one is used.
	askEvery = 30 * time.Second
	// retry and retryMost are the rest after a neighbor did not answer, which doubles.
	retry, retryMost = time.Second, 15 * time.Second
	// leftAtLeast is how long a credential must still work to be handed out.
	leftAtLeast = 10 * time.Minute
	// renewAt is what is left of a standby credential when it is replaced: a visit's worth.
	renewAt = CredentialTTL / 2
	// standbys are for those whose own credential is not there, as when a region's gateways are lost and its relays are
	// not. A relay takes 64 allocations on each.
	standbys = 16
	// maxWanted and maxHeld bound what is asked for and kept of one region; beyond that there are the standbys.
	maxWanted, maxHeld = 1024, 16 << 10
	// maxNeighbors bounds the regions.
	maxNeighbors = 64
)

// Config is what a Book needs.
type Config struct {
	// Region is the own one.
	Region string
	// TLS presents this gateway and accepts gateways only.
	TLS *tls.Config
	// Changed, if not nil, is called after a roster secret changed.
	Changed func()
	Log     zerolog.Logger
}

// Book is what is known of the neighbors: everything is asked for ahead of time, so that taking it never waits. Safe for
// concurrent use.
type Book struct {
	Config
	http *http.Client
	now  func() time.Time

	mu        sync.Mutex
	neighbors map[string]*neighbor
}

// Credential is a TURN credential.
type Credential struct {
	Username, Password string
	Expires            time.Time
}

// neighbor is another region. The book's mutex guards it.
type neighbor struct {
	region string
	// gateways are the addresses to ask, the best first.
	gateways []string
	// wanted are ids to ask for; wake tells that there are some.
	wanted  map[string]bool
	wake    chan struct{}
	held    map[string]Credential
	standby []Credential
	next    int
	roster  secrets.Shared
}

// New makes an empty book.
func New(config Config) *Book {
	return &Book{
		Config: config, now: time.Now, neighbors: make(map[string]*neighbor),
		http: &http.Client{Timeout: askTimeout, CheckRedirect: stay, Transport: &http.Transport{
			TLSClientConfig: config.TLS, TLSHandshakeTimeout: askTimeout, MaxIdleConnsPerHost: 1, IdleConnTimeout: 2 * askEvery,
		}},
	}
}

func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Follow asks the neighbors that the catalog shows until ctx ends.
func (b *Book) Follow(ctx context.Context, catalog discovery.Catalog) {
	var asking sync.WaitGroup
	for services := range catalog.WatchServices(ctx, discovery.GatewayService) {
		for _, n := range b.set(services) {
			asking.Go(func() { b.ask(ctx, n) })
		}
	}
	asking.Wait()
	b.http.CloseIdleConnections()
}

// set takes in where gateways are and returns the regions that are new.
func (b *Book) set(services []discovery.Service) (fresh []*neighbor) {
	addresses := make(map[string][]discovery.Service)
	for _, s := range services {
		if s.Region != b.Region && s.Meta[discovery.MetaInternal] != "" {
			addresses[s.Region] = append(addresses[s.Region], s)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for region, found := range addresses {
		n := b.neighbors[region]
		if n == nil {
			if len(b.neighbors) >= maxNeighbors {
				continue
			}
			n = &neighbor{
				region: region, wanted: make(map[string]bool), wake: make(chan struct{}, 1), held: make(map[string]Credential),
			}
			b.neighbors[region] = n
			fresh = append(fresh, n)
		}
		slices.SortStableFunc(found, func(a, b discovery.Service) int { return cmp.Compare(trouble(a), trouble(b)) })
		n.gateways = n.gateways[:0:0]
		for _, s := range found {
			n.gateways = append(n.gateways, s.Meta[discovery.MetaInternal])
		}
	}
	return fresh
}

// trouble orders gateways: those that serve first. The others are asked too, since they may answer.
func trouble(s discovery.Service) int {
	switch {
	case s.Health == discovery.Critical:
		return 2
	case s.Maintenance:
		return 1
	}
	return 0
}

// Want has credentials for an id made in all other regions.
func (b *Book) Want(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	for _, n := range b.neighbors {
		if held, found := n.held[id]; found && held.Expires.Sub(now) > renewAt || len(n.wanted) >= maxWanted {
			continue
		}
		n.wanted[id] = true
		select {
		case n.wake <- struct{}{}:
		default:
		}
	}
}

// Credential returns a credential for the relays of a region: that of the id, or a standby where there is none yet. It
// reports false where there is neither.
func (b *Book) Credential(region, id string) (Credential, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.neighbors[region]
	if n == nil {
		return Credential{}, false
	}
	now := b.now()
	good := func(c Credential) bool { return c.Expires.Sub(now) > leftAtLeast }
	if held, found := n.held[id]; found && good(held) {
		return held, true
	}
	for range n.standby {
		n.next++
		if one := n.standby[n.next%len(n.standby)]; good(one) {
			return one, true
		}
	}
	return Credential{}, false
}

// Rosters returns the roster secrets of other regions, ordered by name of the region.
func (b *Book) Rosters() []secrets.Shared {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []secrets.Shared
	for _, region := range slices.Sorted(maps.Keys(b.neighbors)) {
		if roster := b.neighbors[region].roster; len(roster.Current) > 0 {
			all = append(all, roster)
		}
	}
	return all
}

// batch takes up to a request's worth of wanted ids, and as many standbys as are due.
func (b *Book) batch(n *neighbor) (ids []string, spare int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if len(n.standby) == 0 || n.standby[0].Expires.Sub(now) <= renewAt {
		for range standbys {
			ids = append(ids, "standby-"+rand.Text())
		}
		spare = standbys
	}
	for id := range n.wanted {
		if len(ids) == maxIDs {
			break
		}
		ids = append(ids, id)
		delete(n.wanted, id)
	}
	return ids, spare
}

// take takes in an answer to a batch.
func (b *Book) take(n *neighbor, ids []string, spare int, told answer) (rosterChanged bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	maps.DeleteFunc(n.held, func(_ string, c Credential) bool { return c.Expires.Sub(now) <= leftAtLeast })
	fresh := make([]Credential, 0, len(ids))
	for _, one := range told.Credentials {
		fresh = append(fresh, Credential{one.Username, one.Password, told.Expires})
	}
	if spare > 0 {
		n.standby = fresh[:spare]
	}
	for i, id := range ids[spare:] {
		if len(n.held) < maxHeld {
			n.held[id] = fresh[spare+i]
		}
	}
	rosterChanged = !bytes.Equal(n.roster.Current, told.Roster.Current)
	n.roster = told.Roster
	return rosterChanged
}

// putBack wants again what a request failed to get.
func (b *Book) putBack(n *neighbor, ids []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		if len(n.wanted) < maxWanted {
			n.wanted[id] = true
		}
	}
}

func (b *Book) gatewaysOf(n *neighbor) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return n.gateways
}
