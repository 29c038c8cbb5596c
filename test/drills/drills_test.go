//go:build linux

// Package drills holds the drills that Wardline ships, and runs them on a world of real servers.
package drills

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	stack "github.com/wardline/wardline/test/stack"
)

// enabled is set where the drills are to run: they need root, ten minutes and two GiB.
const enabled = "WARDLINE_STACK"

// reports is where a run leaves what it measured.
var reports = filepath.Join("..", "..", "build")

// world is a running world with Wardline in it, as a person has it.
type world struct {
	command, wardline, dir string
	env                    []string
}

// start brings a world up by the command that people use.
func start(t *testing.T) world {
	t.Helper()
	if os.Getenv(enabled) != "1" {
		t.Skipf("SKIPPED, NOT TESTED: drills on a world of real servers; set %s=1", enabled)
	}
	place := t.TempDir()
	w := world{command: filepath.Join(place, "world"), env: []string{"XDG_RUNTIME_DIR=" + place}}
	run(t, nil, "go", "build", "-o", w.command, "../stack/cmd/world")
	t.Cleanup(func() { run(t, w.env, w.command, "down") })
	// Nomad 1.11.3 may not start an allocation with its node that it lost sight of before, see the limits in docs/operations.md: what
	// drills break for 15 s is not lost sight of.
	run(t, w.env, w.command, "up", "--jobs", "--heartbeat-grace", "20s")
	w.dir = filepath.Join(place, filepath.Base(stack.DefaultDir()))
	w.wardline = filepath.Join(w.dir, "artifacts", "wardline")
	for line := range strings.Lines(run(t, w.env, w.command, "env", "west")) {
		w.env = append(w.env, strings.TrimPrefix(strings.TrimSpace(line), "export "))
	}
	return w
}

// run runs a command to its end and returns what it printed; a failure shows what else it said.
func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...) // without the context of the test: the world is ended after it
	cmd.Env = append(os.Environ(), env...)
	var output, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &said
	err := cmd.Run()
	require.NoError(t, err, "%s %s\n%s%s", name, args[0], &said, &output)
	return output.String()
}

// drill runs scenarios and keeps their report. It fails unless every drill passes and every control fails.
func (w world) drill(t *testing.T, report string, args ...string) {
	t.Helper()
	summary := run(t, w.env, w.wardline, append([]string{
		"drill", "--tenant-key", filepath.Join(w.dir, "tenant", "dev.key.pem"), "--ca-file", filepath.Join(w.dir, "root-ca", "root.pem"),
		"--report", filepath.Join(reports, report),
	}, args...)...)
	t.Log("\n" + summary)
}

func TestDrills(t *testing.T) {
	w := start(t)
	t.Run("Vault's failure table", func(t *testing.T) {
		w.drill(t, "drill-report-vault", "vault-table.hcl", "--world", w.command)
	})
	t.Run("the failure table", func(t *testing.T) {
		w.drill(t, "drill-report", "failure-table.hcl", "--world", w.command)
	})
	t.Run("what operators do to a real cluster", func(t *testing.T) {
		w.drill(t, "drill-report-operations", "operations.hcl", "--yes")
	})
}
