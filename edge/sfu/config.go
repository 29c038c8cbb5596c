// Package sfu is the media server: participants publish to it and receive each other from it over
// WebRTC, and gateways tell it, on the control channel, who may.
//
// A Server hosts rooms (one an encounter). A room has legs: one participant's session on this server,
// with a publisher and a subscriber, a peer connection each. A publisher has tracks, a track has layers
// (simulcast), a layer has a ring of packets. A subscriber has down tracks, each fed by one layer.
package sfu

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/wardline/wardline/core/signaling"
)

// Config is everything a Server needs.
type Config struct {
	// ID is the service id, Version the build.
	ID, Version string
	// Control is where gateways connect (plain TCP; the server adds TLS with ControlTLS, which should
	// demand a client certificate). The server closes it.
	Control    net.Listener
	ControlTLS *tls.Config
	// Media is the HOST:PORT of the media socket, for UDP and TCP alike. Port 0 picks one.
	Media string
	// Advertise lists the IP addresses to announce to clients. Empty means the host of Media, or every
	// address of this machine if that is unspecified.
	Advertise []string
	// Capacity is how many participants are taken; at least 1.
	Capacity int
	// OrphanAfter is how long a browser leg outlives its gateway. Zero means signaling.OrphanMs.
	OrphanAfter time.Duration
	// ReserveFor is how long a reservation waits for an attach. Zero means 30 s.
	ReserveFor time.Duration
	// DeadAfter is how long a connected client may be out of reach before its leg ends. Zero means 30 s.
	DeadAfter time.Duration
	// Registry takes the metrics; nil means none are kept.
	Registry prometheus.Registerer
	Log      zerolog.Logger
}

// overload is how far beyond its capacity a server goes for encounters that it hosts already.
const overload = 1.25

func (c Config) withDefaults() Config {
	c.OrphanAfter = orDefault(c.OrphanAfter, signaling.OrphanMs*time.Millisecond)
	c.ReserveFor = orDefault(c.ReserveFor, 30*time.Second)
	c.DeadAfter = orDefault(c.DeadAfter, 30*time.Second)
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	return c
}

func orDefault(value, fallback time.Duration) time.Duration {
	if value == 0 {
		return fallback
	}
	return value
}

func (c Config) validate() error {
	switch {
	case !signaling.ValidID(c.ID):
		return fmt.Errorf("id %.70q: must be 1 to 64 letters, digits, '.', '_' or '-'", c.ID)
	case c.Control == nil:
		return errors.New("control listener: missing")
	case c.ControlTLS == nil:
		return errors.New("control TLS configuration: missing")
	case c.Capacity < 1:
		return fmt.Errorf("capacity %d: must be at least 1", c.Capacity)
	}
	return nil
}

// advertised returns the addresses to announce for a media socket bound to host.
func (c Config) advertised(host netip.Addr) ([]netip.Addr, error) {
	if len(c.Advertise) > 0 {
		addresses := make([]netip.Addr, 0, len(c.Advertise))
		for _, text := range c.Advertise {
			address, err := netip.ParseAddr(text)
			if err != nil || address.IsUnspecified() {
				return nil, fmt.Errorf("advertise %.64q: must be an IP address that clients can reach", text)
			}
			addresses = append(addresses, address.Unmap())
		}
		return addresses, nil
	}
	if !host.IsUnspecified() {
		return []netip.Addr{host}, nil
	}
	return interfaceAddresses(host)
}

// interfaceAddresses lists this machine's addresses that a socket bound to the unspecified address host
// answers on.
func interfaceAddresses(host netip.Addr) ([]netip.Addr, error) {
	found, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list interface addresses: %w", err)
	}
	var addresses []netip.Addr
	for _, each := range found {
		prefix, err := netip.ParsePrefix(each.String())
		if err != nil {
			continue
		}
		address := prefix.Addr().Unmap()
		if address.IsLinkLocalUnicast() || host.Is4() && address.Is6() {
			continue
		}
		addresses = append(addresses, address)
	}
	if len(addresses) == 0 {
		return nil, errors.New("no usable interface address to announce")
	}
	return addresses, nil
}
