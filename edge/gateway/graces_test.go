package gateway

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAGraceBeginsWhenALossIsKnown(t *testing.T) {
	g := newGraces(30 * time.Second)
	for name, lost := range map[string]time.Time{
		"a clock that is right":       noon,
		"a clock ahead":               noon.Add(time.Hour),
		"a clock behind":              noon.Add(-time.Hour),
		"before all gateways' outage": noon.Add(-10 * time.Minute),
	} {
		t.Run(name, func(t *testing.T) {
			require.False(t, g.over(name, lost, noon))
			require.False(t, g.over(name, lost, noon.Add(30*time.Second-1)))
			require.True(t, g.over(name, lost, noon.Add(30*time.Second)))
		})
	}
	require.False(t, g.over("a clock ahead", noon.Add(time.Minute), noon.Add(time.Minute)), "lost once more")
	g.forget(noon.Add(time.Minute))
	require.Len(t, g.seen, 5)
	g.forget(noon.Add(61 * time.Second))
	require.Len(t, g.seen, 1)
}
