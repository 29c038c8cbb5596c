package discoverytest

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/wardline/wardline/core/discovery"
)

func lead(t *testing.T, d discovery.Discovery, name string) discovery.Leadership {
	t.Helper()
	leadership, err := d.Campaign(deadline(t), name)
	require.NoError(t, err)
	t.Cleanup(leadership.Release)
	return leadership
}

func isLost(l discovery.Leadership) bool {
	select {
	case <-l.Lost:
		return true
	default:
		return false
	}
}

func electionHandover(t *testing.T, d discovery.Discovery) {
	t.Helper()
	name := fresh("lock")
	first := lead(t, d, name)
	won := make(chan discovery.Leadership, 1)
	go func() {
		second, err := d.Campaign(deadline(t), name)
		if err == nil {
			won <- second
		}
	}()
	require.False(t, isLost(first))
	require.Empty(t, won)
	first.Release()
	require.True(t, isLost(first), "released means lost")
	second := receive(t, won)
	t.Cleanup(second.Release)
	require.Greater(t, second.Fence, first.Fence)
	first.Release()
	require.False(t, isLost(second), "releasing again takes nothing from the successor")
	second.Release()
	require.Greater(t, lead(t, d, name).Fence, second.Fence)
}

func electionExclusive(t *testing.T, d discovery.Discovery) {
	t.Helper()
	name := fresh("lock")
	var leaders, last atomic.Int64
	group, ctx := errgroup.WithContext(deadline(t))
	for range 5 {
		group.Go(func() error {
			leadership, err := d.Campaign(ctx, name)
			if err != nil {
				return err
			}
			defer leadership.Release()
			if leaders.Add(1) != 1 {
				t.Error("two leaders at once")
			}
			if fence := int64(leadership.Fence); last.Swap(fence) >= fence {
				t.Error("the fence did not grow")
			}
			leaders.Add(-1)
			return nil
		})
	}
	require.NoError(t, group.Wait())
}

func electionCancelled(t *testing.T, d discovery.Discovery) {
	t.Helper()
	name := fresh("lock")
	lead(t, d, name)
	ctx, cancel := context.WithCancel(deadline(t))
	failed := make(chan error, 1)
	go func() {
		_, err := d.Campaign(ctx, name)
		failed <- err
	}()
	cancel()
	require.ErrorIs(t, receive(t, failed), context.Canceled)
}

func electionNames(t *testing.T, d discovery.Discovery) {
	t.Helper()
	first, second := lead(t, d, fresh("lock")), lead(t, d, fresh("lock"))
	require.False(t, isLost(first))
	require.False(t, isLost(second))
}
