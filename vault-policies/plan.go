package vaultpolicies

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/wardline/wardline/core/secrets"
)

// Action is what applying does to one thing.
type Action string

// Actions. Conflict is what cannot be changed, and Missing what has to be done by hand.
const (
	Create    Action = "create"
	Update    Action = "update"
	Unchanged Action = "unchanged"
	Conflict  Action = "conflict"
	Missing   Action = "missing"
)

// Change is one line of a plan. It never holds a secret.
type Change struct {
	Action Action
	// Kind is mount, auth, policy, object, shared or authority.
	Kind string
	Name string
	// Detail names the fields that differ, or says what to do.
	Detail string
}

func (c Change) String() string {
	line := fmt.Sprintf("%-9s  %-9s  %s", c.Action, c.Kind, c.Name)
	if c.Detail != "" {
		line += "  (" + c.Detail + ")"
	}
	return line
}

// Plan is what applying does or did.
type Plan []Change

// Write prints the plan, one line a thing, and a line with the sum.
func (p Plan) Write(w io.Writer) error {
	count := map[Action]int{}
	for _, change := range p {
		count[change.Action]++
		if _, err := fmt.Fprintln(w, change); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%d to create, %d to update, %d unchanged, %d in conflict, %d missing\n",
		count[Create], count[Update], count[Unchanged], count[Conflict], count[Missing])
	return err
}

// ErrConflict says that something exists in a way that cannot be changed; a person has to decide.
var ErrConflict = errors.New("conflict")

// SharedRotator makes a new version of a shared secret; secrets.Vault is one.
type SharedRotator interface {
	RotateShared(ctx context.Context, name string) error
}

// Applier brings a region's Vault to the state that the files describe. Its client needs a token that may set up
// mounts, policies and roles: no component's.
type Applier struct {
	Client  *api.Client
	Rotator SharedRotator
	// DryRun changes nothing.
	DryRun bool

	plan Plan
	// fresh are the mounts made by this plan.
	fresh []string
}

// Apply compares and, unless DryRun is set, changes what differs. Doing it again changes nothing. It goes on after a
// conflict and returns ErrConflict at the end.
func (a *Applier) Apply(ctx context.Context, settings Settings) (Plan, error) {
	settings.defaults()
	if err := settings.Check(); err != nil {
		return nil, err
	}
	wanted, err := load(settings)
	if err != nil {
		return nil, fmt.Errorf("vault-policies: %w", err)
	}
	a.plan, a.fresh = nil, nil
	if err := a.all(ctx, wanted); err != nil {
		return a.plan, err
	}
	if slices.ContainsFunc(a.plan, func(c Change) bool { return c.Action == Conflict }) {
		return a.plan, fmt.Errorf("%w: some things are set up in a way that cannot be changed", ErrConflict)
	}
	return a.plan, nil
}

func (a *Applier) all(ctx context.Context, wanted *state) error {
	if err := a.mounts(ctx, wanted.mounts); err != nil {
		return err
	}
	for _, component := range Components() {
		if err := a.policy(ctx, component); err != nil {
			return err
		}
	}
	for _, object := range wanted.objects {
		if err := a.object(ctx, object); err != nil {
			return err
		}
	}
	for _, name := range wanted.shared {
		if err := a.shared(ctx, name); err != nil {
			return err
		}
	}
	return a.authority(ctx)
}

// note adds a line to the plan and runs change if it is one and not a dry run.
func (a *Applier) note(c Change, change func() error) error {
	a.plan = append(a.plan, c)
	if a.DryRun || c.Action != Create && c.Action != Update {
		return nil
	}
	if err := change(); err != nil {
		return fmt.Errorf("%s %s %s: %w", c.Action, c.Kind, c.Name, err)
	}
	return nil
}

func (a *Applier) policy(ctx context.Context, component Component) error {
	text, err := Policy(component)
	if err != nil {
		return err
	}
	name := component.PolicyName()
	current, err := a.Client.Sys().GetPolicyWithContext(ctx, name)
	if err != nil {
		return fmt.Errorf("read policy %s: %w", name, err)
	}
	change := Change{Action: Unchanged, Kind: "policy", Name: name}
	switch {
	case current == "":
		change.Action = Create
	case strings.TrimSpace(current) != strings.TrimSpace(text):
		change.Action, change.Detail = Update, "text differs"
	}
	return a.note(change, func() error { return a.Client.Sys().PutPolicyWithContext(ctx, name, text) })
}

func (a *Applier) object(ctx context.Context, wanted object) error {
	current, err := a.read(ctx, wanted.path)
	if err != nil {
		return err
	}
	if a.isFresh(wanted.path) {
		current = nil // what an engine has by itself at the start is not worth telling from nothing
	}
	change := Change{Action: Unchanged, Kind: "object", Name: wanted.path}
	differing := differences(wanted.data, current)
	switch fixed := differences(wanted.fixed, current); {
	case current == nil:
		change.Action = Create
	case len(fixed) > 0:
		change.Action, change.Detail = Conflict, "cannot be changed: "+strings.Join(fixed, ", ")
	case len(differing) > 0:
		change.Action, change.Detail = Update, strings.Join(differing, ", ")
	}
	body := maps.Clone(wanted.data)
	if change.Action == Create && wanted.fixed != nil {
		body = maps.Clone(wanted.fixed)
		maps.Copy(body, wanted.data)
	}
	return a.note(change, func() error { return a.write(ctx, wanted.path, body) })
}

func (a *Applier) isFresh(path string) bool {
	return slices.ContainsFunc(a.fresh, func(mount string) bool { return strings.HasPrefix(path, mount+"/") })
}

// read returns what is at a path, nil where nothing is, also for want of the mount.
func (a *Applier) read(ctx context.Context, path string) (map[string]any, error) {
	secret, err := a.Client.Logical().ReadWithContext(ctx, path)
	if response, ok := errors.AsType[*api.ResponseError](err); ok && response.StatusCode == http.StatusNotFound {
		return nil, nil //nolint:nilnil // nothing there
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if secret == nil {
		return nil, nil //nolint:nilnil // nothing there
	}
	return secret.Data, nil
}

// settleTick is how often a write is tried again while an engine that was just mounted gets ready.
const settleTick = 100 * time.Millisecond

// write sends a body, again for as long as the engine says that it is being upgraded, as a new KV engine does.
func (a *Applier) write(ctx context.Context, path string, body map[string]any) error {
	for {
		_, err := a.Client.Logical().WriteWithContext(ctx, path, body)
		if err == nil || !strings.Contains(err.Error(), "Upgrading from non-versioned") {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(settleTick):
		}
	}
}

// differences names the wanted fields that are otherwise. Fields nobody asks for are Vault's defaults.
func differences(wanted, current map[string]any) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if !same(wanted[name], current[name]) {
			names = append(names, name)
		}
	}
	return names
}

// same compares as JSON; nothing, an empty list and an empty text are alike, as Vault returns either.
func same(a, b any) bool {
	if empty(a) && empty(b) {
		return true
	}
	return reflect.DeepEqual(normal(a), normal(b))
}

func empty(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case string:
		return value == ""
	case []any:
		return len(value) == 0
	case map[string]any:
		return len(value) == 0
	}
	return false
}

// normal turns numbers of every kind into float64.
func normal(value any) any {
	text, err := json.Marshal(value)
	if err != nil {
		return value
	}
	var plain any
	if json.Unmarshal(text, &plain) != nil {
		return value
	}
	return plain
}

func (a *Applier) shared(ctx context.Context, name string) error {
	current, err := a.read(ctx, secrets.SharedMount+"/metadata/"+secrets.SharedPath+"/"+name)
	if err != nil {
		return err
	}
	change := Change{Action: Unchanged, Kind: "shared", Name: name}
	if current == nil {
		change.Action = Create
	}
	return a.note(change, func() error { return a.Rotator.RotateShared(ctx, name) })
}
