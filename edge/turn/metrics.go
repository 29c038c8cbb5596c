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

	relayedPackets, relayedBytes, droppedPackets *prometheus.CounterVec
	// The same by direction, looked up once: they are counted for each datagram.
	packets, bytes, dropped [directions]prometheus.Counter
}

func newMetrics(allocations func() float64) *metrics {
	options := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "wardline", Subsystem: "turn", Name: name, Help: help}
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts(options(name, help)))
	}
	counters := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts(options(name, help)), []string{label})
	}
	m := &metrics{
		allocations: prometheus.NewGaugeFunc(
			prometheus.GaugeOpts(options("allocations", "Allocations that exist.")), allocations),
		allocationsMade:    counters("allocations_total", "Allocations made.", "transport"),
		allocationFailures: counters("allocation_failures_total", "Allocations refused to valid credentials.", "reason"),
		authFailures:       counters("auth_failures_total", "Requests with credentials that were refused.", "reason"),
		refusedPeers:       counter("refused_peers_total", "Permissions and channels refused because of their peer (403)."),
		connections: prometheus.NewGaugeVec(
			prometheus.GaugeOpts(options("connections", "Open client connections.")), []string{"transport"}),
		refusedConnections: counters("refused_connections_total", "Client connections beyond the limits.", "transport"),
		handshakeFailures:  counter("tls_handshake_failures_total", "Client connections whose TLS handshake failed."),
		relayedPackets:     counters("relayed_packets_total", "Datagrams relayed.", "direction"),
		relayedBytes:       counters("relayed_bytes_total", "Payload bytes relayed.", "direction"),
		droppedPackets:     counters("dropped_packets_total", "Datagrams dropped because of their peer.", "direction"),
	}
	for d := range directions {
		m.packets[d] = m.relayedPackets.WithLabelValues(d.String())
		m.bytes[d] = m.relayedBytes.WithLabelValues(d.String())
		m.dropped[d] = m.droppedPackets.WithLabelValues(d.String())
	}
	return m
}

func (m *metrics) register(registry prometheus.Registerer) error {
	for _, collector := range []prometheus.Collector{
		m.allocations, m.allocationsMade, m.allocationFailures, m.authFailures, m.refusedPeers,
		m.connections, m.refusedConnections, m.handshakeFailures,
		m.relayedPackets, m.relayedBytes, m.droppedPackets,
	} {
		if err := registry.Register(collector); err != nil {
			return err
		}
	}
	return nil
}
