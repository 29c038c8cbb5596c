package sfu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"

	pion "github.com/pion/transport/v5"
	"github.com/pion/transport/v5/stdnet"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/wardline/wardline/edge/sfu/mux"
	"github.com/wardline/wardline/edge/udp"
)

// sockets are the one UDP and the one TCP port that all media passes.
type sockets struct {
	udp        *mux.Mux
	tcp        *tcpMux
	port       netip.AddrPort
	advertised []netip.Addr
}

// portTries is how often a free port is looked for that both UDP and TCP can have.
const portTries = 16

// listenMedia binds the media port for UDP and TCP.
func listenMedia(cfg Config, awake func()) (*sockets, error) {
	var err error
	for range portTries {
		var s *sockets
		if s, err = tryListenMedia(cfg, awake); err == nil {
			return s, nil
		}
		if _, port, _ := net.SplitHostPort(cfg.Media); port != "0" {
			break
		}
	}
	return nil, err
}

func tryListenMedia(cfg Config, awake func()) (*sockets, error) {
	port, err := udp.Listen(context.Background(), cfg.Media, udp.Config{
		Shards: min(runtime.GOMAXPROCS(0), maxShards), Patient: feedbackPrefixes, Log: cfg.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("media %q: %w", cfg.Media, err)
	}
	address := port.LocalAddr()
	advertised, err := cfg.advertised(address.Addr())
	if err != nil {
		return nil, errors.Join(err, port.Close())
	}
	var listen net.ListenConfig
	connections, err := listen.Listen(context.Background(), "tcp", address.String())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("media %q: %w", cfg.Media, err), port.Close())
	}
	announce := make([]netip.AddrPort, 0, len(advertised))
	for _, each := range advertised {
		announce = append(announce, netip.AddrPortFrom(each, address.Port()))
	}
	return &sockets{
		udp:        mux.New(port, announce, awake),
		tcp:        newTCPMux(newClientListener(connections, connectionLimits(cfg.Capacity), cfg.Log), cfg.Log),
		port:       address,
		advertised: advertised,
	}, nil
}

// register exports what the UDP port counts.
func (s *sockets) register(registry prometheus.Registerer) error {
	counter := func(name, help string, value func() uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: "wardline", Subsystem: "sfu", Name: name, Help: help,
		}, func() float64 { return float64(value()) })
	}
	for _, c := range []prometheus.Collector{
		s.udp.Collector("sfu"),
		counter("udp_unrouted_total", "Received datagrams that belong to no connection.", s.udp.Unrouted),
		counter("udp_overflow_total", "Received datagrams dropped because their connection did not read.", s.udp.Overflow),
		counter("tcp_refused_total", "TCP connections beyond the limits, or cut because no client was known on them in time.",
			s.tcp.clients.refused.Load),
	} {
		if err := registry.Register(c); err != nil {
			return fmt.Errorf("register metric: %w", err)
		}
	}
	return nil
}

func (s *sockets) close() error { return errors.Join(s.udp.Close(), s.tcp.Close()) }

// maxShards bounds the sockets of the media port. Each batches on its own, so that more of them than it
// takes to keep up make smaller batches.
const maxShards = 8

// feedbackPrefixes are how RTCP packets begin that are most of what subscribers send, and say nothing urgent: what arrived in the last
// 50 to 250 ms (type 205, format 15: draft-holmer-rmcat-transport-wide-cc-extensions-01), and receiver reports (type 201). Requests
// for packets and pictures are packets by themselves in browsers (RFC 5506); where they follow a report they wait with it.
var feedbackPrefixes = []udp.Prefix{{Mask: 0xdfff, Value: 0x8fcd}, {Mask: 0xc0ff, Value: 0x80c9}}

// announcedNet shows pion the advertised addresses as this machine's only ones.
type announcedNet struct {
	*stdnet.Net
	interfaces []*pion.Interface
}

func newAnnouncedNet(advertised []netip.Addr) (*announcedNet, error) {
	standard, err := stdnet.NewNet()
	if err != nil {
		return nil, fmt.Errorf("network: %w", err)
	}
	announced := pion.NewInterface(net.Interface{Index: 1, Name: "announced", Flags: net.FlagUp})
	for _, address := range advertised {
		announced.AddAddress(&net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(address.BitLen(), address.BitLen())})
	}
	return &announcedNet{Net: standard, interfaces: []*pion.Interface{announced}}, nil
}

// Interfaces implements transport.Net.
func (n *announcedNet) Interfaces() ([]*pion.Interface, error) { return n.interfaces, nil }
