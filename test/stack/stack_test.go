//go:build linux

package stack_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	stack "github.com/wardline/wardline/test/stack"
	"github.com/wardline/wardline/test/stack/machine"
)

// enabled lets the tests that need the real servers run.
const enabled = "WARDLINE_STACK"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start starts a world for one test, or skips it loudly.
func start(t *testing.T, o stack.Options) *stack.World {
	t.Helper()
	if os.Getenv(enabled) != "1" {
		t.Skipf("SKIPPED, NOT TESTED: a world of real Consul, Nomad and Vault servers; set %s=1", enabled)
	}
	o.Progress = t.Output()
	w, err := stack.Start(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			keepLogs(t, w)
		}
		spaces := namespaces(t, w)
		require.NoError(t, w.Close())
		require.NoError(t, w.Close(), "again")
		require.Empty(t, leftovers(t, w, spaces), "nothing is left behind")
	})
	return w
}

// keepLogs copies the agents' logs to $WARDLINE_KEEP_LOGS/NODE-AGENT.log, if that folder is named.
func keepLogs(t *testing.T, w *stack.World) {
	t.Helper()
	to := os.Getenv("WARDLINE_KEEP_LOGS")
	logs, _ := filepath.Glob(filepath.Join(w.Dir(), "*", "*.log"))
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err == nil && to != "" {
			err = os.WriteFile(filepath.Join(to, filepath.Base(filepath.Dir(path))+"-"+filepath.Base(path)), text, 0o600)
		}
		if err != nil {
			t.Logf("keep %s: %v", path, err)
		}
	}
}

// namespaces are the kernel's names of what the world's machines live in.
func namespaces(t *testing.T, w *stack.World) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, n := range w.Plan().Nodes() {
		m, err := w.Machine(n.Name)
		if errors.Is(err, machine.ErrOff) {
			continue
		}
		require.NoError(t, err)
		for _, kind := range []string{"net", "pid", "mnt"} {
			if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", m.PID(), kind)); err == nil {
				found[ns] = true
			}
		}
	}
	return found
}

// leftovers is what is there of a world: links, routes, its folder, processes in its namespaces or about its folder.
func leftovers(t *testing.T, w *stack.World, spaces map[string]bool) []string {
	t.Helper()
	var found []string
	if _, err := os.Stat(w.Dir()); err == nil {
		found = append(found, w.Dir())
	}
	addrs, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for _, addr := range addrs {
		if strings.HasPrefix(addr.String(), w.Plan().Host().String()+"/") {
			found = append(found, addr.String())
		}
	}
	routes, err := os.ReadFile("/proc/net/route")
	require.NoError(t, err)
	if strings.Contains(string(routes), fmt.Sprintf("wardline%d", w.Plan().Number)) {
		found = append(found, string(routes))
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(t, err)
	for _, process := range processes {
		line, _ := os.ReadFile(process + "/cmdline")
		inside := strings.Contains(string(line), w.Dir()+"/")
		for _, kind := range []string{"net", "pid", "mnt"} {
			if ns, err := os.Readlink(process + "/ns/" + kind); err == nil && spaces[ns] {
				inside = true
			}
		}
		if inside {
			found = append(found, process+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// eventually waits for a condition that returns an error while it does not hold.
func eventually(t *testing.T, within time.Duration, what string, holds func(ctx context.Context) error) {
	t.Helper()
	began := time.Now()
	var last error
	require.Eventually(t, func() bool {
		last = holds(t.Context())
		return last == nil
	}, within, 200*time.Millisecond, "%s: %s", what, stringer{&last})
	t.Logf("%s: %.1f s", what, time.Since(began).Seconds())
}

type stringer struct{ err *error }

func (s stringer) String() string { return fmt.Sprint(*s.err) }
