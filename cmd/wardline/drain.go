package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/drain"
)

// bindDrainTimeout adds --drain-timeout.
func bindDrainTimeout(cmd *cobra.Command, timeout *time.Duration, what string) {
	cmd.Flags().DurationVar(timeout, "drain-timeout", 0,
		"how long a stopping server waits for "+what+", taking nothing new (default: it stops at once)")
}

// drainable is a component that can be taken out of service without cutting anybody.
type drainable interface {
	SetDraining(on bool)
	// Drain returns once nobody is left, or with an error when ctx ends.
	Drain(ctx context.Context) error
}

// leaving is a component that is drained before its process ends.
type leaving struct {
	id        string
	component drainable
	watcher   *drain.Watcher
}

// followMaintenance drains a component while its node or service is in maintenance mode.
func (p *process) followMaintenance(
	ctx context.Context, group *errgroup.Group, service discovery.Service, component drainable,
	carried func() (encounters, participants int),
) error {
	var agent drain.Agent = drain.CatalogAgent{Catalog: p.discovery, Service: service.Name, ID: service.ID}
	if p.consul != nil {
		agent = p.consul
	}
	watcher, err := drain.New(drain.Config{
		Service: service.Name, ID: service.ID, Agent: agent, KV: p.discovery,
		Set: component.SetDraining, Carried: carried, Registry: p.registry, Log: p.log,
	})
	if err != nil {
		return failed(err)
	}
	p.mu.Lock()
	p.leaving = append(p.leaving, leaving{service.ID, component, watcher})
	p.mu.Unlock()
	group.Go(func() error { watcher.Run(ctx); return nil })
	return nil
}

// linger returns the context that components run in: it ends when ctx has ended and every component is drained, at
// most timeout later. The function ends it at once and waits.
func (p *process) linger(ctx context.Context, timeout time.Duration) (serving context.Context, end func(), err error) {
	if timeout < 0 {
		return nil, nil, fmt.Errorf("--drain-timeout %s: must not be negative", timeout)
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer stop()
		select {
		case <-ctx.Done():
		case <-serving.Done():
			return
		}
		if timeout > 0 {
			p.drainAll(serving, timeout)
		}
	}()
	return serving, func() { stop(); <-done }, nil
}

func (p *process) drainAll(ctx context.Context, timeout time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	p.log.Info().Stringer("timeout", timeout).Msg("draining before the end; a second signal ends at once")
	p.mu.Lock()
	started := slices.Clone(p.leaving)
	p.mu.Unlock()
	var group sync.WaitGroup
	for _, l := range started {
		l.watcher.Leave("stopping")
		group.Go(func() {
			if err := l.component.Drain(ctx); errors.Is(err, context.DeadlineExceeded) {
				p.log.Warn().Err(err).Str("service", l.id).Msg("ending with people still here")
			}
		})
	}
	group.Wait()
}
