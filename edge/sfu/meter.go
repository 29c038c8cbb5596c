package sfu

import (
	"sync/atomic"
	"time"

	"github.com/wardline/wardline/edge/sfu/bandwidth"
)

const (
	// meterTicks is how far back a meter looks; before meterReady of them it knows nothing.
	meterTicks, meterReady = 20, 5
	// meterDecay is what a peak keeps a tick: two thirds after two seconds.
	meterDecay = 0.98
)

// meter measures what a layer takes on the wire. add is called for each packet and takes no lock; the rest
// is the room's, once each tickEvery.
type meter struct {
	bytes atomic.Int64

	samples [meterTicks]int64
	ticks   int
	seen    int64
	peak    bandwidth.Rate
}

func (m *meter) add(bytes int) { m.bytes.Add(int64(bytes)) }

func (m *meter) tick() {
	now := m.bytes.Load()
	m.samples[m.ticks%meterTicks] = now - m.seen
	m.seen = now
	m.ticks++
	m.peak = max(m.average(), bandwidth.Rate(float64(m.peak)*meterDecay))
}

func (m *meter) average() bandwidth.Rate {
	var sum int64
	for _, sample := range m.samples {
		sum += sample
	}
	return bandwidth.Bits(int(sum), tickEvery*time.Duration(min(max(m.ticks, 1), meterTicks)))
}

// rate is what the stream takes, its latest peak if that was more; false before that is known.
func (m *meter) rate() (bandwidth.Rate, bool) { return m.peak, m.ticks >= meterReady }
