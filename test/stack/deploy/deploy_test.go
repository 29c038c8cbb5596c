//go:build linux

package deploy_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	stack "github.com/wardline/wardline/test/stack"
	"github.com/wardline/wardline/test/stack/deploy"
)

// enabled is set where these tests are to run: they need root, two minutes and a GiB.
const enabled = "WARDLINE_STACK"

// regions of the world, the primary first.
var regions = []string{"east", "west", "onprem"}

// running is a world with Wardline in it.
type running struct {
	*stack.World
	artifacts string
	release   deploy.Release
}

// run starts a world and brings Wardline into it.
func run(t *testing.T) running {
	t.Helper()
	if os.Getenv(enabled) != "1" {
		t.Skipf("SKIPPED, NOT TESTED: a world of real Consul and Nomad servers; set %s=1", enabled)
	}
	w := running{artifacts: t.TempDir()}
	binary, err := deploy.Build(t.Context(), w.artifacts)
	require.NoError(t, err)
	w.release, err = deploy.NewRelease(binary, "1.0.0")
	require.NoError(t, err)
	w.World, err = stack.Start(t.Context(), stack.Options{Regions: regions, Artifacts: w.artifacts, Progress: t.Output()})
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			w.showLogs(t)
		}
		require.NoError(t, w.Close())
	})
	begun := time.Now()
	require.NoError(t, deploy.Run(t.Context(), w.World, w.release, t.Output()))
	t.Logf("deployed in %.1f s", time.Since(begun).Seconds())
	return w
}

// showLogs shows the last words of every task.
func (w running) showLogs(t *testing.T) {
	t.Helper()
	logs, _ := filepath.Glob(filepath.Join(w.Dir(), "*", "nomad", "alloc", "*", "alloc", "logs", "*.stderr.*"))
	for _, log := range logs {
		text, _ := os.ReadFile(log)
		const most = 3000
		t.Logf("%s:\n%s", log, text[max(0, len(text)-most):])
	}
}

// inside returns a program that runs another one in the network of a node, with everything else as it is here.
func (w running) inside(t *testing.T, node, program string) string {
	t.Helper()
	m, err := w.Machine(node)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), node)
	script := fmt.Sprintf("#!/bin/sh\nexec nsenter --net=/proc/%d/ns/net -- %s \"$@\"\n", m.PID(), program)
	require.NoError(t, os.WriteFile(path, []byte(script), 0o700))
	return path
}

func (w running) link(t *testing.T, region, encounter, role, participant string) string {
	t.Helper()
	link, err := deploy.Link(t.Context(), w.World, w.release, region, encounter, role, participant)
	require.NoError(t, err)
	return link
}

// chromium is Debian's; make setup installs it.
const chromium = "/usr/bin/chromium"

func TestWardlineOnNomad(t *testing.T) {
	w := run(t)
	t.Run("two browsers in different regions have a visit", func(t *testing.T) {
		cmd := exec.CommandContext(t.Context(), "node", "--test", "world/visit.mjs")
		cmd.Dir = filepath.Join("..", "..", "e2e")
		cmd.Env = append(os.Environ(),
			"WARDLINE_PROVIDER_BROWSER="+w.inside(t, "east-guest-1", chromium),
			"WARDLINE_PROVIDER_LINK="+w.link(t, "east", "browsers", "provider", "provider-1"),
			"WARDLINE_PATIENT_BROWSER="+w.inside(t, "onprem-guest-1", chromium),
			"WARDLINE_PATIENT_LINK="+w.link(t, "onprem", "browsers", "patient", "patient-1"))
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.WaitDelay = 10 * time.Second
		output, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", output)
	})
	t.Run("each job file is valid and formatted", w.validates)
	t.Run("no secret is in a job or a task's environment", w.keepsSecrets)
	t.Run("a visit goes on while the media servers are updated", w.updatesMediaServers)
}

// validates has Nomad look at the files as they are, with nothing but the variables that have no default.
func (w running) validates(t *testing.T) {
	for _, job := range deploy.Jobs() {
		file := filepath.Join("..", "..", "..", "jobs", job+".nomad.hcl")
		for _, args := range [][]string{
			{"job", "validate", "-var", "artifact=https://artifacts.example/wardline", "-var", "checksum=" + w.release.Checksum, file},
			{"fmt", "-check", file},
		} {
			cmd := exec.CommandContext(t.Context(), w.Binary("nomad"), args...)
			cmd.Env = append(os.Environ(), w.Env("east")...)
			output, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s %s: %s", job, args[0], output)
		}
	}
}

// keepsSecrets looks where a secret must not be: what Nomad tells of the jobs, and what tasks see in their environment.
func (w running) keepsSecrets(t *testing.T) {
	m, err := w.Machine("east-gateway-1")
	require.NoError(t, err)
	processes, err := m.Processes()
	require.NoError(t, err)
	found := false
	for _, p := range processes {
		if p.Task != "gateway" {
			continue
		}
		found = true
		environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.PID))
		require.NoError(t, err)
		require.Contains(t, string(environment), "NOMAD_TASK_NAME=gateway", "the environment that is meant")
		require.NotContains(t, string(environment), "CONSUL_TOKEN")
		require.NotContains(t, string(environment), "CONSUL_HTTP_TOKEN")
		arguments, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID))
		require.NoError(t, err)
		require.Contains(t, string(arguments), "--consul-jwt-file=")
		require.NotContains(t, string(arguments), "eyJ", "the start of every JWT")
	}
	require.True(t, found, "a gateway runs on the node")
}

// updatesMediaServers rolls a new version out over the nodes of the region that hosts a visit: canary first.
func (w running) updatesMediaServers(t *testing.T) {
	clinician := w.join(t, "west-guest-1", "east", "update", "provider", "clinician")
	patient := w.join(t, "onprem-guest-1", "east", "update", "patient", "patient")
	clinician.hears(t)
	patient.hears(t)
	region := clinician.placed(t).Region

	next := filepath.Join(w.artifacts, "wardline-next")
	data, err := os.ReadFile(w.release.Binary)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(next, data, 0o644))
	release, err := deploy.NewRelease(next, "1.1.0")
	require.NoError(t, err)
	require.NoError(t, deploy.Job(t.Context(), w.World, region, "sfu", release))

	canary := false
	require.Eventually(t, func() bool {
		deployment, versions := w.rollout(t.Context(), region)
		canary = canary || versions["1.0.0"] > 0 && versions["1.1.0"] > 0
		return deployment == "successful" && versions["1.1.0"] == 2
	}, 3*time.Minute, 100*time.Millisecond, "both nodes run the new version: %s", later(func() string {
		deployment, versions := w.rollout(context.WithoutCancel(t.Context()), region)
		return fmt.Sprint(deployment, versions)
	}))
	require.True(t, canary, "one node goes first")
	require.Less(t, clinician.longestGap(), 3*time.Second)
	require.Less(t, patient.longestGap(), 3*time.Second)
	require.Greater(t, clinician.placed(t).Epoch, uint64(1), "the visit moved")
	clinician.hears(t)
	patient.hears(t)
}

// rollout is the state of the newest deployment of the SFU job, and how many instances of each version pass their checks.
func (w running) rollout(ctx context.Context, region string) (deployment string, versions map[string]int) {
	var newest struct{ Status string }
	if err := w.Nomad(region).Get(ctx, "/v1/job/sfu/deployment", &newest); err != nil {
		return err.Error(), nil
	}
	var instances []struct {
		Service struct{ Meta map[string]string }
	}
	if err := w.Consul(region).Get(ctx, "/v1/health/service/wardline-sfu?passing=true", &instances); err != nil {
		return err.Error(), nil
	}
	versions = make(map[string]int)
	for _, one := range instances {
		versions[one.Service.Meta["version"]]++
	}
	return newest.Status, versions
}

// later is a text made when it is shown.
type later func() string

func (l later) String() string { return l() }
