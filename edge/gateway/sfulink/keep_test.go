package sfulink_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway/sfulink"
)

func up(pool *sfulink.Pool) func() bool {
	return func() bool { return pool.State("sfu-1").Phase == sfulink.Up }
}

func TestLoadIsWhatTheSFUSaidLastOverAChannelThatIsUp(t *testing.T) {
	pool, sfu, _ := start(t)
	_, known := pool.Load("sfu-1")
	require.False(t, known)
	sfu.SetLoad(0.5)
	pool.Ensure("sfu-1")
	says := func(load float64) func() bool {
		return func() bool { got, known := pool.Load("sfu-1"); return known && got == load }
	}
	require.Eventually(t, says(0.5), patience, tick)
	sfu.SetLoad(0.75)
	require.Eventually(t, says(0.75), patience, tick)
	sfu.Stop()
	require.Eventually(t, func() bool { _, known := pool.Load("sfu-1"); return !known }, patience, tick)
}

func TestDrainingIsKnownWhenTheFrameIsPassedOn(t *testing.T) {
	pool, sfu, seen := start(t)
	sfu.Drain(true)
	pool.Ensure("sfu-1")
	require.Eventually(t, func() bool { _, _, frames := seen.seen(); return frames == 1 }, patience, tick)
	require.NotZero(t, pool.State("sfu-1").Draining, "one that drains says so on a new channel")
	sfu.Drain(false)
	require.Eventually(t, func() bool { return pool.State("sfu-1").Draining.IsZero() }, patience, tick)

	sfu.Drain(true)
	require.Eventually(t, func() bool { return !pool.State("sfu-1").Draining.IsZero() }, patience, tick)
	sfu.Drop()
	require.Eventually(t, func() bool {
		state := pool.State("sfu-1")
		return state.Generation == 2 && !state.Draining.IsZero()
	}, patience, tick)
}

func TestDeadSFUIsDialedAgainByItselfAndReportedOnce(t *testing.T) {
	t.Parallel()
	pool, sfu, seen := start(t)
	pool.Ensure("sfu-1")
	require.Eventually(t, up(pool), patience, tick)
	sfu.Silence(true)
	require.Eventually(t, func() bool { return pool.State("sfu-1").Phase == sfulink.Dead }, patience, tick)
	started := time.Now()
	require.ErrorIs(t, pool.Reserve(t.Context(), "sfu-1", ref, 1), sfulink.ErrDown)
	require.Less(t, time.Since(started), 500*time.Millisecond, "no time is lost on a dead one")
	sfu.Silence(false)
	require.Eventually(t, up(pool), patience, tick, "without anybody asking")
	_, dead, _ := seen.seen()
	require.Equal(t, 1, dead, "each failed dial is no new death")
	require.NoError(t, pool.Reserve(t.Context(), "sfu-1", ref, 2))
}

func TestLinksThatNobodyWantsAreDropped(t *testing.T) {
	pool, sfu, seen := start(t)
	pool.Ensure("sfu-1")
	require.Eventually(t, up(pool), patience, tick)
	pool.Prune(func(string) bool { return false }, time.Hour)
	require.True(t, up(pool)(), "it may be wanted soon")
	pool.Prune(func(id string) bool { return id == "sfu-1" }, 0)
	require.True(t, up(pool)(), "it is wanted")

	pool.Prune(func(string) bool { return false }, 0)
	require.Equal(t, sfulink.State{Phase: sfulink.Idle}, pool.State("sfu-1"))
	require.Empty(t, pool.Links())
	require.Eventually(t, func() bool { return sfu.Links() == 0 }, patience, tick)
	require.ErrorIs(t, pool.Send("sfu-1", signaling.Frame{Message: signaling.Heartbeat{}}), sfulink.ErrDown)
	_, dead, _ := seen.seen()
	require.Zero(t, dead, "to drop a link is no failure")

	require.NoError(t, pool.Reserve(t.Context(), "sfu-1", ref, 1), "and it is there again when it is needed")
}

func TestDroppedLinkToADeadSFUIsNotDialedAgain(t *testing.T) {
	t.Parallel()
	pool, sfu, _ := start(t)
	sfu.Silence(true)
	pool.Ensure("sfu-1")
	require.Eventually(t, func() bool { return pool.State("sfu-1").Phase == sfulink.Dead }, patience, tick)
	pool.Prune(func(string) bool { return false }, 0)
	sfu.Silence(false)
	since := time.Now()
	require.Eventually(t, func() bool {
		if sfu.Links() > 0 {
			since = time.Now() // of a dial that was under way
		}
		return time.Since(since) > time.Second
	}, patience, tick)
}

func TestFurtherDialsThatFailAreNoNewDeaths(t *testing.T) {
	t.Parallel()
	pool, _, seen := start(t)
	require.Never(t, func() bool {
		pool.Ensure("unknown") // which has it dialed as often as it may be
		_, dead, _ := seen.seen()
		return dead > 1
	}, 700*time.Millisecond, 10*time.Millisecond)
	_, dead, _ := seen.seen()
	require.Equal(t, 1, dead)
}
