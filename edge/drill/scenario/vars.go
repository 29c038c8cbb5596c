package scenario

import (
	"fmt"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// Server is a media server, gateway or relay as injections name it.
type Server struct{ ID, Node, Region string }

// Facts are what is known about the visits once they run: what the variables of injections stand for.
type Facts struct {
	// Visits by name.
	Visits map[string]VisitFacts
}

// VisitFacts are one visit's.
type VisitFacts struct {
	SFU  Server
	Home string
	// Participants by name.
	Participants map[string]ParticipantFacts
}

// ParticipantFacts are one participant's.
type ParticipantFacts struct{ Gateway, Relay Server }

func (s Server) value() cty.Value {
	return cty.ObjectVal(map[string]cty.Value{
		"id": cty.StringVal(s.ID), "node": cty.StringVal(s.Node), "region": cty.StringVal(s.Region),
	})
}

// context makes the facts the variables of an expression.
func (f Facts) context() *hcl.EvalContext {
	visits := make(map[string]cty.Value, len(f.Visits))
	for name, v := range f.Visits {
		people := make(map[string]cty.Value, len(v.Participants))
		for person, p := range v.Participants {
			people[person] = cty.ObjectVal(map[string]cty.Value{"gateway": p.Gateway.value(), "relay": p.Relay.value()})
		}
		visits[name] = cty.ObjectVal(map[string]cty.Value{
			"sfu": v.SFU.value(), "home": cty.StringVal(v.Home), "participant": cty.ObjectVal(people),
		})
	}
	return &hcl.EvalContext{Variables: map[string]cty.Value{"visit": cty.ObjectVal(visits)}}
}

// Injection is one thing to break. Its target may depend on where the visits are.
type Injection struct {
	Verb Verb
	// After is when, counted from the first injection.
	After time.Duration
	// Text is the injection as it is written, such as kill visit.v.sfu.node sfu.
	Text                  string
	target, peer, process hcl.Expression
}

// Action is an injection whose variables are known.
type Action struct {
	Verb   Verb
	Target string
	// Peer is the other end of a cut, Process a process or a Nomad job; see Verb.
	Peer, Process string
}

// Object is the second argument of the verb, empty if it has none.
func (a Action) Object() string {
	if a.Peer != "" {
		return a.Peer
	}
	return a.Process
}

// String is how the action is shown, such as "kill east-media-1 sfu".
func (a Action) String() string {
	text := a.Verb.Name + " " + a.Target
	if object := a.Object(); object != "" {
		text += " " + object
	}
	return text
}

// Resolve evaluates the variables. ErrInvalid where one is not known, such as the relay of somebody without one.
func (i Injection) Resolve(facts Facts) (Action, error) {
	context := facts.context()
	action := Action{Verb: i.Verb}
	for _, argument := range []struct {
		name       string
		expression hcl.Expression
		to         *string
	}{{"target", i.target, &action.Target}, {"peer", i.peer, &action.Peer}, {"process", i.process, &action.Process}} {
		if argument.expression == nil {
			continue
		}
		text, err := evaluate(argument.expression, context)
		if err != nil {
			return Action{}, err
		}
		if !names.MatchString(text) {
			place := argument.expression.Range()
			return Action{}, fmt.Errorf("%w: %s:%d: %s of %s is %q, must be a name: the visit has no such server",
				ErrInvalid, place.Filename, place.Start.Line, argument.name, i.Verb.Name, text)
		}
		*argument.to = text
	}
	return action, nil
}

// evaluate gives the string that an expression stands for.
func evaluate(expression hcl.Expression, context *hcl.EvalContext) (string, error) {
	value, diagnostics := expression.Value(context)
	if diagnostics.HasErrors() {
		return "", invalid(diagnostics)
	}
	value, err := convert.Convert(value, cty.String)
	if err != nil || value.IsNull() || !value.IsKnown() {
		place := expression.Range()
		return "", fmt.Errorf("%w: %s:%d: must be a string", ErrInvalid, place.Filename, place.Start.Line)
	}
	value, _ = value.UnmarkDeep()
	return value.AsString(), nil
}
