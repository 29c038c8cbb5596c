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

// Bounds of what gateways announce.
const (
	// Trust is how long an announced address is allowed that the catalog does not show: far longer than catalogs take.
	Trust = 30 * time.Second
	// Distrust is how long after that it cannot be announced again.
	Distrust = 10 * time.Minute
	// MaxAnnounced is how many announced addresses that the catalog does not show are kept, allowed or not.
	MaxAnnounced = 64
	// minPort is the lowest port of an announced address: those below belong to other services of a hospital.
	minPort = 1024
)

// Set is safe for concurrent use.
type Set struct {
	relay netip.Addr
	fixed map[netip.AddrPort]bool
	now   func() time.Time

	mu sync.RWMutex
	// servers maps each known media address to when it left the catalog, zero while it is there.
	servers map[netip.AddrPort]time.Time
	// announced maps each address that only gateways know to when that was said first.
	announced map[netip.AddrPort]time.Time
}

// New makes a set for a relay whose media leaves from an address. It allows the given IP:PORT peers for good.
func New(relay netip.Addr, allow []string, now func() time.Time) (*Set, error) {
	s := &Set{
		relay: relay.Unmap(), fixed: make(map[netip.AddrPort]bool), now: now,
		servers: make(map[netip.AddrPort]time.Time), announced: make(map[netip.AddrPort]time.Time),
	}
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
		return s.known(peer) || s.trusted(peer)
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
	for said := range s.announced {
		if said.Addr() == peer.Addr() && s.trusted(said) {
			return true
		}
	}
	return false
}

// known reports whether an address is allowed without anybody's word; the caller holds the lock.
func (s *Set) known(peer netip.AddrPort) bool {
	_, server := s.servers[peer]
	return server || s.fixed[peer]
}

// trusted reports whether an address is allowed on a gateway's word; the caller holds the lock.
func (s *Set) trusted(peer netip.AddrPort) bool {
	since, said := s.announced[peer]
	return said && s.now().Sub(since) < Trust
}

// Announced takes addresses of media servers on a gateway's word, which the catalog may not show yet, and returns those
// that are allowed now. An address is trusted for the time of Trust; if the catalog has not shown it by then it lapses, so
// that a gateway in wrong hands opens little, and not for long.
func (s *Set) Announced(addresses []netip.AddrPort) (allowed []netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetLapsed()
	for _, peer := range addresses {
		peer = unmap(peer)
		_, said := s.announced[peer]
		if !said && !s.known(peer) && s.plausible(peer.Addr()) && peer.Port() >= minPort && len(s.announced) < MaxAnnounced {
			s.announced[peer] = s.now()
		}
		if s.known(peer) || s.trusted(peer) {
			allowed = append(allowed, peer)
		}
	}
	return allowed
}

func (s *Set) forgetLapsed() {
	for peer, since := range s.announced {
		if s.now().Sub(since) >= Trust+Distrust {
			delete(s.announced, peer)
		}
	}
}

// plausible reports whether a media server can have the address, whoever says so: no multicast, nothing link-local, which is
// also where clouds keep secrets, and no loopback, which would lead to the relay's own machine, unless its media leaves from there.
func (s *Set) plausible(peer netip.Addr) bool {
	return peer.IsGlobalUnicast() || peer.IsLoopback() && s.relay.IsLoopback()
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
			if peer, err := netip.ParseAddrPort(media); err == nil && s.plausible(peer.Addr().Unmap()) {
				s.servers[unmap(peer)] = time.Time{}
				delete(s.announced, unmap(peer))
			}
		}
	}
}

func unmap(peer netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
}
