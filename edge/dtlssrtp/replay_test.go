package dtlssrtp

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheWindowOfWhatMayComeLate(t *testing.T) {
	var r replay
	require.True(t, r.fresh(5000))
	r.saw(5000)
	require.False(t, r.fresh(5000))
	require.True(t, r.fresh(5000-replayWindow+1), "the oldest that is remembered")
	require.False(t, r.fresh(5000-replayWindow))
	r.saw(5000 - replayWindow + 1)
	require.False(t, r.fresh(5000-replayWindow+1))
	r.saw(5003)
	require.True(t, r.fresh(5001), "skipped")
	require.True(t, r.fresh(5002))
	r.saw(5003 + 2*replayWindow)
	require.True(t, r.fresh(5003+replayWindow+1), "nothing of what was before is left")
}

// TestEstimate is appendix A of RFC 3711.
func TestEstimate(t *testing.T) {
	for _, c := range []struct {
		newest   uint64
		sequence uint16
		index    uint64
	}{
		{5, 65_535, 65_535},
		{5, 32_773, 32_773},
		{1<<16 + 5, 32_773, 1<<16 + 32_773},
		{1<<16 + 5, 32_774, 32_774},
		{65_535, 0, 1 << 16},
		{40_000, 7_232, 7_232},
		{40_000, 7_231, 1<<16 + 7_231},
		{3<<16 + 9, 10, 3<<16 + 10},
	} {
		var r replay
		require.Equal(t, uint64(c.sequence), r.estimate(c.sequence), "the first")
		r.saw(c.newest)
		require.Equal(t, c.index, r.estimate(c.sequence), "%d after %d", c.sequence, c.newest)
	}
}
