// Package drill runs failover drills: synthetic visits take place, something is broken, and what their participants
// notice is judged against targets. It knows neither clusters nor processes; those are behind its interfaces.
package drill

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/wardline/wardline/edge/drill/scenario"
	"github.com/wardline/wardline/edge/drill/timeline"
)

// Errors of a run that could not be judged.
var (
	// ErrNotReady says that the cluster is not fit for a drill before anything was broken.
	ErrNotReady = errors.New("the cluster is not ready for a drill")
	// ErrVisits says that the visits did not come about.
	ErrVisits = errors.New("the visits did not come about")
	// ErrInjection says that something could not be broken, or not be healed.
	ErrInjection = errors.New("the injection failed")
)

// Injector breaks things.
type Injector interface {
	// Can reports whether this injector knows the verb.
	Can(verb scenario.Verb) bool
	// Inject does as asked and returns what heals it, which is never nil and may be called once. When it fails it has undone
	// what it could.
	Inject(ctx context.Context, action scenario.Action) (undo func(context.Context) error, err error)
}

// Server is one running component of the cluster.
type Server struct {
	// Kind is "gateway", "sfu" or "relay".
	Kind             string
	ID, Node, Region string
	// Addresses are a relay's hosts; URL is a gateway's base URL.
	Addresses []string
	URL       string
}

// Cluster is what the drill runs on.
type Cluster interface {
	// Healthy returns an error that names what is not as it should be: a component that is missing since the first call,
	// critical or in maintenance, or a region that does not answer.
	Healthy(ctx context.Context) error
	// Servers lists the components; the last good answer where there is none now.
	Servers(ctx context.Context) ([]Server, error)
}

// Visits creates and ends visits.
type Visits interface {
	// Create makes a visit at the first gateway that answers and returns its id and a join token for each participant by name.
	// Participants are known to each other by their names in the scenario.
	Create(ctx context.Context, gateways []string, visit scenario.Visit) (Created, error)
	// End ends a visit for everybody; one that is gone already is no error.
	End(ctx context.Context, gateways []string, id string) error
}

// Created is a new visit.
type Created struct {
	ID     string
	Tokens map[string]string
}

// Client says which client to start.
type Client struct {
	timeline.Person
	// At is a node of a world, empty for this machine.
	At string
	// Gateways are base URLs, the first is used first.
	Gateways []string
	Token    string
	// RTT is what the client says it measured to each region, in milliseconds; empty to measure.
	RTT   map[string]int
	Relay bool
	Admit bool
}

// Clients starts participants.
type Clients interface {
	Start(ctx context.Context, client Client) (Running, error)
}

// Running is a participant's client that was started.
type Running interface {
	// Events are its lines, until it ends.
	Events() io.Reader
	// Stop asks the client to leave, ends it if it does not, and waits for it; how it ended is the error. It may be called
	// again.
	Stop(ctx context.Context) error
}

// Phase is a part of a run, in this order.
type Phase string

// Phases.
const (
	Preparing  Phase = "preparing"
	Joining    Phase = "joining"
	Stable     Phase = "stable"
	Breaking   Phase = "breaking"
	Recovering Phase = "recovering"
	Healing    Phase = "healing"
	Settling   Phase = "settling"
	Done       Phase = "done"
)

// Progress is one step of a run, for whoever watches.
type Progress struct {
	At    time.Time `json:"at"`
	Drill string    `json:"drill"`
	// Control is the negative control that runs, empty for the drill itself.
	Control string `json:"control,omitempty"`
	Phase   Phase  `json:"phase"`
	Text    string `json:"text"`
}

// Outcome is one run, of a drill or of a control.
type Outcome struct {
	Drill       string `json:"drill"`
	Control     string `json:"control,omitempty"`
	Description string `json:"description,omitempty"`
	// Begin and Finish bound the run.
	Begin  time.Time `json:"begin"`
	Finish time.Time `json:"finish"`
	// Actions are what was broken.
	Actions []string `json:"actions"`
	// Events is everything that happened, Result what it means; Result is absent where the run could not be judged.
	Events []timeline.Event `json:"events"`
	Result *timeline.Result `json:"result,omitempty"`
	// Error says why the run could not be judged, or what could not be cleaned up after it.
	Error string `json:"error,omitempty"`
	// Passed says that all is as it should be: targets met, or missed by a control.
	Passed bool `json:"passed"`
}

// Verdict is the outcome in a word or two.
func (o Outcome) Verdict() string {
	switch {
	case o.Result == nil:
		return "not judged"
	case o.Error != "":
		return "not cleaned up"
	case o.Control != "" && o.Passed:
		return "failed as it should"
	case o.Control != "":
		return "passed, but must fail"
	case o.Passed:
		return "passed"
	}
	return "failed"
}
