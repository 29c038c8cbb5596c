package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/secrets"
)

// keysHere is a data folder in which a server has been.
func keysHere(t *testing.T) string {
	t.Helper()
	data := t.TempDir()
	_, err := secrets.OpenLocal(secretsDir(data))
	require.NoError(t, err)
	return data
}

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

// TestAWrongDataFolderIsNotMade is of commands that belong to servers that run on the folder.
func TestAWrongDataFolderIsNotMade(t *testing.T) {
	t.Setenv("CONSUL_HTTP_ADDR", "")
	t.Setenv("NOMAD_ADDR", "")
	key := tenantKeyPath(drillFolder(t, "https://127.0.0.1:1"))
	data := filepath.Join(t.TempDir(), "wrong")
	for _, args := range [][]string{
		{"token", "--encounter", "v-1", "--role", "patient", "--participant", "p-1"},
		{"token", "--encounter", "v-1", "--role", "patient", "--participant", "p-1", "--format", "link", "--url", "https://visits.example"},
		{"token", "api"},
		{"drill", writeScenario(t, drillText), "--tenant-key", key, "--yes"},
		{"load", "--tenant-key", key},
	} {
		code, out, errs := runCommand(t, "", append(args, "--data", data)...)
		require.NotEqual(t, exitOK, code, args)
		require.Contains(t, errs, data, args)
		require.Empty(t, out)
		require.NoDirExists(t, data, args)
	}
}
