package watchdog_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/watchdog"
)

func TestWatch(t *testing.T) {
	for name, c := range map[string]struct {
		stops   time.Duration // when the count stops, 0 for never
		every   time.Duration // how often it counts
		hangs   bool          // the count does not return once it has stopped
		noticed time.Duration // at the latest, 0 for never
	}{
		"goes on":                   {every: 100 * time.Millisecond},
		"goes on slowly":            {every: 10 * time.Second},
		"the count stops":           {stops: time.Minute, every: 100 * time.Millisecond, noticed: 80 * time.Second},
		"the count does not return": {stops: time.Minute, every: 100 * time.Millisecond, hangs: true, noticed: 80 * time.Second},
		"it never began":            {stops: time.Nanosecond, every: time.Second, noticed: 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				began := time.Now()
				stopped := func() bool { return c.stops > 0 && time.Since(began) >= c.stops }
				var count atomic.Uint64
				go func() {
					for !stopped() {
						select {
						case <-ctx.Done():
							return
						case <-time.After(c.every):
							count.Add(1)
						}
					}
				}()
				standstill := watchdog.Watch(ctx, func() uint64 {
					if c.hangs && stopped() {
						<-ctx.Done()
					}
					return count.Load()
				})
				require.Equal(t, c.noticed > 0, standstill)
				if standstill {
					require.GreaterOrEqual(t, time.Since(began), c.stops+14*time.Second)
					require.LessOrEqual(t, time.Since(began), c.noticed)
				}
				cancel()
				synctest.Wait()
			})
		})
	}
}
