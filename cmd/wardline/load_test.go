package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/tenants"
	"github.com/wardline/wardline/edge/load"
)

func TestALoadTestOfDevInThisProcess(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	startDevHere(t, data)
	file := filepath.Join(t.TempDir(), "load.json")
	args := []string{
		"load", "--data", data, "--visits", "2", "--publishers", "2", "--subscribers", "1", "--video-kbps", "200",
		"--duration", "1s", "--ramp", "200ms", "--json-file", file, "--min-delivered", "95", "--max-loss", "5", "--max-join-p95", "20s",
	}
	if runtime.GOOS == "linux" {
		args = append(args, "--pid", strconv.Itoa(os.Getpid()))
	}
	var out, stderr bytes.Buffer
	require.Equal(t, exitOK, execute(t.Context(), args, &out, &stderr), stderr.String())
	require.Contains(t, out.String(), "4 of 4")
	require.Contains(t, stderr.String(), "6 joined")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var report load.Report
	require.NoError(t, json.Unmarshal(text, &report))
	require.Empty(t, report.Problems, "the visits are ended as well")
	require.NotZero(t, report.Packets.Forwarded)
	require.Equal(t, report.Packets.Expected, 2*report.Packets.Published)
	require.Equal(t, runtime.GOOS == "linux", report.CPU != nil)

	out.Reset()
	stderr.Reset()
	require.Equal(t, exitFailure, execute(t.Context(), []string{
		"load", "--data", data, "--video-kbps", "0", "--duration", "1s", "--max-latency-p99", "1ns",
		"--json-file", "-", "--progress", "json",
	}, &out, &stderr))
	require.Contains(t, stderr.String(), "latency p99")
	require.NoError(t, json.Unmarshal(out.Bytes(), &report), "the report alone is on standard output")
	var progress load.Progress
	require.NoError(t, json.NewDecoder(&stderr).Decode(&progress))
}

func TestAnInterruptedLoadTestReports(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	startDevHere(t, data, "--plain-http")
	ctx, cancel := context.WithCancel(t.Context())
	var out, stderr watched
	done := make(chan int, 1)
	go func() {
		done <- execute(ctx, []string{"load", "--data", data, "--video-kbps", "0", "--duration", "1h"}, &out, &stderr)
	}()
	stderr.await(t, "measuring")
	cancel()
	require.Equal(t, exitOK, <-done, stderr.String())
	require.Contains(t, out.String(), "interrupted")
	require.NotContains(t, out.String(), "problem")
}

// TestALoadTestAsATenant is of one whose key is registered as wardline tenant add does, under its thumbprint.
func TestALoadTestAsATenant(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	startDevHere(t, data)
	key, private, _ := writeKeyPair(t)
	public, ok := key.Public().(ed25519.PublicKey)
	require.True(t, ok)
	registered := []secrets.PublicKey{{ID: secrets.Thumbprint(public), Key: public}}
	require.NoError(t, tenants.OpenDir(tenantsDir(data)).Register(t.Context(), "clinic", registered))
	var stderr bytes.Buffer
	require.Equal(t, exitOK, execute(t.Context(), []string{
		"load", "--data", data, "--tenant", "clinic", "--tenant-key", private, "--video-kbps", "0", "--duration", "1s", "--ramp", "0s",
	}, io.Discard, &stderr), stderr.String())
}

func TestALoadTestThatIsInterruptedBeforeItMeasuredKeptNoGate(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	_, err := createDevTenantKey(data)
	require.NoError(t, err)
	args := []string{"load", "--data", data, "--gateway", "https://" + freeAddress(t), "--max-loss", "1"}
	ctx, cancel := context.WithCancel(t.Context())
	var out, stderr watched
	done := make(chan int, 1)
	go func() { done <- execute(ctx, args, &out, &stderr) }()
	stderr.await(t, "0 joined")
	cancel()
	require.Equal(t, exitFailure, <-done)
	require.Contains(t, out.String(), "interrupted")
	require.Contains(t, stderr.String(), "nothing was measured")
	require.Contains(t, out.String(), "unreachable", "why nobody got in")
}

func TestWhatWasMeasuredIsShownWhereItCannotBeWritten(t *testing.T) {
	var out bytes.Buffer
	err := writeLoadReport(&out, filepath.Join(t.TempDir(), "none", "load.json"), load.Report{})
	require.ErrorContains(t, err, "--json-file: ")
	require.Contains(t, out.String(), "joins")
}

func TestLoadUsageMistakes(t *testing.T) {
	data := t.TempDir()
	_, err := createDevTenantKey(data)
	require.NoError(t, err)
	empty := filepath.Join(data, "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	for says, args := range map[string][]string{
		"visits 0: must be":                {"--visits", "0"},
		"max loss 200 %: must be 0 to 100": {"--max-loss", "200"},
		"--max-cpu: needs --pid":           {"--max-cpu", "3"},
		`--progress "loud"`:                {"--progress", "loud"},
		"--pid -4":                         {"--pid", "-4"},
		"--role":                           {"--role", "boss"},
		"--log-level":                      {"--log-level", "loud"},
		"--tenant-key":                     {"--tenant-key", empty},
		"or give --gateway":                {},
		`--gateway "visits.example:8443"`:  {"--gateway", "visits.example:8443"},
		"--ca-file":                        {"--gateway", "https://127.0.0.1:1", "--ca-file", empty},
		"--whep: needs --whip":             {"--whep", "http://127.0.0.1/whep"},
		"publish: must be http(s)://":      {"--whip", "127.0.0.1/whip"},
		"--bearer-file: " + empty:          {"--whip", "http://127.0.0.1/whip", "--bearer-file", empty},
		"--bearer-file: is for --whip and": {"--bearer-file", empty},
	} {
		var stderr bytes.Buffer
		code := execute(t.Context(), append([]string{"load", "--data", data}, args...), io.Discard, &stderr)
		require.Equal(t, exitUsage, code, "%v: %s", args, stderr.String())
		require.Contains(t, stderr.String(), says)
	}
}

func TestLoadFlagsAreDocumented(t *testing.T) {
	page := readDoc(t, "docs", "load.md")
	newLoad().Flags().VisitAll(func(flag *pflag.Flag) { require.Regexp(t, "--"+flag.Name+"[` ]", page) })
}
