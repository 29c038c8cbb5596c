package main

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/wardline/wardline/core/observe"
)

func TestAComponentThatStandsStillEndsTheProcess(t *testing.T) {
	for name, c := range map[string]struct {
		hang func(p *process, ctx context.Context, group *errgroup.Group)
		says string
	}{
		"while it serves": {func(p *process, ctx context.Context, group *errgroup.Group) {
			p.guard(ctx, group, "sfu-1", func() uint64 { return 7 })
		}, "stands still"},
		"while it ends": {func(p *process, ctx context.Context, _ *errgroup.Group) {
			ended, end := context.WithCancel(ctx)
			end()
			p.ends(ended, nil)
		}, "does not end"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				codes := make(chan int, 1)
				var log bytes.Buffer
				lines := observe.NewWriter(&log, "sfu")
				p := &process{
					log: zerolog.New(lines), logged: lines, exit: func(code int) { codes <- code }, options: commonOptions{id: "sfu-1"},
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var group errgroup.Group
				c.hang(p, ctx, &group)
				select {
				case code := <-codes:
					require.Equal(t, exitFailure, code)
				case <-ctx.Done():
					t.Fatal("it goes on")
				}
				require.NoError(t, group.Wait())
				require.Contains(t, log.String(), c.says)
				require.Contains(t, log.String(), "synctest", "the log says where goroutines are")
			})
		})
	}
}

func TestAComponentThatGoesOnIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &process{log: zerolog.Nop(), exit: func(int) { t.Error("ended") }}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		var group errgroup.Group
		count := uint64(0)
		p.guard(ctx, &group, "sfu-1", func() uint64 { count++; return count })
		over := make(chan struct{})
		p.ends(ctx, over)
		require.NoError(t, group.Wait())
		close(over)
		time.Sleep(time.Minute)
	})
}
