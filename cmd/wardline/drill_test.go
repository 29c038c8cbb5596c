package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/edge/drill"
	"github.com/wardline/wardline/edge/drill/report"
	"github.com/wardline/wardline/edge/drill/scenario"
)

const drillText = `drill "quiet" {
  description = "a node goes into maintenance"
  visit "v" {
    participant "a" {
      role = "provider"
    }
    participant "b" {
      role = "patient"
    }
  }
  inject {
    verb   = "maintenance"
    target = visit.v.sfu.node
  }
  control "strict" {
    targets {
      longest_gap = "0s"
    }
  }
}
`

func writeScenario(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "d.hcl")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

// drillFolder is a data folder with a tenant's key and a cluster of a gateway and an SFU on the folder.
func drillFolder(t *testing.T, gateway string) string {
	t.Helper()
	data := t.TempDir()
	_, err := createDevTenantKey(data)
	require.NoError(t, err)
	folder, err := discovery.OpenFolder(discoveryDir(data))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, folder.Close()) })
	for _, s := range []discovery.Service{
		{
			Name: discovery.GatewayService, ID: "g", Node: "n", Region: "local", Health: discovery.Passing,
			Meta: map[string]string{discovery.MetaURL: gateway},
		},
		{Name: discovery.SFUService, ID: "m", Node: "n", Region: "local", Health: discovery.Passing},
	} {
		require.NoError(t, folder.Register(t.Context(), s))
	}
	return data
}

func TestDrillCheckListsDrillsAndTheirMistakes(t *testing.T) {
	var out, stderr bytes.Buffer
	name := writeScenario(t, drillText)
	require.Equal(t, exitOK, execute(t.Context(), []string{"drill", "check", name}, &out, &stderr), stderr.String())
	require.Contains(t, out.String(), "maintenance visit.v.sfu.node")
	require.Contains(t, out.String(), "quiet, control strict")

	bad := writeScenario(t, strings.Replace(drillText, `"maintenance"`, `"explode"`, 1))
	require.Equal(t, exitUsage, execute(t.Context(), []string{"drill", "check", name, bad}, io.Discard, &stderr))
	require.Contains(t, stderr.String(), "d.hcl:12: verb = \"explode\"")
}

func TestDrillUsageMistakes(t *testing.T) {
	name := writeScenario(t, drillText)
	world := writeScenario(t, strings.Replace(drillText, `"maintenance"`, `"power-off"`, 1))
	data := drillFolder(t, "https://127.0.0.1:1")
	for says, args := range map[string][]string{
		"requires at least 1 arg":       {},
		"no such file":                  {name + ".missing"},
		`--only "loud": must be one of`: {name, "--only", "loud"},
		`a second drill "quiet"`:        {name, name},
		`--progress "loud"`:             {name, "--progress", "loud"},
		"--tenant-key":                  {name, "--tenant-key", name},
		"--ca-file":                     {name, "--ca-file", name},
		"--world":                       {name, "--world", " "},
		`--gateway "ftp://visits.exam`:  {name, "--gateway", "ftp://visits.example"},
		"power-off breaks a world":      {world, "--yes"},
		"or give --yes":                 {name},
	} {
		var stderr bytes.Buffer
		code := execute(t.Context(), append([]string{"drill", "--data", data}, args...), io.Discard, &stderr)
		require.Equal(t, exitUsage, code, "%v: %s", args, stderr.String())
		require.Contains(t, stderr.String(), says)
	}
}

func TestADrillThatCannotBeJudgedIsReportedAndFails(t *testing.T) {
	refusing := httptest.NewServer(http.NotFoundHandler())
	defer refusing.Close()
	dir := filepath.Join(t.TempDir(), "report")
	var out, stderr bytes.Buffer
	code := execute(t.Context(), []string{
		"drill", writeScenario(t, drillText), "--data", drillFolder(t, refusing.URL), "--yes", "--report", dir, "--progress", "json",
	}, &out, &stderr)
	require.Equal(t, exitFailure, code)
	require.Contains(t, stderr.String(), "2 of 2 runs are not as they should be")
	require.Contains(t, out.String(), "404 Not Found")
	require.Contains(t, out.String(), filepath.Join(dir, report.HTMLFile))
	var progress drill.Progress
	require.NoError(t, json.NewDecoder(&stderr).Decode(&progress))
	require.Equal(t, drill.Preparing, progress.Phase)

	text, err := os.ReadFile(filepath.Join(dir, report.JSONFile))
	require.NoError(t, err)
	var written report.Report
	require.NoError(t, json.Unmarshal(text, &written))
	require.False(t, written.Passed)
	require.Len(t, written.Runs, 2)
	require.Equal(t, "d.hcl", written.Scenarios[0].File, "no folder of this machine is in a report")
	require.NotContains(t, string(text), t.TempDir())
}

func TestAnInterruptedDrillFails(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stderr bytes.Buffer
	code := execute(ctx, []string{
		"drill", writeScenario(t, drillText), "--data", drillFolder(t, "https://127.0.0.1:1"), "--yes", "--report", t.TempDir(),
	}, io.Discard, &stderr)
	require.Equal(t, exitFailure, code)
	require.Contains(t, stderr.String(), "interrupted")
}

func TestADrillWhoseReportCannotBeWrittenStillTellsItsVerdict(t *testing.T) {
	refusing := httptest.NewServer(http.NotFoundHandler())
	defer refusing.Close()
	name := writeScenario(t, drillText)
	var out, stderr bytes.Buffer
	code := execute(t.Context(), []string{"drill", name, "--data", drillFolder(t, refusing.URL), "--yes", "--report", name}, &out, &stderr)
	require.Equal(t, exitFailure, code)
	require.Contains(t, out.String(), "quiet, control strict")
	require.Contains(t, stderr.String(), "--report: ")
}

func TestNothingIsBrokenBeforeTheRegionsNameIsTyped(t *testing.T) {
	file, err := scenario.Parse("d.hcl", []byte(drillText))
	require.NoError(t, err)
	for typed, want := range map[string]error{"east\n": nil, "  east\n": nil, "yes\n": errNotConfirmed, "": errNotConfirmed} {
		var out bytes.Buffer
		require.ErrorIs(t, confirm(t.Context(), strings.NewReader(typed), &out, "east", file.Drills), want)
		require.Contains(t, out.String(), "maintenance visit.v.sfu.node (put Consul node TARGET into maintenance mode) for 5s")
	}
	reader, writer := io.Pipe()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, confirm(ctx, reader, io.Discard, "east", file.Drills), errNotConfirmed)
	require.NoError(t, writer.Close())
	require.False(t, isTerminal(strings.NewReader("")))
}

// TestADrillAsksTheClusterItIsTold is of an environment that leads to another one, which would be broken instead.
func TestADrillAsksTheClusterItIsTold(t *testing.T) {
	consul := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = rw.Write([]byte(`{"Config": {"Datacenter": "west", "NodeName": "n"}}`))
	}))
	defer consul.Close()
	t.Setenv("CONSUL_HTTP_ADDR", "https://127.0.0.1:1")
	for _, address := range []string{consul.URL, strings.TrimPrefix(consul.URL, "http://")} {
		asked, _, err := dialConsul(address)
		require.NoError(t, err)
		_, region, err := asked.Self(t.Context())
		require.NoError(t, err)
		require.Equal(t, "west", region)
		require.NoError(t, asked.Close())
	}
}

func TestProgressForms(t *testing.T) {
	var out bytes.Buffer
	text, err := progressTo(&out, "text")
	require.NoError(t, err)
	text(drill.Progress{Drill: "d", Control: "c", Phase: drill.Breaking, Text: "kill n sfu"})
	require.Contains(t, out.String(), "d, control c: breaking: kill n sfu")
	none, err := progressTo(&out, "none")
	require.NoError(t, err)
	require.Nil(t, none)
}

func TestAVerdictIsAnExitCode(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, conclude(&out, report.Report{Passed: true, Runs: []drill.Outcome{{Drill: "d", Passed: true}}}, "page"))
	err := conclude(&out, report.Report{Runs: []drill.Outcome{{Drill: "d"}}}, "page")
	_, isRun := errors.AsType[*runError](err)
	require.True(t, isRun)
	require.ErrorContains(t, err, "1 of 1")
	require.ErrorContains(t, conclude(&out, report.Report{Interrupted: true}, "page"), "interrupted")
}
