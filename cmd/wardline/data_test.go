package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// link has a link made for somebody in the visits of a data folder.
func link(t *testing.T, data string) (code int, out, errs string) {
	t.Helper()
	return runCommand(t, "", "token", "--data", data, "--encounter", "v-1", "--role", "patient", "--participant", "p-1", "--format", "link")
}

func TestLinksLeadToNoDevThatHasEnded(t *testing.T) {
	data := t.TempDir()
	t.Run("while it runs", func(t *testing.T) {
		url := startDevHere(t, data)
		code, out, errs := link(t, data)
		require.Equal(t, exitOK, code, errs)
		require.Contains(t, out, url+"/visit#")
	})
	code, _, errs := link(t, data)
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, "no wardline dev runs on --data "+data+"; start it, or give --url")

	killed := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	require.NoError(t, killed.Run())
	state, err := json.Marshal(devState{URL: "https://127.0.0.1:8443", PID: killed.Process.Pid})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(statePath(data), state, 0o600))
	code, _, errs = link(t, data)
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, "no wardline dev runs on")
}

func TestAGatewayForgetsItselfAlone(t *testing.T) {
	data := t.TempDir()
	require.NoError(t, removeState(data, "https://127.0.0.1:1"), "there is none")
	require.NoError(t, writeState(data, "https://127.0.0.1:2"))
	require.NoError(t, removeState(data, "https://127.0.0.1:1"))
	url, err := runningURL(data, "--url")
	require.NoError(t, err)
	require.Equal(t, "https://127.0.0.1:2", url)
}
