//go:build linux

package machine_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/test/stack/machine"
)

// fromFirstThread is the thread that work for a machine runs on if the process's first thread would have come to it.
var fromFirstThread int

func init() { runtime.LockOSThread() } // the first thread, see package runtime

func TestMain(m *testing.M) {
	machine.OnLesserThread(func() { fromFirstThread = syscall.Gettid() })
	runtime.UnlockOSThread()
	goleak.VerifyTestMain(m)
}

func boot(t *testing.T, name string) *machine.Machine {
	t.Helper()
	m, err := machine.Boot(t.Context(), name)
	if errors.Is(err, machine.ErrPrivileges) {
		t.Skipf("SKIPPED, NOT TESTED: %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

func TestAMachineHasItsOwnNameNetworkAndProcesses(t *testing.T) {
	m := boot(t, "alpha")
	out := filepath.Join(t.TempDir(), "out")
	require.NoError(t, m.Run(t.Context(), "sh", "-c", `{ hostname; ls /proc | grep -c '^[0-9]'; ls /proc/sys/net/ipv4/conf; } > `+out))
	text, err := os.ReadFile(out)
	require.NoError(t, err)
	fields := strings.Fields(string(text))
	require.Len(t, fields, 5)
	require.Len(t, fields[1], 1, "a handful of processes: its first one and these")
	require.Equal(t, []string{"all", "default", "lo"}, fields[2:], "loopback only")
	require.Equal(t, "alpha", fields[0])

	err = m.Run(t.Context(), "sh", "-c", "echo reason; exit 3")
	require.ErrorContains(t, err, "reason")
	require.NoError(t, m.WriteSysctl("net/ipv4/ip_forward", "1"))
	require.Error(t, m.WriteSysctl("net/no/such", "1"))
}

func TestConnectionsStayInsideAMachine(t *testing.T) {
	m := boot(t, "beta")
	var listener net.Listener
	require.NoError(t, m.InNetwork(func() (err error) {
		listener, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	}))
	defer func() { require.NoError(t, listener.Close()) }()

	conn, err := m.Dial(t.Context(), "tcp", listener.Addr().String())
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	if conn, err := net.Dial("tcp", listener.Addr().String()); err == nil {
		require.NoError(t, conn.Close())
		t.Fatal("the host reached a machine's loopback")
	}
}

func TestTheProcessItselfNeverStaysInAMachine(t *testing.T) {
	require.NotZero(t, fromFirstThread)
	require.NotEqual(t, os.Getpid(), fromFirstThread)
}

func TestPowerOffEndsEverythingAtOnce(t *testing.T) {
	m := boot(t, "gamma")
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "trap '' TERM INT HUP; sleep 1000 & setsid sleep 1000 & wait")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "NOMAD_TASK_NAME=sfu"}
	require.NoError(t, m.Start(cmd))
	var inside []machine.Process
	require.Eventually(t, func() bool {
		var err error
		inside, err = m.Processes()
		return err == nil && len(inside) == 3
	}, 10*time.Second, 10*time.Millisecond)
	require.Equal(t, "sfu", inside[0].Task)

	require.NoError(t, m.Signal(inside[2], syscall.SIGSTOP))
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	require.NoError(t, m.PowerOff())
	require.Error(t, <-ended)
	for _, p := range inside {
		require.ErrorIs(t, syscall.Kill(p.PID, 0), syscall.ESRCH)
	}
	require.False(t, m.Running())
	require.ErrorIs(t, m.Run(t.Context(), "true"), machine.ErrOff)
	require.NoError(t, m.PowerOff(), "again")
}

func TestABootThatNobodyWaitsForLeavesNothing(t *testing.T) {
	boot(t, "probe") // skips where machines are impossible
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := machine.Boot(ctx, "unwanted")
	require.ErrorIs(t, err, context.Canceled)
}

func TestIPSaysWhatIsWrong(t *testing.T) {
	m := boot(t, "delta")
	require.NoError(t, m.IP(t.Context(), "link add one type veth peer name two", "link set one up"))
	require.ErrorContains(t, m.IP(t.Context(), "link set three up"), "three")
	require.ErrorContains(t, machine.HostIP(t.Context(), "link set no-such-device up"), "no-such-device")
	require.Positive(t, m.PID())
	require.Equal(t, "delta", m.Name())
}

// A machine must not outlive whoever booted it, however that one dies.
func TestMachinesDieWithTheirOwner(t *testing.T) {
	const marker = "WARDLINE_TEST_OWNER"
	if os.Getenv(marker) != "" {
		m, err := machine.Boot(context.Background(), "orphan")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(os.Getenv(marker), []byte(m.Name()), 0o600))
		require.NoError(t, m.Run(context.Background(), "sleep", "1000"))
		return
	}
	boot(t, "probe") // skips where machines are impossible
	ready := filepath.Join(t.TempDir(), "ready")
	owner := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	owner.Env = append(os.Environ(), marker+"="+ready)
	require.NoError(t, owner.Start())
	require.Eventually(t, func() bool { _, err := os.Stat(ready); return err == nil }, 20*time.Second, 10*time.Millisecond)
	orphans := func() int {
		found, err := filepath.Glob("/proc/[0-9]*/cmdline")
		require.NoError(t, err)
		count := 0
		for _, path := range found {
			if line, err := os.ReadFile(path); err == nil && strings.HasSuffix(string(line), "\x00orphan\x00") {
				count++
			}
		}
		return count
	}
	// A process that is about to become another one is still called as its parent.
	require.Eventually(t, func() bool { return orphans() == 1 }, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, owner.Process.Kill())
	require.Error(t, owner.Wait())
	require.Eventually(t, func() bool { return orphans() == 0 }, 10*time.Second, 10*time.Millisecond)
}

func TestAgentsRunBehindEverythingElse(t *testing.T) {
	m := boot(t, "busy")
	machine.Ahead()
	for start, nice := range map[string]string{"behind": "0", "like the caller": "-5"} {
		var said bytes.Buffer
		cmd := exec.CommandContext(t.Context(), "nice")
		cmd.Stdout = &said
		if start == "behind" {
			require.NoError(t, m.StartBehind(cmd))
		} else {
			require.NoError(t, m.Start(cmd))
		}
		require.NoError(t, cmd.Wait())
		require.Equal(t, nice, strings.TrimSpace(said.String()), start)
	}
}
