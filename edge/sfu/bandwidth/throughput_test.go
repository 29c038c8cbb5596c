package bandwidth

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestThroughputIsThatOfItsWindows keeps all packets, and adds up those of the windows.
func TestThroughputIsThatOfItsWindows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var measured throughput
		var all []arrival
		over := func(window time.Duration) Rate {
			newest, first, bytes := all[len(all)-1].at, len(all)-1, 0
			for first > 0 && newest-all[first-1].at <= window {
				bytes += all[first].size
				first--
			}
			if span := newest - all[first].at; span >= ackedWindow/5 {
				return Bits(bytes, span)
			}
			return 0
		}
		require.Zero(t, measured.rate())
		require.Zero(t, measured.recent())
		at := time.Duration(0)
		for range rapid.IntRange(1, 400).Draw(t, "packets") {
			r := Result{Size: rapid.IntRange(50, 1300).Draw(t, "size")}
			at += time.Duration(rapid.SampledFrom([]int{0, 0, 1, 1, 2, 7, 30, -3, 400, -600, 3100}).Draw(t, "ms")) * time.Millisecond
			r.Arrived = at
			if n := len(all); n > 0 && (at < all[n-1].at-ackedWindow || at-all[n-1].at > reset) {
				all = nil // another clock
			} else if n > 0 {
				r.Arrived = max(at, all[n-1].at)
			}
			all = append(all, arrival{r.Arrived, r.Size})
			r.Arrived = at
			measured.add(&r)
			require.Equal(t, over(ackedWindow), measured.rate())
			require.Equal(t, max(over(ackedWindow), over(ackedRecent)), measured.recent())
		}
	})
}

func TestThroughputOfAReceiverThatLiesAboutItsClock(t *testing.T) {
	var measured throughput
	for range 10 * maxAcked {
		measured.add(&Result{Size: 100, Arrived: time.Second})
		require.LessOrEqual(t, len(measured.packets)-measured.first, maxAcked)
	}
	require.LessOrEqual(t, cap(measured.packets), 4*maxAcked)
	require.Zero(t, measured.rate())
}
