//go:build linux

package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/secrets/snapshot"
	"github.com/wardline/wardline/test/stack/deploy"
)

// runsOnSchedule has Nomad run the periodic jobs now, as their schedule would at night.
func (w running) runsOnSchedule(t *testing.T) {
	folder := filepath.Join(w.Dir(), "snapshots")
	require.NoError(t, deploy.Job(t.Context(), w.World, "east", "rotator", w.release))
	require.NoError(t, deploy.Job(t.Context(), w.World, "east", "backup", w.release, "folder="+folder, "node=east-gateway-1"))

	require.Regexp(t, `^kept roster: it is \S+ old, rotated when older than 720h
kept token: it is \S+ old, rotated when older than 720h
kept turn: it is \S+ old, rotated when older than 720h
$`, w.force(t, "rotator"))
	require.Contains(t, w.force(t, "backup"), "wrote "+folder)
	taken, err := filepath.Glob(filepath.Join(folder, "*.snap"))
	require.NoError(t, err)
	require.Len(t, taken, 1)
	info, err := snapshot.CheckFile(taken[0])
	require.NoError(t, err)
	require.Positive(t, info.Index)
}

// force runs a periodic job of east, waits until it is done and returns what it printed.
func (w running) force(t *testing.T, job string) string {
	t.Helper()
	require.NoError(t, w.Nomad("east").Put(t.Context(), "/v1/job/"+job+"/periodic/force", nil, nil))
	var output string
	var err error
	require.Eventually(t, func() bool {
		output, err = w.outcome(t.Context(), job)
		return !errors.Is(err, errRunning)
	}, time.Minute, 100*time.Millisecond, "%s has run", job)
	require.NoError(t, err, output)
	return output
}

// errRunning says that a job is not done yet.
var errRunning = errors.New("running")

// outcome is what the newest run of a periodic job printed, and whether it failed.
func (w running) outcome(ctx context.Context, job string) (string, error) {
	var runs []struct{ ID string }
	if err := w.Nomad("east").Get(ctx, "/v1/jobs?prefix="+job+"%2Fperiodic-", &runs); err != nil || len(runs) == 0 {
		return "", errors.Join(err, errRunning)
	}
	var allocations []struct{ ID, NodeName, ClientStatus string }
	if err := w.Nomad("east").Get(ctx, "/v1/job/"+url.PathEscape(runs[len(runs)-1].ID)+"/allocations", &allocations); err != nil {
		return "", err
	}
	if len(allocations) == 0 {
		return "", errRunning
	}
	logs := filepath.Join(w.Dir(), allocations[0].NodeName, "nomad", "alloc", allocations[0].ID, "alloc", "logs")
	said := func(stream string) string {
		text, _ := os.ReadFile(filepath.Join(logs, job+"."+stream+".0"))
		return string(text)
	}
	switch allocations[0].ClientStatus {
	case "complete":
		return said("stdout"), nil
	case "failed":
		return said("stdout") + said("stderr"), fmt.Errorf("%s failed: %s", job, strings.TrimSpace(said("stderr")))
	default:
		return "", errRunning
	}
}
