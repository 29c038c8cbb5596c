package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// member is a component that runs in a process of its own and finds the others through Consul or the data folder.
type member struct {
	component string
	options   commonOptions
	// drainTimeout is how long it may take to end.
	drainTimeout time.Duration
	// check says which of the component's own flags is wrong.
	check func() error
	// start binds the component and runs it in the group.
	start func(ctx context.Context, p *process, group *errgroup.Group) error
}

// run serves until the command's context ends. The admin port comes first, so that a start that has to wait says for
// what, and is not taken for one that hangs.
func (m member) run(cmd *cobra.Command) error {
	p, err := newProcess(m.options, m.component, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	defer p.close()
	if err := cmp.Or(m.options.check(), m.check()); err != nil { // now, and not once Consul and Vault have answered
		return err
	}
	serving, end, err := p.linger(cmd.Context(), m.drainTimeout)
	if err != nil {
		return err
	}
	defer end()
	group, ctx := errgroup.WithContext(serving)
	over := make(chan struct{})
	defer close(over)
	p.ends(ctx, over)
	serve, address, err := p.serveAdmin(ctx)
	if err != nil {
		return err
	}
	p.start.begin()
	p.admin.AddCheck("start", p.start.ready)
	group.Go(func() error { return serve(ctx) })
	var startErr error
	group.Go(func() error {
		if startErr = p.open(ctx); startErr == nil {
			startErr = m.start(ctx, p, group)
		}
		if startErr == nil {
			p.start.done()
			p.log.Info().Str("admin", address).Msg("serving")
		}
		return startErr
	})
	err = group.Wait()
	if startErr != nil {
		return unlessStopped(cmd.Context(), startErr)
	}
	return unlessStopped(cmd.Context(), failed(err))
}

// open opens what the components find each other through, and what keeps the secrets.
func (p *process) open(ctx context.Context) error {
	others, err := p.findOthers(ctx)
	if err != nil {
		return err
	}
	p.closers = append(p.closers, others)
	if p.options.vault.address != "" {
		return p.openVault(ctx)
	}
	return p.openLocal()
}

// close ends what the process stands on.
func (p *process) close() {
	for _, one := range slices.Backward(p.closers) {
		if err := one.Close(); err != nil {
			p.log.Warn().Err(err).Msg("not closed in order")
		}
	}
}

// startCheck is the readiness check that says how a start goes.
type startCheck struct {
	mu  sync.Mutex
	err error
}

var errStarting = errors.New("starting")

func (s *startCheck) begin() { s.set(errStarting) }

// wait says what the start waits for, and why.
func (s *startCheck) wait(what string, reason error) {
	s.set(fmt.Errorf("%w, waiting for %s: %w", errStarting, what, reason))
}

func (s *startCheck) done() { s.set(nil) }

func (s *startCheck) set(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *startCheck) ready(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
