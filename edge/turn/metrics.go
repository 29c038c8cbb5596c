package turn

import "github.com/prometheus/client_golang/prometheus"

// direction is which way a relayed datagram goes.
type direction int

const (
	toPeer direction = iota
	fromPeer
	directions
)

func (d direction) String() string { return [directions]string{"to_peer", "from_peer"}[d] }

// metrics are what a relay exports. No label names a user or an address.
type metrics struct {
	allocations        prometheus.GaugeFunc
	allocationsMade    *prometheus.CounterVec
	allocationFailures *prometheus.CounterVec
	authFailures       *prometheus.CounterVec
	refusedPeers       prometheus.Counter
	connections        *prometheus.GaugeVec
	refusedConnections *prometheus.CounterVec
	handshakeFailures  prometheus.Counter
	allocationsRevoked prometheus.Counter
	revocationsDropped prometheus.Counter
	control            []prometheus.Collector

	relayedPackets, relayedBytes, droppedPackets *prometheus.CounterVec
	// The same by direction, looked up once: they are counted for each datagram.
	packets, bytes, dropped [directions]prometheus.Counter
}

func newMetrics(s *Server) *metrics {
	options := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "wardline", Subsystem: "turn", Name: name, Help: help}
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts(options(name, help)))
	}
	counters := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts(options(name, help)), []string{label})
	}
	gauge := func(name, help string, value func() int) prometheus.GaugeFunc {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts(options(name, help)), func() float64 { return float64(value()) })
	}
	m := &metrics{
		allocations:        gauge("allocations", "Allocations that exist.", func() int { return s.relays.count() }),
		allocationsMade:    counters("allocations_total", "Allocations made.", "transport"),
		allocationFailures: counters("allocation_failures_total", "Allocations refused to valid credentials.", "reason"),
		authFailures:       counters("auth_failures_total", "Requests with credentials that were refused.", "reason"),
		refusedPeers:       counter("refused_peers_total", "Permissions and channels refused because of their peer (403)."),
		connections: prometheus.NewGaugeVec(
			prometheus.GaugeOpts(options("connections", "Open client connections.")), []string{"transport"}),
		refusedConnections: counters("refused_connections_total", "Client connections beyond the limits.", "transport"),
		handshakeFailures:  counter("tls_handshake_failures_total", "Client connections whose TLS handshake failed."),
		allocationsRevoked: counter("allocations_revoked_total", "Allocations ended because their credential was revoked."),
		revocationsDropped: counter("revocations_dropped_total", "Revocations forgotten early because there were too many."),
		control: []prometheus.Collector{
			gauge("control_links", "Gateways connected.", s.control.Links),
			gauge("revocations", "Revocations in force.", func() int { return s.relays.countRevoked() }),
			prometheus.NewCounterFunc(
				prometheus.CounterOpts(options("control_frames_refused_total", "Frames of gateways that made no sense.")),
				func() float64 { return float64(s.control.Garbage() + s.misdirected.Load()) }),
		},
		relayedPackets: counters("relayed_packets_total", "Datagrams relayed.", "direction"),
		relayedBytes:   counters("relayed_bytes_total", "Payload bytes relayed.", "direction"),
		droppedPackets: counters("dropped_packets_total", "Datagrams dropped because of their peer.", "direction"),
	}
	for d := range directions {
		m.packets[d] = m.relayedPackets.WithLabelValues(d.String())
		m.bytes[d] = m.relayedBytes.WithLabelValues(d.String())
		m.dropped[d] = m.droppedPackets.WithLabelValues(d.String())
	}
	return m
}

func (m *metrics) register(registry prometheus.Registerer) error {
	for _, collector := range append([]prometheus.Collector{
		m.allocations, m.allocationsMade, m.allocationFailures, m.authFailures, m.refusedPeers,
		m.connections, m.refusedConnections, m.handshakeFailures,
		m.relayedPackets, m.relayedBytes, m.droppedPackets, m.allocationsRevoked, m.revocationsDropped,
	}, m.control...) {
		if err := registry.Register(collector); err != nil {
			return err
		}
	}
	return nil
}
