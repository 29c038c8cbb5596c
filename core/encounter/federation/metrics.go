package federation

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	takeOvers, merges, replicas prometheus.Counter
	outOfReach                  prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "wardline", Subsystem: "records", Name: name, Help: help})
	}
	m := metrics{
		takeOvers: counter("taken_over_total", "Records that another region began to write because theirs was out of reach."),
		merges:    counter("merged_total", "Records of which copies written apart were merged."),
		replicas:  counter("copies_written_total", "Copies of records written to regions that lacked the newest one."),
		outOfReach: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "wardline", Subsystem: "records", Name: "regions_out_of_reach", Help: "Regions whose records cannot be reached.",
		}),
	}
	if r != nil {
		r.MustRegister(m.takeOvers, m.merges, m.replicas, m.outOfReach)
	}
	return m
}
