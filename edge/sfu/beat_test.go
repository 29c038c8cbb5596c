package sfu

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTicksComeInTheWakeOfMedia(t *testing.T) {
	for name, c := range map[string]struct {
		media time.Duration // from one packet to the next, 0 for none
		late  time.Duration // that ticks are at most
	}{
		"no media":       {0, tickLate},
		"a voice":        {20 * time.Millisecond, 0},
		"seldom a sound": {400 * time.Millisecond, tickLate},
		"slow pictures":  {66 * time.Millisecond, tickLate},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBeat()
				ctx, cancel := context.WithCancel(t.Context())
				began := time.Now()
				var ticks []time.Duration
				go b.run(ctx, func(now time.Time) { ticks = append(ticks, now.Sub(began)) })
				if c.media > 0 {
					go func() {
						for {
							select {
							case <-ctx.Done():
								return
							case <-time.After(c.media):
								b.awake()
							}
						}
					}()
				}
				time.Sleep(10*time.Second + tickLate)
				cancel()
				synctest.Wait()
				require.InDelta(t, 100, len(ticks), 1)
				for i, at := range ticks[1:] {
					due := time.Duration(i+2) * tickEvery
					require.GreaterOrEqual(t, at, due)
					require.LessOrEqual(t, at-due, c.late, "tick %d", i)
				}
			})
		})
	}
}
