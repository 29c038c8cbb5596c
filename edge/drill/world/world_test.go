package world_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/edge/drill/scenario"
	"github.com/wardline/wardline/edge/drill/world"
)

// recorder is a world's command that writes down what it was asked for, and fails for the target "mars".
func recorder(t *testing.T) (command string, asked func() []string) {
	t.Helper()
	dir := t.TempDir()
	name, log := filepath.Join(dir, "world"), filepath.Join(dir, "log")
	text := "#!/bin/sh\necho \"$*\" >>" + log + "\nif [ \"$2\" = mars ]; then echo no node mars >&2; exit 1; fi\n"
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return "/bin/sh " + name, func() []string {
		text, err := os.ReadFile(log)
		require.NoError(t, err)
		return strings.Split(strings.TrimSpace(string(text)), "\n")
	}
}

func action(t *testing.T, verb, target, peer, process string) scenario.Action {
	t.Helper()
	v, ok := scenario.FindVerb(verb)
	require.True(t, ok)
	return scenario.Action{Verb: v, Target: target, Peer: peer, Process: process}
}

func TestEveryWorldVerbIsDoneAndUndone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		action scenario.Action
		want   []string
	}{
		{action(t, "kill", "n", "", "sfu"), []string{"kill n sfu", "heal n"}},
		{action(t, "pause", "n", "", "sfu"), []string{"pause n sfu", "resume n sfu"}},
		{action(t, "pause", "n", "", ""), []string{"pause n", "resume n"}},
		{action(t, "cut", "east", "", ""), []string{"cut east", "heal east"}},
		{action(t, "cut", "n", "m", ""), []string{"cut n m", "heal n m"}},
		{action(t, "power-off", "east", "", ""), []string{"poweroff east", "heal east"}},
		{action(t, "seal", "east", "", ""), []string{"seal east", "unseal east"}},
		{action(t, "deny", "east", "", "gateway"), []string{"deny east gateway", "allow east"}},
	} {
		command, asked := recorder(t)
		w, err := world.New(command)
		require.NoError(t, err)
		require.True(t, w.Can(c.action.Verb))
		undo, err := w.Inject(t.Context(), c.action)
		require.NoError(t, err)
		require.NoError(t, undo(t.Context()))
		require.Equal(t, c.want, asked())
	}
}

func TestAWorldThatRefuses(t *testing.T) {
	t.Parallel()
	command, asked := recorder(t)
	w, err := world.New(command)
	require.NoError(t, err)
	_, err = w.Inject(t.Context(), action(t, "power-off", "mars", "", ""))
	require.ErrorIs(t, err, world.ErrCommand)
	require.ErrorContains(t, err, "no node mars")
	require.Equal(t, []string{"poweroff mars", "heal mars"}, asked(), "part of it may have been done")

	drain := action(t, "drain", "n", "", "")
	require.False(t, w.Can(drain.Verb))
	_, err = w.Inject(t.Context(), drain)
	require.ErrorIs(t, err, world.ErrCommand)
	_, err = world.New(" ")
	require.ErrorIs(t, err, world.ErrCommand)
}

func TestHowToRunOnANode(t *testing.T) {
	t.Parallel()
	w, err := world.New("go run ./world")
	require.NoError(t, err)
	require.Equal(t, []string{"go", "run", "./world", "run", "n", "--"}, w.Prefix("n"))
}
