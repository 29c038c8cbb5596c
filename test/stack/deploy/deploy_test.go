//go:build linux

package deploy_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/edge/drill/scenario"
	stack "github.com/wardline/wardline/test/stack"
	"github.com/wardline/wardline/test/stack/deploy"
)

// enabled is set where these tests are to run: they need root, two minutes and a GiB.
const enabled = "WARDLINE_STACK"

// regions of the world, the primary first.
var regions = []string{"east", "west"}

// running is a world with Wardline in it.
type running struct {
	*stack.World
	artifacts string
	release   deploy.Release
	// told are the join tokens that were made, which nobody but their bearers may see.
	told *[]string
}

// certificateTTL makes certificates of components change while the tests run: they are renewed after two thirds.
const certificateTTL = time.Minute

// run starts a world and brings Wardline into it.
func run(t *testing.T) running {
	t.Helper()
	if os.Getenv(enabled) != "1" {
		t.Skipf("SKIPPED, NOT TESTED: a world of real Consul and Nomad servers; set %s=1", enabled)
	}
	w := running{artifacts: t.TempDir(), told: &[]string{}}
	binary, err := deploy.Build(t.Context(), w.artifacts)
	require.NoError(t, err)
	w.release, err = deploy.NewRelease(binary, "1.0.0")
	require.NoError(t, err)
	w.World, err = stack.Start(t.Context(), stack.Options{
		Regions: regions, Artifacts: w.artifacts, Progress: t.Output(), CertificateTTL: certificateTTL,
	})
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
	for path, text := range w.taskLogs(t) {
		const most = 3000
		t.Logf("%s:\n%s", path, text[max(0, len(text)-most):])
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

// visit creates a visit of a provider and others, and returns everybody's join token.
func (w running) visit(t *testing.T, region, provider string, others ...string) map[string]string {
	t.Helper()
	people := []scenario.Participant{deploy.Person(provider, access.Provider)}
	for _, name := range others {
		people = append(people, deploy.Person(name, access.Patient))
	}
	tokens, err := deploy.Visit(t.Context(), w.World, region, people...)
	require.NoError(t, err)
	*w.told = slices.AppendSeq(*w.told, maps.Values(tokens))
	return tokens
}

func (w running) link(t *testing.T, region, token string) string {
	t.Helper()
	link, err := deploy.Link(w.World, region, token)
	require.NoError(t, err)
	return link
}

// chromium is Debian's; make setup installs it.
const chromium = "/usr/bin/chromium"

func TestWardlineOnNomad(t *testing.T) {
	w := run(t)
	t.Run("two browsers in different regions have a visit", func(t *testing.T) {
		tokens := w.visit(t, "east", "provider-1", "patient-1")
		cmd := exec.CommandContext(t.Context(), "node", "--test", "world/visit.mjs")
		cmd.Dir = filepath.Join("..", "..", "e2e")
		cmd.Env = append(os.Environ(),
			"WARDLINE_PROVIDER_BROWSER="+w.inside(t, "east-guest-1", chromium),
			"WARDLINE_PROVIDER_LINK="+w.link(t, "east", tokens["provider-1"]),
			"WARDLINE_PATIENT_BROWSER="+w.inside(t, "west-guest-1", chromium),
			"WARDLINE_PATIENT_LINK="+w.link(t, "west", tokens["patient-1"]))
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.WaitDelay = 10 * time.Second
		output, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", output)
	})
	t.Run("each job file is valid and formatted", w.validates)
	t.Run("every component is logged in as itself", w.logsIn)
	t.Run("secrets are rotated and Vault is backed up on schedule", w.runsOnSchedule)
	t.Run("a visit goes on while every secret changes", w.rotates)
	t.Run("a visit goes on while the media servers are updated", w.updatesMediaServers)
	t.Run("no secret is where others see it", w.keepsSecrets) // last, when there is most to see
}

// validates has Nomad look at the files as they are, with nothing but the variables that have no default.
func (w running) validates(t *testing.T) {
	for _, job := range append(deploy.Jobs(), deploy.Periodic()...) {
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

// updatesMediaServers rolls a new version out over the nodes of the region that hosts a visit: canary first.
func (w running) updatesMediaServers(t *testing.T) {
	tokens := w.visit(t, "east", "clinician", "patient")
	clinician := w.join(t, "west-guest-1", "east", tokens["clinician"], "--admit")
	patient := w.join(t, "east-guest-1", "east", tokens["patient"])
	clinician.hears(t)
	patient.hears(t)
	region := clinician.newest(t, "placed").Region

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
	require.Less(t, clinician.longestGap("patient"), 3*time.Second)
	require.Less(t, patient.longestGap("clinician"), 3*time.Second)
	require.Greater(t, clinician.newest(t, "placed").Epoch, uint64(1), "the visit moved")
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
