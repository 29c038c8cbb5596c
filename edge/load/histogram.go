package load

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// histogram counts durations from microseconds to hours, each to 1.6 %. The zero value is empty; it is safe for concurrent
// use.
type histogram struct {
	counts [histogramSize]atomic.Uint32
	total  atomic.Int64
}

const (
	// subBits of each power of two are told apart.
	subBits       = 6
	histogramSize = (34 - subBits) << subBits
)

// add counts a duration; a negative one is none.
func (h *histogram) add(d time.Duration) {
	h.counts[bucket(d)].Add(1)
	h.total.Add(1)
}

func bucket(d time.Duration) int {
	value := uint64(max(0, d.Microseconds()))
	shift := max(0, bits.Len64(value)-subBits-1)
	return min(int(value>>shift)+shift<<subBits, histogramSize-1)
}

// lowest is the smallest duration of a bucket.
func lowest(at int) time.Duration {
	if at < 2<<subBits {
		return time.Duration(at) * time.Microsecond
	}
	shift := at>>subBits - 1
	return time.Duration((at-shift<<subBits)<<shift) * time.Microsecond
}

// quantile is the duration that a share of all does not exceed, 0 if there are none.
func (h *histogram) quantile(share float64) time.Duration {
	total := h.total.Load()
	if total == 0 {
		return 0
	}
	rank := min(int64(share*float64(total)), total-1)
	for at := range h.counts {
		rank -= int64(h.counts[at].Load())
		if rank < 0 {
			return lowest(at + 1)
		}
	}
	return 0
}

// times are quantiles of all.
func (h *histogram) times() Times {
	at := func(share float64) float64 { return milliseconds(h.quantile(share)) }
	return Times{at(0.5), at(0.95), at(0.99), at(1)}
}
