package udp

import (
	"math/bits"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// counters are what a shard counts. Reader and sender add once a batch, so that nobody contends.
type counters struct {
	received, receivedBytes, receiveCalls atomic.Uint64
	sent, sentBytes, sendCalls            atomic.Uint64
	truncated, refused                    atomic.Uint64
	dropped                               [classes]atomic.Uint64
	batches                               histogram
}

// receivedOne counts one datagram that one system call received.
func (c *counters) receivedOne(size int) {
	c.receiveCalls.Add(1)
	c.received.Add(1)
	c.receivedBytes.Add(uint64(size))
}

// sizes is how many buckets a histogram has: up to 1, 2, 4, ... 1024, and beyond.
const sizes = 12

// histogram counts sizes of batches by powers of two.
type histogram struct {
	buckets [sizes]atomic.Uint64
	sum     atomic.Uint64
}

func (h *histogram) observe(size int) {
	h.buckets[min(bits.Len(uint(max(size, 1)-1)), sizes-1)].Add(1)
	h.sum.Add(uint64(size))
}

// Stats is what a Conn has done and how it is.
type Stats struct {
	Received, ReceivedBytes, ReceiveCalls uint64 // datagrams, payload bytes, system calls
	Sent, SentBytes, SendCalls            uint64
	Truncated                             uint64 // received datagrams too long for their buffer
	Refused                               uint64 // datagrams that the system did not send
	Dropped                               map[Class]uint64
	Waiting                               int // datagrams queued now
}

// Stats sums the shards up.
func (c *Conn) Stats() Stats {
	sum := Stats{Dropped: make(map[Class]uint64, classes)}
	for _, s := range c.shards {
		n := &s.counters
		sum.Received += n.received.Load()
		sum.ReceivedBytes += n.receivedBytes.Load()
		sum.ReceiveCalls += n.receiveCalls.Load()
		sum.Sent += n.sent.Load()
		sum.SentBytes += n.sentBytes.Load()
		sum.SendCalls += n.sendCalls.Load()
		sum.Truncated += n.truncated.Load()
		sum.Refused += n.refused.Load()
		for class := range classes {
			sum.Dropped[class] += n.dropped[class].Load()
		}
		sum.Waiting += s.queue.depth()
	}
	return sum
}

// collector shows a Conn to Prometheus.
type collector struct {
	conn                                   *Conn
	datagrams, bytes, calls, dropped       *prometheus.Desc
	truncated, refused, waiting, batchSize *prometheus.Desc
}

// Collector returns the metrics of a Conn, named wardline_SUBSYSTEM_udp_....
func (c *Conn) Collector(subsystem string) prometheus.Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName("wardline", subsystem, "udp_"+name), help, labels, nil)
	}
	return &collector{
		conn:      c,
		datagrams: desc("datagrams_total", "Datagrams received and sent.", "direction"),
		bytes:     desc("bytes_total", "Payload bytes of datagrams received and sent.", "direction"),
		calls:     desc("system_calls_total", "System calls that received or sent datagrams.", "direction"),
		dropped:   desc("dropped_total", "Datagrams dropped because the send queue was full.", "class"),
		truncated: desc("truncated_total", "Received datagrams dropped because they were too long."),
		refused:   desc("refused_total", "Datagrams that the system refused to send."),
		waiting:   desc("queue_depth", "Datagrams waiting to be sent."),
		batchSize: desc("batch_size", "Datagrams that were sent together."),
	}
}

// Describe implements prometheus.Collector.
func (m *collector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		m.datagrams, m.bytes, m.calls, m.dropped, m.truncated, m.refused, m.waiting, m.batchSize,
	} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (m *collector) Collect(metrics chan<- prometheus.Metric) {
	s := m.conn.Stats()
	count := func(desc *prometheus.Desc, value uint64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value), labels...)
	}
	count(m.datagrams, s.Received, "received")
	count(m.datagrams, s.Sent, "sent")
	count(m.bytes, s.ReceivedBytes, "received")
	count(m.bytes, s.SentBytes, "sent")
	count(m.calls, s.ReceiveCalls, "received")
	count(m.calls, s.SendCalls, "sent")
	for class := range classes {
		count(m.dropped, s.Dropped[class], class.String())
	}
	count(m.truncated, s.Truncated)
	count(m.refused, s.Refused)
	metrics <- prometheus.MustNewConstMetric(m.waiting, prometheus.GaugeValue, float64(s.Waiting))
	metrics <- m.batchSizes()
}

func (m *collector) batchSizes() prometheus.Metric {
	var count, sum uint64
	below := make(map[float64]uint64, sizes-1)
	for i := range sizes {
		for _, s := range m.conn.shards {
			count += s.counters.batches.buckets[i].Load()
		}
		if i < sizes-1 {
			below[float64(uint64(1)<<i)] = count
		}
	}
	for _, s := range m.conn.shards {
		sum += s.counters.batches.sum.Load()
	}
	return prometheus.MustNewConstHistogram(m.batchSize, count, float64(sum), below)
}
