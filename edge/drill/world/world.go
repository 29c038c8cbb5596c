// Package world breaks the nodes of a world by a command, such as that of test/stack: COMMAND VERB TARGET [PEER|PROCESS].
package world

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/wardline/wardline/edge/drill/scenario"
)

// ErrCommand says that the world's command did not do as asked; the text has what it said.
var ErrCommand = errors.New("the world's command failed")

// commandTimeout bounds one verb: powering on a region starts all its servers.
const commandTimeout = 2 * time.Minute

// World implements drill.Injector.
type World struct{ command []string }

// New takes the command with its first arguments, separated by spaces.
func New(command string) (*World, error) {
	words := strings.Fields(command)
	if len(words) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrCommand)
	}
	return &World{words}, nil
}

// Prefix is what runs a command on a node of the world: it is followed by the command and its arguments.
func (w *World) Prefix(node string) []string {
	return append(append([]string{}, w.command...), "run", node, "--")
}

// Can implements drill.Injector.
func (w *World) Can(verb scenario.Verb) bool { return verb.Place == scenario.World }

// Inject implements drill.Injector.
func (w *World) Inject(ctx context.Context, a scenario.Action) (func(context.Context) error, error) {
	do, undo := words(a)
	if do == nil {
		return nil, fmt.Errorf("%w: it knows no verb %s", ErrCommand, a.Verb.Name)
	}
	heal := func(ctx context.Context) error { return w.run(ctx, undo) }
	if err := w.run(ctx, do); err != nil {
		// Part of a region may be broken already.
		if healErr := heal(context.WithoutCancel(ctx)); healErr != nil {
			err = fmt.Errorf("%w (and healing: %w)", err, healErr)
		}
		return nil, err
	}
	return heal, nil
}

// words are the command's arguments for an action and for healing it.
func words(a scenario.Action) (do, undo []string) {
	with := func(verb, object string) []string {
		arguments := []string{verb, a.Target}
		if object != "" {
			arguments = append(arguments, object)
		}
		return arguments
	}
	switch a.Verb.Name {
	case scenario.Kill:
		return with("kill", a.Process), with("heal", "")
	case scenario.Pause:
		return with("pause", a.Process), with("resume", a.Process)
	case scenario.Cut:
		return with("cut", a.Peer), with("heal", a.Peer)
	case scenario.PowerOff:
		return with("poweroff", ""), with("heal", "")
	case scenario.Seal:
		return with("seal", ""), with("unseal", "")
	case scenario.Deny:
		return with("deny", a.Process), with("allow", "")
	}
	return nil, nil
}

func (w *World) run(ctx context.Context, arguments []string) error {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	all := append(append([]string{}, w.command...), arguments...)
	output, err := exec.CommandContext(ctx, all[0], all[1:]...).CombinedOutput() //nolint:gosec // the operator's own command
	if err != nil {
		return fmt.Errorf("%w: %s: %w: %s", ErrCommand, strings.Join(arguments, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}
