package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wardline/wardline/edge/drill/scenario"
	"github.com/wardline/wardline/edge/drill/timeline"
)

// breakThings injects everything the drill asks for and returns when that began.
func (t *run) breakThings(ctx context.Context) (time.Time, error) {
	facts := t.stage.facts()
	actions := make([]scenario.Action, 0, len(t.drill.Injections))
	for _, i := range t.drill.Injections {
		action, err := i.Resolve(facts)
		if err != nil {
			return time.Time{}, err
		}
		if t.injector(action.Verb) == nil {
			return time.Time{}, fmt.Errorf("%w: nothing here can %s", ErrInjection, action.Verb.Name)
		}
		actions = append(actions, action)
	}
	var begun time.Time
	for i, action := range actions {
		if i == 0 {
			begun = time.Now()
		}
		if err := sleep(ctx, time.Until(begun.Add(t.drill.Injections[i].After))); err != nil {
			return begun, err
		}
		t.say(Breaking, "%s", action)
		at := t.mark(timeline.Inject, action.String())
		if i == 0 {
			begun = at
		}
		heal, err := t.injector(action.Verb).Inject(ctx, action)
		if err != nil {
			return begun, fmt.Errorf("%w: %s: %w", ErrInjection, action, err)
		}
		t.undo = append(t.undo, undo{action, heal})
		t.actions = append(t.actions, action.String())
		t.mark(timeline.Injected, action.String())
	}
	return begun, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// outage lets joiners in and waits until the failure has lasted long enough and everybody recovered, or should have.
func (t *run) outage(ctx context.Context, begun time.Time) error {
	if err := t.stage.open(ctx, scenario.Outage); err != nil {
		return err
	}
	joined := time.Now()
	if err := sleep(ctx, time.Until(begun.Add(t.drill.Hold))); err != nil {
		return err
	}
	deadline := begun.Add(t.drill.Targets.RecoveredWithin)
	if within := t.drill.Targets.JoinedWithin; within != nil && joined.Add(*within).After(deadline) {
		deadline = joined.Add(*within)
	}
	t.say(Recovering, "at most until %s after the injection", deadline.Sub(begun).Round(time.Second))
	ok, err := t.watch.until(ctx, deadline, t.recovered)
	if err != nil {
		return err
	}
	if !ok {
		t.say(Recovering, "not everybody recovered in time")
	}
	return nil
}

// recovered reports whether everybody has media and, where the drill demands it, signaling.
func (t *run) recovered(views map[timeline.Person]*timeline.View) bool {
	for _, p := range people(views) {
		v := views[p]
		if !v.Flowing() || t.drill.Targets.Signaling && !v.Connected {
			return false
		}
	}
	return len(views) == len(t.stage.clients)
}

// heal undoes everything, the last first, and returns when that began.
func (t *run) heal(ctx context.Context) (time.Time, error) {
	at := t.mark(timeline.Heal, "")
	var problems []error
	for _, u := range slices.Backward(t.undo) {
		if u.action.Verb.Undo != "" {
			t.say(Healing, "%s: %s", u.action, u.action.Verb.Undo)
		}
		if err := u.do(ctx); err != nil {
			problems = append(problems, fmt.Errorf("%w: heal %s: %w", ErrInjection, u.action, err))
		}
	}
	t.undo = nil
	t.mark(timeline.Healed, "")
	return at, errors.Join(problems...)
}

// recover waits until the cluster is whole and the visits are together again, and then watches for a while.
func (t *run) recover(ctx context.Context, healed time.Time) error {
	t.say(Settling, "until the cluster is healthy, at most %s", t.drill.Targets.WholeWithin)
	if err := t.whole(ctx, healed.Add(t.drill.Targets.WholeWithin)); err != nil {
		return err
	}
	if within := t.drill.Targets.RejoinedWithin; within != nil {
		t.say(Settling, "until the visits are together again, at most %s", *within)
		_, err := t.watch.until(ctx, healed.Add(*within), func(views map[timeline.Person]*timeline.View) bool {
			return !slices.ContainsFunc(t.drill.Visits, func(v scenario.Visit) bool { return !timeline.Together(v, views) })
		})
		if err != nil {
			return err
		}
	}
	return sleep(ctx, t.drill.Settle)
}

// whole waits until the cluster is healthy; that it is not in time is for the judge.
func (t *run) whole(ctx context.Context, deadline time.Time) error {
	unhealthy, err := t.healthy(ctx, deadline)
	switch {
	case err != nil:
		return err
	case unhealthy != nil:
		t.say(Settling, "still not healthy: %s", unhealthy)
	default:
		t.mark(timeline.Whole, "")
	}
	return nil
}

// healthy asks for the cluster's health until it is well or the time comes, and returns what was wrong last; err is that of ctx.
func (t *run) healthy(ctx context.Context, deadline time.Time) (unhealthy, err error) {
	for {
		unhealthy = t.Cluster.Healthy(ctx)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if unhealthy == nil || time.Now().After(deadline) {
			return unhealthy, nil
		}
		if err := sleep(ctx, t.pace.ask); err != nil {
			return nil, err
		}
	}
}

// clean heals what is left broken and ends the visits, also after ctx ended.
func (t *run) clean(ctx context.Context) error {
	interrupted := ctx.Err() != nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.pace.cleanup)
	defer cancel()
	var problems []error
	if len(t.undo) > 0 {
		if interrupted {
			t.say(Healing, "interrupted: healing what was broken")
		}
		_, err := t.heal(ctx)
		problems = append(problems, err)
	}
	if interrupted {
		t.say(Settling, "interrupted: ending the participants")
	}
	return errors.Join(append(problems, t.stage.close(ctx))...)
}
