package bandwidth

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// lose has every so-manieth of enough packets for a sample lost.
func (l *losses) lose(every int) {
	for i := range lossSample {
		l.add(&Result{Sent: time.Duration(i) * 10 * time.Millisecond, Lost: i%every == 0})
	}
}

func TestLossCutsTheRate(t *testing.T) {
	for name, c := range map[string]struct {
		every       int
		rate, acked Rate
		want        Rate // zero for none
	}{
		"as radio loses":                       {10, 1_000_000, 900_000, 0},
		"by half of what is lost":              {4, 1_000_000, 500_000, 870_000},
		"not below what got through":           {4, 1_000_000, 950_000, 950_000},
		"a queue that overflows has its limit": {2, 1_000_000, 400_000, 380_000},
		"as long as that is known":             {2, 1_000_000, 0, 750_000},
	} {
		t.Run(name, func(t *testing.T) {
			var l losses
			l.lose(c.every)
			cut, ok := l.cut(time.Second, 100*time.Millisecond, c.rate, c.acked)
			require.Equal(t, c.want != 0, ok)
			require.Equal(t, c.want, cut)
		})
	}
}

func TestACutHasTimeToShow(t *testing.T) {
	const rtt = 100 * time.Millisecond
	var l losses
	for _, c := range []struct {
		at  time.Duration
		cut bool
	}{{time.Second, true}, {time.Second + rtt, false}, {time.Second + rtt + lossPause, true}} {
		l.lose(4)
		_, ok := l.cut(c.at, rtt, 1_000_000, 0)
		require.Equal(t, c.cut, ok, c.at)
	}
}
