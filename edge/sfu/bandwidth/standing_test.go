package bandwidth

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAQueueOnAPathThatGotLongerIsNoticed(t *testing.T) {
	var s standing
	now, drained := time.Duration(0), 0
	for _, c := range []struct{ rtt, lasts time.Duration }{
		{50 * time.Millisecond, 3 * time.Second}, {150 * time.Millisecond, 10 * time.Second}, {250 * time.Millisecond, 3 * time.Second},
	} {
		for end := now + c.lasts; now < end; now += 100 * time.Millisecond {
			if s.add(now, c.rtt) {
				drained++
			}
		}
	}
	require.Equal(t, 2, drained, "once to find out that the path is longer, once for the queue")
}

func TestNothingIsProbedWhileNothingIsHeard(t *testing.T) {
	e := New(300_000, 50_000, 10_000_000)
	hear := func(now time.Duration) {
		e.Update(now, []Result{{Sent: now - 100*time.Millisecond, Arrived: now, Size: 1000}})
	}
	due := func(now time.Duration) bool {
		_, due := new(Prober).Due(now, e, 1_000_000)
		return due
	}
	hear(time.Second)
	require.True(t, due(time.Second))
	e.Tick(2*time.Second, true)
	e.Tick(4*time.Second, true)
	require.False(t, due(5*time.Second))
	hear(6 * time.Second)
	require.True(t, due(6*time.Second))
}
