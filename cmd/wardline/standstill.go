package main

import (
	"context"
	"runtime/pprof"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wardline/wardline/core/watchdog"
)

// endWithin is how long components may take to end, which all mean to do within 5 s.
const endWithin = 30 * time.Second

// guard ends the process when a component stands still, so that it is started again.
func (p *process) guard(ctx context.Context, group *errgroup.Group, id string, progress func() uint64) {
	group.Go(func() error {
		if watchdog.Watch(ctx, progress) {
			p.giveUp(id, "stands still, and ends to be started again")
		}
		return nil
	})
}

// ends ends the process if it has not said that it is over some time after ctx ended.
func (p *process) ends(ctx context.Context, over <-chan struct{}) {
	context.AfterFunc(ctx, func() {
		select {
		case <-over:
		case <-time.After(endWithin):
			p.giveUp(p.options.id, "does not end, and is ended")
		}
	})
}

// giveUp leaves in the log what every goroutine waits for. Nothing is ended in order: that is what hangs.
func (p *process) giveUp(id, what string) {
	var stacks strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1) // to memory
	p.log.Error().Str("component_id", id).Str("stacks", stacks.String()).Msg(what)
	_ = p.logged.Close() // or nobody reads it
	p.exit(exitFailure)
}
