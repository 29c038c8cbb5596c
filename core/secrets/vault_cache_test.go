package secrets

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// answers is a source for cached, whose next answer the test decides.
type answers struct {
	value int
	err   error
	slow  time.Duration
	asked atomic.Int32
}

func (a *answers) fetch(ctx context.Context) (int, error) {
	a.asked.Add(1)
	value, err := a.value, a.err
	select {
	case <-time.After(a.slow):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return value, err
}

// cachedTrial is the test on that clock.
type cachedTrial struct{ *testing.T }

// cachedTest runs a test of cached on a clock of its own.
func cachedTest(t *testing.T, test func(t cachedTrial, a *answers, c *cached[int])) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		tasks := newTasks()
		defer tasks.stop()
		a := &answers{value: 1}
		test(cachedTrial{t}, a, newCached(tasks, normalVaultPace, a.fetch))
	})
}

func TestCachedAsksWhenNotFresh(t *testing.T) {
	cachedTest(t, func(t cachedTrial, a *answers, c *cached[int]) {
		for range 3 {
			value, err := c.get(t.Context())
			require.NoError(t, err)
			require.Equal(t, 1, value)
		}
		require.EqualValues(t, 1, a.asked.Load())
		a.value = 2
		time.Sleep(normalVaultPace.fresh)
		value, err := c.get(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2, value)
		a.value = 3
		c.expire()
		value, err = c.get(t.Context())
		require.NoError(t, err)
		require.Equal(t, 3, value)
	})
}

func TestCachedKeepsTheLastGoodAnswer(t *testing.T) {
	cachedTest(t, func(t cachedTrial, a *answers, c *cached[int]) {
		_, err := c.get(t.Context())
		require.NoError(t, err)
		a.err = ErrUnavailable
		for range 1000 {
			time.Sleep(100 * time.Millisecond)
			value, err := c.get(t.Context())
			require.NoError(t, err)
			require.Equal(t, 1, value)
		}
		require.Less(t, a.asked.Load(), int32(30), "rests grow")
		a.err, a.value = nil, 2
		time.Sleep(normalVaultPace.retryMost)
		value, err := c.get(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2, value)
	})
}

func TestCachedDoesNotMakeItsAskersWait(t *testing.T) {
	cachedTest(t, func(t cachedTrial, a *answers, c *cached[int]) {
		_, err := c.get(t.Context())
		require.NoError(t, err)
		a.slow = 10 * time.Second
		time.Sleep(normalVaultPace.fresh)
		began := time.Now()
		for range 5 {
			_, err := c.get(t.Context())
			require.NoError(t, err)
		}
		require.Equal(t, normalVaultPace.patience, time.Since(began), "once, not for each")
		require.EqualValues(t, 2, a.asked.Load())
	})
}

func TestCachedWithoutAnyAnswerSaysWhy(t *testing.T) {
	cachedTest(t, func(t cachedTrial, a *answers, c *cached[int]) {
		a.err = ErrDenied
		for range 5 {
			_, err := c.get(t.Context())
			require.ErrorIs(t, err, ErrDenied)
		}
		require.EqualValues(t, 1, a.asked.Load(), "it rests after a failure")
		a.slow = time.Hour
		time.Sleep(normalVaultPace.retryMost)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.get(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestCachedForgetsAnAnswerFromBeforeAChange(t *testing.T) {
	cachedTest(t, func(t cachedTrial, a *answers, c *cached[int]) {
		a.slow = time.Second
		go func() { _, _ = c.get(context.Background()) }()
		synctest.Wait()
		a.value = 2
		c.expire()
		value, err := c.get(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2, value)
		time.Sleep(time.Second)
		value, err = c.get(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2, value)
	})
}
