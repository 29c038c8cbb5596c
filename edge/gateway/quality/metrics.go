package quality

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wardline/wardline/core/access"
)

// maxCounted bounds the tracks whose freeze counters are remembered for one participant.
const maxCounted = 256

// metrics are over all clients: labels come from closed lists, never from what a client wrote.
type metrics struct {
	rtt     *prometheus.HistogramVec
	jitter  *prometheus.HistogramVec
	loss    *prometheus.HistogramVec
	fps     *prometheus.HistogramVec
	mos     *prometheus.HistogramVec
	freezes *prometheus.CounterVec
	states  *prometheus.CounterVec
	paths   *prometheus.CounterVec
	codecs  *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return registered(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "wardline", Subsystem: "client", Name: name, Help: help, Buckets: buckets,
		}, labels))
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return registered(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "wardline", Subsystem: "client", Name: name, Help: help,
		}, labels))
	}
	return &metrics{
		rtt: histogram("rtt_seconds", "Round-trip time between client and media server, as clients report it.",
			[]float64{.005, .01, .02, .05, .1, .15, .2, .3, .5, 1, 2}, "role", "path"),
		jitter: histogram("jitter_seconds", "Jitter of received tracks.",
			[]float64{.001, .002, .005, .01, .02, .05, .1, .2, .5}, "role", "source"),
		loss: histogram("loss_ratio", "Share of packets of received tracks lost between two reports.",
			[]float64{0, .001, .005, .01, .02, .05, .1, .2, .5, 1}, "role", "source"),
		fps: histogram("frames_per_second", "Frame rate of received video tracks.",
			[]float64{1, 5, 10, 15, 20, 24, 30, 60}, "role", "source"),
		mos: histogram("mos", "Estimated mean opinion score of the worst received voice (ITU-T G.107).",
			[]float64{1, 1.5, 2, 2.5, 3, 3.5, 4, 4.3, 4.5}, "role"),
		freezes: counter("freezes_total", "Freezes of received video tracks.", "role", "source"),
		states:  counter("ice_state_changes_total", "Changes of clients' ICE connection state, by the new state.", "role", "state"),
		paths:   counter("path_reports_total", "Reports by the path media takes.", "role", "path"),
		codecs:  counter("codec_reports_total", "Received tracks in reports by their codec.", "source", "codec"),
	}
}

// registered returns the collector, or the equal one that is registered already: several gateways of one
// process count together.
func registered[C prometheus.Collector](reg prometheus.Registerer, collector C) C {
	err := reg.Register(collector)
	if twin, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if existing, ok := twin.ExistingCollector.(C); ok {
			return existing
		}
	}
	if err != nil {
		// Names and labels are fixed above, so this is a mistake of this package that its tests find.
		panic(err)
	}
	return collector
}

// observe counts a clean sample; who is nil for a participant whose history is not kept.
func (m *metrics) observe(role access.Role, s Sample, who *reporter) {
	r := roleLabel(role)
	if s.RTTMs != nil {
		m.rtt.WithLabelValues(r, s.Path).Observe(*s.RTTMs / 1000)
	}
	if s.MOS != nil {
		m.mos.WithLabelValues(r).Observe(*s.MOS)
	}
	if s.Path != "" {
		m.paths.WithLabelValues(r, s.Path).Inc()
	}
	for _, t := range s.Receive {
		m.observeTrack(r, t)
	}
	if who == nil {
		return
	}
	if s.ICEState != "" && who.state != s.ICEState {
		who.state = s.ICEState
		m.states.WithLabelValues(r, s.ICEState).Inc()
	}
	for _, t := range s.Receive {
		if t.Freezes != nil {
			m.freezes.WithLabelValues(r, t.Source).Add(who.newFreezes(s.Leg, t))
		}
	}
}

func (m *metrics) observeTrack(role string, t Track) {
	if t.JitterMs != nil {
		m.jitter.WithLabelValues(role, t.Source).Observe(*t.JitterMs / 1000)
	}
	if t.Loss != nil {
		m.loss.WithLabelValues(role, t.Source).Observe(*t.Loss)
	}
	if t.FPS != nil {
		m.fps.WithLabelValues(role, t.Source).Observe(*t.FPS)
	}
	if t.Codec != "" {
		m.codecs.WithLabelValues(t.Source, t.Codec).Inc()
	}
}

// newFreezes returns how many freezes a track had since its last report; a counter that fell started
// anew. One report adds at most as many as can happen between two.
func (who *reporter) newFreezes(leg uint32, t Track) float64 {
	const perReport = 100
	key := trackKey{leg: leg, participant: t.Participant, source: t.Source}
	before, known := who.counted[key]
	if !known && len(who.counted) >= maxCounted {
		return 0
	}
	who.counted[key] = *t.Freezes
	if *t.Freezes < before {
		before = 0
	}
	return min(*t.Freezes-before, perReport)
}

func roleLabel(role access.Role) string {
	if _, err := access.ParseRole(string(role)); err != nil {
		return other
	}
	return string(role)
}
