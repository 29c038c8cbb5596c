package gateway

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/placement"
	"github.com/wardline/wardline/edge/gateway/sfulink"
)

const (
	// pruneEvery is how often links that nobody wants are looked for, linkIdle how long they are kept.
	pruneEvery = 5 * time.Second
	linkIdle   = time.Minute
)

// fleet is the media servers that the catalog shows, kept at hand: a failover cannot wait for a catalog, least of
// all when the region that keeps it is what failed.
type fleet struct {
	catalog discovery.Catalog

	mu       sync.Mutex
	known    []discovery.Service
	controls map[string]string // last known control address by SFU
}

func newFleet(catalog discovery.Catalog) *fleet {
	return &fleet{catalog: catalog, controls: make(map[string]string)}
}

// follow keeps the fleet known until ctx ends; changed is called after each change.
func (f *fleet) follow(ctx context.Context, changed func()) {
	for services := range f.catalog.WatchServices(ctx, discovery.SFUService) {
		f.set(services)
		changed()
	}
}

func (f *fleet) set(services []discovery.Service) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known = services
	for _, s := range services {
		f.controls[s.ID] = s.Meta[discovery.MetaControl]
	}
}

// list is the fleet as the catalog showed it last.
func (f *fleet) list() []discovery.Service {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.known)
}

// Services implements placement.Catalog. Only while nothing is known is the catalog itself asked.
func (f *fleet) Services(ctx context.Context, name string) ([]discovery.Service, error) {
	if known := f.list(); len(known) > 0 {
		return known, nil
	}
	return f.catalog.Services(ctx, name)
}

// resolve finds an SFU's control address. One that left the catalog may still carry calls, so that the last known
// address counts.
func (f *fleet) resolve(ctx context.Context, sfu string) (string, error) {
	if address := f.control(sfu); address != "" {
		return address, nil
	}
	services, err := f.catalog.Services(ctx, discovery.SFUService)
	if err != nil {
		return "", err
	}
	for _, s := range services {
		if address := s.Meta[discovery.MetaControl]; s.ID == sfu && address != "" {
			return address, nil
		}
	}
	return "", fmt.Errorf("%w: media server %s", discovery.ErrNotFound, sfu)
}

func (f *fleet) control(sfu string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.controls[sfu]
}

// fleetChanged reaches SFUs that came, and announces them to relays.
func (s *Server) fleetChanged() {
	s.warm()
	media := make(map[string][]netip.AddrPort)
	for _, sfu := range s.fleet.list() {
		for text := range strings.SplitSeq(sfu.Meta[discovery.MetaMedia], ",") {
			if address, err := netip.ParseAddrPort(text); err == nil {
				media[sfu.ID] = append(media[sfu.ID], netip.AddrPortFrom(address.Addr().Unmap(), address.Port()))
			}
		}
	}
	s.turns.SetMedia(media)
}

// warm has a link to every SFU in service of the own region, so that its load is known and a visit waits for no
// dial; one that has just come back is dialed at once.
func (s *Server) warm() {
	for _, sfu := range s.fleet.list() {
		if sfu.Region == s.Region && !sfu.Maintenance && sfu.Health != discovery.Critical {
			s.links.Ensure(sfu.ID)
		}
	}
}

// prune drops links to SFUs that neither the own region's catalog shows nor a visit needs.
func (s *Server) prune() {
	wanted := make(map[string]bool)
	for _, sfu := range s.fleet.list() {
		wanted[sfu.ID] = sfu.Region == s.Region
	}
	for _, v := range s.allViews() {
		for _, sfu := range v.sfus() {
			wanted[sfu] = true
		}
	}
	s.links.Prune(func(sfu string) bool { return wanted[sfu] }, linkIdle)
}

// knownOf is what the control channel says about an SFU.
func (s *Server) knownOf(sfu string) placement.Known {
	state := s.links.State(sfu)
	load, heard := s.links.Load(sfu)
	return placement.Known{
		Load: load, Heard: heard, Dead: state.Phase == sfulink.Dead, Draining: state.Phase == sfulink.Up && !state.Draining.IsZero(),
	}
}
