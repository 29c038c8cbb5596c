package gateway

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/wardline/wardline/edge/gateway/sfulink"
)

// metrics are what the gateway counts. Labels come from fixed sets: codes, message types, phases.
type metrics struct {
	clients    prometheus.Gauge
	joins      *prometheus.CounterVec
	placements *prometheus.CounterVec
	cut        *prometheus.CounterVec
	fromClient *prometheus.CounterVec
	toClient   *prometheus.CounterVec
	fromSFU    *prometheus.CounterVec
	toSFU      *prometheus.CounterVec
	failovers  prometheus.Counter
	links      *prometheus.Desc
	relayLinks *prometheus.Desc
	server     *Server
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "wardline", Subsystem: "gateway", Name: name, Help: help}, labels)
}

func newMetrics(registry prometheus.Registerer, s *Server) (*metrics, error) {
	gauge := func(name, help string, value func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "wardline", Subsystem: "gateway", Name: name, Help: help},
			func() float64 { return float64(value()) })
	}
	m := &metrics{
		clients: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "wardline", Subsystem: "gateway", Name: "clients", Help: "Browsers with a signaling socket.",
		}),
		joins:      counter("joins_total", "Joins by result: ok, resumed or the code of the refusal.", "code"),
		placements: counter("placements_total", "Placements by step and result.", "step", "result"),
		cut:        counter("clients_cut_total", "Clients cut, by reason.", "reason"),
		fromClient: counter("client_messages_received_total", "Messages from clients by type.", "type"),
		toClient:   counter("client_messages_sent_total", "Messages to clients by type.", "type"),
		fromSFU:    counter("sfu_frames_received_total", "Frames from SFUs by type.", "type"),
		toSFU:      counter("sfu_frames_sent_total", "Frames to SFUs by type.", "type"),
		failovers: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "wardline", Subsystem: "gateway", Name: "sfus_lost_total", Help: "Times an SFU counted as dead.",
		}),
		links:      prometheus.NewDesc("wardline_gateway_links", "Control channels to SFUs by phase.", []string{"phase"}, nil),
		relayLinks: prometheus.NewDesc("wardline_gateway_relay_links", "Control channels to relays by phase.", []string{"phase"}, nil),
		server:     s,
	}
	for _, c := range []prometheus.Collector{
		m.clients, m.joins, m.placements, m.cut, m.fromClient, m.toClient, m.fromSFU, m.toSFU, m.failovers, m,
		gauge("relay_revocations", "Revocations that relays are told when they come back.", s.turns.Revocations),
		gauge("relay_revocations_unacknowledged", "Revocations that relays were told and have not confirmed.", s.turns.Unacknowledged),
	} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Describe implements prometheus.Collector for the links.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	out <- m.links
	out <- m.relayLinks
}

// Collect implements prometheus.Collector for the links.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	for desc, counts := range map[*prometheus.Desc]map[sfulink.Phase]int{
		m.links: m.server.links.Links(), m.relayLinks: m.server.turns.Phases(),
	} {
		for _, phase := range []sfulink.Phase{sfulink.Dialing, sfulink.Up, sfulink.Dead} {
			out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(counts[phase]), string(phase))
		}
	}
}
