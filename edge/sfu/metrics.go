package sfu

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the server's counters; none has a label that could name a person.
type metrics struct {
	packetsReceived, packetsForwarded prometheus.Counter
	packetsPoliced, packetsLeftOut    prometheus.Counter
	bytesReceived, bytesForwarded     prometheus.Counter
	nacksAnswered, nacksMissed        prometheus.Counter
	nacksThrottled                    prometheus.Counter
	plisSent, plisThrottled           prometheus.Counter
	probes, padding, paused           prometheus.Counter
	assignments                       prometheus.Counter
	refused                           *prometheus.CounterVec
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "wardline", Subsystem: "sfu", Name: name, Help: help})
}

// newMetrics registers the counters, and gauges that ask the server when they are scraped.
func newMetrics(registry prometheus.Registerer, s *Server) (*metrics, error) {
	m := &metrics{
		packetsReceived:  counter("packets_received_total", "RTP packets received from publishers."),
		bytesReceived:    counter("bytes_received_total", "RTP payload bytes received from publishers."),
		packetsPoliced:   counter("packets_policed_total", "RTP packets dropped because their stream sent more than a stream may."),
		packetsLeftOut:   counter("packets_left_out_total", "RTP packets of scalable videos that a subscriber of fewer layers lacks."),
		packetsForwarded: counter("packets_forwarded_total", "RTP packets sent to subscribers."),
		bytesForwarded:   counter("bytes_forwarded_total", "RTP payload bytes sent to subscribers."),
		nacksAnswered:    counter("nacks_answered_total", "Lost packets sent again to subscribers."),
		nacksMissed:      counter("nacks_missed_total", "Lost packets that were no longer there to send again."),
		nacksThrottled:   counter("nacks_throttled_total", "Requests for lost packets ignored because a subscriber made too many."),
		plisSent:         counter("plis_sent_total", "Key frame requests sent to publishers, those sent again because none came included."),
		plisThrottled:    counter("plis_throttled_total", "Key frame requests held back because one had just been sent."),
		probes:           counter("probes_total", "Times a subscriber's path was tried for more bandwidth."),
		padding:          counter("padding_packets_total", "Packets of padding sent to try for more bandwidth."),
		assignments:      counter("assignments_total", "Times it was worked out what a subscriber receives."),
		paused:           counter("videos_paused_total", "Videos paused because a subscriber's path carries no more."),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "wardline", Subsystem: "sfu", Name: "refused_total", Help: "Requests of gateways refused, by code.",
		}, []string{"code"}),
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "wardline", Subsystem: "sfu", Name: name, Help: help}, value)
	}
	for _, c := range []prometheus.Collector{
		m.packetsReceived, m.packetsPoliced, m.packetsLeftOut, m.bytesReceived, m.packetsForwarded, m.bytesForwarded,
		m.nacksAnswered, m.nacksMissed, m.nacksThrottled, m.plisSent, m.plisThrottled,
		m.probes, m.padding, m.paused, m.refused, m.assignments,
		gauge("sessions", "Legs of sessions on this server.", func() float64 { return float64(s.countLegs()) }),
		gauge("rooms", "Encounters with somebody on this server.", func() float64 { return float64(s.countRooms()) }),
		gauge("control_links", "Gateways connected.", func() float64 { return float64(s.control.Links()) }),
		gauge("load", "Participants as a share of the capacity.", s.Load),
	} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metric: %w", err)
		}
	}
	return m, nil
}
