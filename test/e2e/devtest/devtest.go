// Package devtest runs "wardline dev" as its users do, for tests from outside.
package devtest

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Binary is the path of the program under test, once Main has built it.
var Binary string

// Main builds the program, runs the tests and returns their exit code, for a TestMain.
func Main(m *testing.M) int {
	folder, err := os.MkdirTemp("", "wardline-e2e-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	Binary = filepath.Join(folder, "wardline")
	build := exec.CommandContext(context.Background(), "go", "build", "-o", Binary, "github.com/wardline/wardline/cmd/wardline")
	if out, err := build.CombinedOutput(); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// Environment is the test's without what somebody exported for wardline: its flags have twins there.
func Environment() []string {
	return slices.DeleteFunc(os.Environ(), func(each string) bool { return strings.HasPrefix(each, "WARDLINE_") })
}

// FreePorts finds ports of 127.0.0.1 nobody listens on, all different.
func FreePorts(t *testing.T, count int) []int {
	t.Helper()
	ports, listeners := make([]int, count), make([]net.Listener, count)
	for i := range ports {
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		address, ok := listener.Addr().(*net.TCPAddr)
		require.True(t, ok)
		ports[i], listeners[i] = address.Port, listener
	}
	for _, listener := range listeners {
		require.NoError(t, listener.Close())
	}
	return ports
}

// Dev is a running "wardline dev".
type Dev struct {
	T    *testing.T
	Cmd  *exec.Cmd
	Data string // its folder
	URL  string // of its gateway

	done chan struct{} // closed once it has ended

	mu     sync.Mutex
	output []string
}

// Start runs dev on free ports with plain HTTP and waits until it has printed its links.
func Start(t *testing.T, extra ...string) *Dev {
	t.Helper()
	d := &Dev{T: t, Data: t.TempDir(), done: make(chan struct{})}
	args := append([]string{
		"dev", "--data", d.Data, "--http", "127.0.0.1:0", "--media", "127.0.0.1:0", "--turn", "127.0.0.1:0",
		"--admin", "127.0.0.1:0", "--plain-http",
	}, extra...)
	d.Cmd = exec.CommandContext(t.Context(), Binary, args...)
	d.Cmd.Env = Environment()
	d.Cmd.Cancel = func() error { return d.Cmd.Process.Signal(syscall.SIGTERM) }
	d.Cmd.WaitDelay = 10 * time.Second
	stdout, err := d.Cmd.StdoutPipe()
	require.NoError(t, err)
	stderr := &strings.Builder{}
	d.Cmd.Stderr = stderr
	require.NoError(t, d.Cmd.Start())
	ready := make(chan struct{})
	go func() {
		defer close(d.done)
		d.read(bufio.NewScanner(stdout), ready)
		_ = d.Cmd.Wait()
	}()
	t.Cleanup(func() {
		d.Interrupt()
		if t.Failed() {
			t.Logf("dev: %s\n%s", d.Text(), stderr)
		}
	})
	select {
	case <-ready:
	case <-d.done:
		t.Fatalf("dev ended: %s", stderr)
	case <-time.After(20 * time.Second):
		t.Fatal("dev printed no links")
	}
	d.URL = regexp.MustCompile(`(http://\S+)/visit#`).FindStringSubmatch(d.Text())[1]
	return d
}

func (d *Dev) read(lines *bufio.Scanner, ready chan struct{}) {
	for lines.Scan() {
		d.mu.Lock()
		d.output = append(d.output, lines.Text())
		d.mu.Unlock()
		if strings.HasPrefix(lines.Text(), "Ctrl-C") {
			close(ready)
		}
	}
}

// Text is what it has printed.
func (d *Dev) Text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.output, "\n")
}

// Interrupt presses Ctrl-C and returns how long it took to end.
func (d *Dev) Interrupt() time.Duration {
	begin := time.Now()
	_ = d.Cmd.Process.Signal(os.Interrupt)
	<-d.done
	return time.Since(begin)
}

// Run runs one command to its end.
func Run(t *testing.T, args ...string) (stdout, stderr string, exit int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), Binary, args...)
	cmd.Env = Environment()
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out.String()), strings.TrimSpace(errs.String()), cmd.ProcessState.ExitCode()
}

// Token mints a join token beside the running dev.
func (d *Dev) Token(encounter, role, participant string, more ...string) string {
	d.T.Helper()
	out, errs, exit := Run(d.T, append([]string{
		"token", "--data", d.Data, "--encounter", encounter, "--role", role, "--participant", participant,
	}, more...)...)
	require.Zero(d.T, exit, errs)
	return out
}
