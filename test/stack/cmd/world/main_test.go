//go:build linux

package main

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	stack "github.com/wardline/wardline/test/stack"
)

// command builds this command and returns how to run it on a folder of the test's own.
func command(t *testing.T) func(args ...string) (string, error) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "world")
	output, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, "%s", output)
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	return func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), binary, args...)
		var output bytes.Buffer
		cmd.Stdout, cmd.Stderr = &output, &output
		err := cmd.Run()
		return output.String(), err
	}
}

func TestWithoutAWorld(t *testing.T) {
	world := command(t)
	text, err := world("status")
	require.Error(t, err)
	require.Contains(t, text, "no world is up")
	text, err = world("down")
	require.NoError(t, err)
	require.Contains(t, text, "no world was up")
	text, err = world("up", "--regions", "East")
	require.Error(t, err)
	require.Contains(t, text, `"East"`)
	text, err = world("--help")
	require.NoError(t, err)
	for _, usage := range stack.Verbs() {
		require.Contains(t, text, usage)
	}
}

// TestWhereWardlineFindsConsulIsNoBinary has the environment of an operator of wardline.
func TestWhereWardlineFindsConsulIsNoBinary(t *testing.T) {
	t.Setenv("WARDLINE_CONSUL", "https://10.1.0.10:8501")
	t.Setenv("WARDLINE_VAULT", "https://10.1.0.10:8200")
	text, err := command(t)("up", "--help")
	require.NoError(t, err)
	require.NotContains(t, text, "10.1.0.10")
}

func TestUpVerbsAndDownAlsoAfterACrash(t *testing.T) {
	if os.Getenv("WARDLINE_STACK") != "1" {
		t.Skip("SKIPPED, NOT TESTED: a world of real Consul, Nomad and Vault servers; set WARDLINE_STACK=1")
	}
	world := command(t)
	t.Cleanup(func() { _, _ = world("down") })
	must := func(want string, args ...string) {
		t.Helper()
		text, err := world(args...)
		require.NoError(t, err, text)
		require.Contains(t, text, want)
	}
	must("end it with", "up", "--regions", "east")
	text, err := world("up", "--regions", "east")
	require.Error(t, err)
	require.Contains(t, text, "up already")

	must("east-media-2", "status")
	must("10.", "run", "east-guest-1", "--", "ip", "-4", "addr", "show", "eth0")
	must("CONSUL_HTTP_ADDR=https://", "env", "east")
	must("VAULT_ADDR=https://", "env", "east")
	must("done", "seal", "east")
	must("sealed", "status")
	must("done", "unseal", "east")
	must("done", "kill", "east-media-1", "nomad")
	must("done", "pause", "east-media-2", "consul")
	must("done", "cut", "east-gateway-1", "east-server")
	must("cut: east-gateway-1 east-server", "status")
	must("done", "poweroff", "east-relay-1")
	must("off", "status")
	must("done", "heal", "east")
	text, err = world("status")
	require.NoError(t, err)
	require.NotContains(t, text, "down")
	require.NotContains(t, text, "sealed")
	require.NotContains(t, text, "cut")
	text, err = world("kill", "nowhere", "consul")
	require.Error(t, err)
	require.Contains(t, text, "nowhere")

	dir := stack.DefaultDir()
	must("the world is down", "down")
	require.NoDirExists(t, dir, "the next one is made in its place")
	must("end it with", "up", "--regions", "east")
	links := func() (names []string) {
		all, err := net.Interfaces()
		require.NoError(t, err)
		for _, i := range all {
			if strings.HasPrefix(i.Name, "wardline") {
				names = append(names, i.Name)
			}
		}
		return names
	}
	before := len(links())
	require.NoError(t, syscall.Kill(stack.Owner(dir), syscall.SIGKILL))
	require.Eventually(t, func() bool { return stack.Owner(dir) == 0 && len(links()) < before }, 30*time.Second, 20*time.Millisecond)
	must("removed "+dir, "down")
	require.NoDirExists(t, dir)
}
