package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/wardline/wardline/edge/drill/scenario"
)

// reason is what operators see.
const reason = "wardline drill"

// drainDeadline bounds a drain; afterwards Nomad stops what is left.
const drainDeadline = 10 * time.Minute

// Maintenance switches nodes in and out of Consul's maintenance mode.
type Maintenance interface {
	SetMaintenance(ctx context.Context, node string, on bool, reason string) error
}

// Jobs is what Nomad can do.
type Jobs interface {
	SetDraining(ctx context.Context, node string, on bool) error
	SetEligible(ctx context.Context, node string, on bool) error
	RestartJob(ctx context.Context, node, job string) error
	StopJob(ctx context.Context, node, job string) error
}

// Injector implements drill.Injector for the verbs of a real cluster. Either part may be nil.
type Injector struct {
	Maintenance Maintenance
	Jobs        Jobs
}

// Can implements drill.Injector.
func (i Injector) Can(verb scenario.Verb) bool {
	if verb.Place != scenario.Cluster {
		return false
	}
	if verb.Name == scenario.Maintenance {
		return i.Maintenance != nil
	}
	return i.Jobs != nil
}

// Inject implements drill.Injector.
func (i Injector) Inject(ctx context.Context, a scenario.Action) (func(context.Context) error, error) {
	if !i.Can(a.Verb) {
		return nil, fmt.Errorf("%s: not possible on this cluster", a)
	}
	var begin, end func(context.Context) error
	switch a.Verb.Name {
	case scenario.Maintenance:
		begin = func(ctx context.Context) error { return i.Maintenance.SetMaintenance(ctx, a.Target, true, reason) }
		end = func(ctx context.Context) error { return i.Maintenance.SetMaintenance(ctx, a.Target, false, reason) }
	case scenario.Drain:
		begin = func(ctx context.Context) error { return i.Jobs.SetDraining(ctx, a.Target, true) }
		end = func(ctx context.Context) error { return i.Jobs.SetDraining(ctx, a.Target, false) }
	case scenario.Ineligible:
		begin = func(ctx context.Context) error { return i.Jobs.SetEligible(ctx, a.Target, false) }
		end = func(ctx context.Context) error { return i.Jobs.SetEligible(ctx, a.Target, true) }
	case scenario.Restart:
		begin, end = func(ctx context.Context) error { return i.Jobs.RestartJob(ctx, a.Target, a.Process) }, nothing
	case scenario.Stop:
		begin, end = func(ctx context.Context) error { return i.Jobs.StopJob(ctx, a.Target, a.Process) }, nothing
	default:
		return nil, fmt.Errorf("%s: unknown verb", a)
	}
	if err := begin(ctx); err != nil {
		// It may have been done all the same, as when the answer was lost.
		return nil, joinUndo(ctx, err, end)
	}
	return end, nil
}

func nothing(context.Context) error { return nil }

// undoTimeout bounds healing after a failure.
const undoTimeout = 20 * time.Second

func joinUndo(ctx context.Context, err error, undo func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if undoErr := undo(ctx); undoErr != nil {
		return fmt.Errorf("%w (and it could not be undone: %w)", err, undoErr)
	}
	return err
}
