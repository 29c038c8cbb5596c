// Package peers is where a relay may forward to: Wardline's media servers and what the operator allows.
package peers

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/wardline/wardline/core/discovery"
)

// Linger is how long a media server that left the catalog stays allowed: a draining one is taken out of
// the catalog while it still carries calls, and a call may last for hours.
const Linger = 12 * time.Hour

// Set is safe for concurrent use.
type Set struct {
	fixed map[netip.AddrPort]bool
	now   func() time.Time

	mu sync.RWMutex
	// servers maps each known media address to when it left the catalog, zero while it is there.
	servers map[netip.AddrPort]time.Time
}

// New makes a set that allows the given IP:PORT peers for good.
func New(allow []string, now func() time.Time) (*Set, error) {
	s := &Set{fixed: make(map[netip.AddrPort]bool), now: now, servers: make(map[netip.AddrPort]time.Time)}
	for _, text := range allow {
		peer, err := netip.ParseAddrPort(text)
		if err != nil {
			return nil, fmt.Errorf("peer %q: must be IP:PORT", text)
		}
		s.fixed[unmap(peer)] = true
	}
	return s, nil
}

// Allowed reports whether a relay may exchange datagrams with the peer. A TURN permission (RFC 8656
// section 9) names an address only: port 0 asks whether any port of it is allowed.
func (s *Set) Allowed(peer netip.AddrPort) bool {
	peer = unmap(peer)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if peer.Port() != 0 {
		_, server := s.servers[peer]
		return server || s.fixed[peer]
	}
	for known := range s.fixed {
		if known.Addr() == peer.Addr() {
			return true
		}
	}
	for known := range s.servers {
		if known.Addr() == peer.Addr() {
			return true
		}
	}
	return false
}

// Follow keeps the set to the catalog's media servers, whatever their health, until ctx ends.
func (s *Set) Follow(ctx context.Context, catalog discovery.Catalog) {
	for services := range catalog.WatchServices(ctx, discovery.SFUService) {
		s.update(services)
	}
}

func (s *Set) update(services []discovery.Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for peer, left := range s.servers {
		switch {
		case left.IsZero():
			s.servers[peer] = now
		case now.Sub(left) > Linger:
			delete(s.servers, peer)
		}
	}
	for _, service := range services {
		for media := range strings.SplitSeq(service.Meta[discovery.MetaMedia], ",") {
			if peer, err := netip.ParseAddrPort(media); err == nil {
				s.servers[unmap(peer)] = time.Time{}
			}
		}
	}
}

func unmap(peer netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
}
