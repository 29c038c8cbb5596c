package drill

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wardline/wardline/edge/drill/scenario"
	"github.com/wardline/wardline/edge/drill/timeline"
)

// Runner runs drills, one after the other.
type Runner struct {
	Injectors []Injector
	Cluster   Cluster
	Visits    Visits
	Clients   Clients
	// Gateways are tried before those of the cluster when a visit is created, and used by participants whose gateway is not in
	// the catalog. They may be none.
	Gateways []string
	// Progress is told each step; it may be nil.
	Progress func(Progress)

	pace pace
}

// Check says whether the runner can do everything a drill and its controls ask for.
func (r *Runner) Check(d scenario.Drill) error {
	injections := d.Injections
	for _, c := range d.Controls {
		injections = append(injections[:len(injections):len(injections)], c.Injections...)
	}
	for _, i := range injections {
		if r.injector(i.Verb) == nil {
			return fmt.Errorf("drill %s: verb %s breaks a %s, which this run is not given", d.Name, i.Verb.Name, i.Verb.Place)
		}
	}
	return nil
}

func (r *Runner) injector(verb scenario.Verb) Injector {
	for _, i := range r.Injectors {
		if i.Can(verb) {
			return i
		}
	}
	return nil
}

// Run runs a drill and then its controls. Outcomes are those that began, also where the error says that ctx ended; whatever
// was broken has been healed.
func (r *Runner) Run(ctx context.Context, d scenario.Drill) ([]Outcome, error) {
	outcomes := []Outcome{r.once(ctx, d, "")}
	for _, c := range d.Controls {
		if ctx.Err() != nil {
			break
		}
		outcomes = append(outcomes, r.once(ctx, c.AsDrill(d), c.Name))
	}
	return outcomes, context.Cause(ctx)
}

// once runs a drill, or the control of that name.
func (r *Runner) once(ctx context.Context, d scenario.Drill, control string) Outcome {
	if r.pace == (pace{}) {
		r.pace = normalPace
	}
	o := Outcome{Drill: d.Name, Control: control, Description: d.Description, Begin: time.Now().UTC(), Actions: []string{}}
	t := &run{Runner: r, drill: d, control: control, watch: newWatch()}
	err := t.run(ctx)
	leftover := t.clean(ctx)
	o.Finish, o.Events, o.Actions = time.Now().UTC(), t.watch.all(), append(o.Actions, t.actions...)
	if err != nil {
		o.Error = errors.Join(err, leftover).Error()
		t.say(Done, "%s: %s", o.Verdict(), o.Error)
		return o
	}
	result, err := timeline.Judge(d, o.Events)
	if err == nil {
		o.Result = &result
	}
	if err = errors.Join(err, leftover); err != nil {
		o.Error = err.Error()
	}
	o.Passed = err == nil && result.Met == (control == "")
	t.say(Done, "%s: %s", o.Verdict(), summary(result))
	return o
}

// summary is a result in one line.
func summary(r timeline.Result) string {
	text := fmt.Sprintf("visits lost %d, resumed %d, longest gap %s", r.Lost, r.Resumed, r.LongestGap.Max)
	for _, c := range r.Checks {
		if !c.Met {
			text += fmt.Sprintf("; %s: %s, must be %s", c.Name, c.Actual, c.Target)
		}
	}
	return text
}

// run is one run of one drill.
type run struct {
	*Runner
	drill   scenario.Drill
	control string
	watch   *watch
	stage   stage
	actions []string
	undo    []undo
}

// undo heals one action.
type undo struct {
	action scenario.Action
	do     func(context.Context) error
}

func (t *run) say(phase Phase, format string, args ...any) {
	if t.Progress == nil {
		return
	}
	text := fmt.Sprintf(format, args...)
	t.Progress(Progress{At: time.Now().UTC(), Drill: t.drill.Name, Control: t.control, Phase: phase, Text: text})
}

func (t *run) mark(kind timeline.Kind, text string) time.Time {
	now := time.Now().UTC()
	t.watch.add(timeline.Event{At: now, Kind: kind, Text: text})
	return now
}

// run goes through the phases; what is left broken or open is for clean.
func (t *run) run(ctx context.Context) error {
	t.say(Preparing, "is the cluster healthy?")
	unhealthy, err := t.healthy(ctx, time.Now().Add(t.pace.ready))
	if err != nil {
		return err
	}
	if unhealthy != nil {
		return fmt.Errorf("%w: %w", ErrNotReady, unhealthy)
	}
	t.stage.run = t
	if err := t.stage.learn(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrNotReady, err)
	}
	if err := t.stage.open(ctx, scenario.Before); err != nil {
		return err
	}
	if err := t.baseline(ctx); err != nil {
		return err
	}
	begun, err := t.breakThings(ctx)
	if err != nil {
		return err
	}
	if err := t.outage(ctx, begun); err != nil {
		return err
	}
	healed, err := t.heal(ctx)
	if err != nil {
		return err
	}
	if err := t.recover(ctx, healed); err != nil {
		return err
	}
	t.mark(timeline.End, "")
	return nil
}

// baseline waits until all exchange media, undisturbed for as long as the drill wants.
func (t *run) baseline(ctx context.Context) error {
	t.say(Joining, "%d participants join", len(t.stage.clients))
	deadline := time.Now().Add(t.pace.join)
	for {
		ok, err := t.watch.until(ctx, deadline, func(views map[timeline.Person]*timeline.View) bool { return t.exchanging(views) })
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%w: after %s %s", ErrVisits, t.pace.join, t.missing())
		}
		t.say(Stable, "everybody exchanges media: undisturbed for %s?", t.drill.Baseline)
		disturbed, err := t.watch.until(ctx, time.Now().Add(t.drill.Baseline), func(views map[timeline.Person]*timeline.View) bool {
			return !t.exchanging(views)
		})
		if err != nil || !disturbed {
			return err
		}
	}
}

// exchanging reports whether all who joined before the failure hear all others of their visit who did.
func (t *run) exchanging(views map[timeline.Person]*timeline.View) bool {
	return t.silentPair(views) == ""
}

// silentPair describes the first participant who does not hear another, or whose relay is not known yet.
func (t *run) silentPair(views map[timeline.Person]*timeline.View) string {
	for _, visit := range t.drill.Visits {
		for _, p := range visit.Participants {
			if p.Joins != scenario.Before {
				continue
			}
			v := views[timeline.Person{Visit: visit.Name, Participant: p.Name}]
			if p.Relay && v != nil && v.Flowing() && v.Relay == "" {
				return fmt.Sprintf("%s of %s does not say which relay it uses", p.Name, visit.Name)
			}
			for _, other := range visit.Participants {
				if other.Joins == scenario.Before && other.Name != p.Name && (v == nil || !v.From(other.Name)) {
					return describe(visit.Name, p.Name, other.Name, v)
				}
			}
		}
	}
	return ""
}

func describe(visit, participant, other string, v *timeline.View) string {
	text := fmt.Sprintf("%s of %s has no media of %s", participant, visit, other)
	switch {
	case v == nil || v.Started.IsZero():
		return text + ": was not started"
	case v.Ended:
		return text + ": its client ended: " + v.Why
	case !v.Connected:
		return text + ": no gateway took it in"
	case v.SFU == "":
		return text + ": was not sent to a media server"
	}
	return text + ", on " + v.SFU
}

func (t *run) missing() (text string) {
	t.watch.look(func(views map[timeline.Person]*timeline.View) { text = t.silentPair(views) })
	if err := t.watch.said(); err != nil {
		text += fmt.Sprintf(" (and a client said what is %v)", err)
	}
	return text
}
