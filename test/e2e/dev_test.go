// Package e2e tests Wardline from outside, as its users meet it: the binary, its ports and its pages.
package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// binary is the program under test.
var binary string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	folder, err := os.MkdirTemp("", "wardline-e2e-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	binary = filepath.Join(folder, "wardline")
	build := exec.CommandContext(context.Background(), "go", "build", "-o", binary, "github.com/wardline/wardline/cmd/wardline")
	if out, err := build.CombinedOutput(); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// dev is a running "wardline dev".
type dev struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan struct{} // closed once it has ended
	data string
	url  string

	mu     sync.Mutex
	output []string
}

// startDev runs dev on free ports with plain HTTP and waits until it has printed its links.
func startDev(t *testing.T, extra ...string) *dev {
	t.Helper()
	d := &dev{t: t, data: t.TempDir(), done: make(chan struct{})}
	args := append([]string{
		"dev", "--data", d.data, "--http", "127.0.0.1:0", "--media", "127.0.0.1:0", "--turn", "127.0.0.1:0",
		"--admin", "127.0.0.1:0", "--plain-http",
	}, extra...)
	d.cmd = exec.CommandContext(t.Context(), binary, args...)
	d.cmd.Cancel = func() error { return d.cmd.Process.Signal(syscall.SIGTERM) }
	d.cmd.WaitDelay = 10 * time.Second
	stdout, err := d.cmd.StdoutPipe()
	require.NoError(t, err)
	stderr := &strings.Builder{}
	d.cmd.Stderr = stderr
	require.NoError(t, d.cmd.Start())
	ready := make(chan struct{})
	go func() {
		defer close(d.done)
		d.read(bufio.NewScanner(stdout), ready)
		_ = d.cmd.Wait()
	}()
	t.Cleanup(func() {
		d.interrupt()
		if t.Failed() {
			t.Logf("dev: %s\n%s", d.text(), stderr)
		}
	})
	select {
	case <-ready:
	case <-d.done:
		t.Fatalf("dev ended: %s", stderr)
	case <-time.After(20 * time.Second):
		t.Fatal("dev printed no links")
	}
	d.url = regexp.MustCompile(`(http://\S+)/visit#`).FindStringSubmatch(d.text())[1]
	return d
}

func (d *dev) read(lines *bufio.Scanner, ready chan struct{}) {
	for lines.Scan() {
		d.mu.Lock()
		d.output = append(d.output, lines.Text())
		d.mu.Unlock()
		if strings.HasPrefix(lines.Text(), "Ctrl-C") {
			close(ready)
		}
	}
}

func (d *dev) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.output, "\n")
}

// interrupt presses Ctrl-C and returns how long it took to end.
func (d *dev) interrupt() time.Duration {
	begin := time.Now()
	_ = d.cmd.Process.Signal(os.Interrupt)
	<-d.done
	return time.Since(begin)
}

// wardline runs one command to its end.
func wardline(t *testing.T, args ...string) (stdout, stderr string, exit int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, args...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out.String()), strings.TrimSpace(errs.String()), cmd.ProcessState.ExitCode()
}

// token mints a join token beside the running dev.
func (d *dev) token(encounter, role, participant string, more ...string) string {
	d.t.Helper()
	out, errs, exit := wardline(d.t, append([]string{
		"token", "--data", d.data, "--encounter", encounter, "--role", role, "--participant", participant,
	}, more...)...)
	require.Zero(d.t, exit, errs)
	return out
}

func TestDevPrintsLinksAndStopsCleanly(t *testing.T) {
	d := startDev(t)
	require.Regexp(t, `(?m)^\s+provider\s+http://127\.0\.0\.1:\d+/visit#eyJ`, d.text())
	require.Regexp(t, `(?m)^\s+patient\s+http://127\.0\.0\.1:\d+/visit#eyJ`, d.text())
	response := get(t, d.url+"/visit")
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.NotContains(t, response.Header.Get("Content-Security-Policy"), "unsafe-inline")
	require.Less(t, d.interrupt(), 5*time.Second)
	require.Zero(t, d.cmd.ProcessState.ExitCode())
}

func TestSecondInstanceOnBusyPortsFailsWithOneLine(t *testing.T) {
	d := startDev(t)
	address := strings.TrimPrefix(d.url, "http://")
	_, errs, exit := wardline(t, "dev", "--data", t.TempDir(), "--http", address, "--media", "127.0.0.1:0", "--turn", "127.0.0.1:0",
		"--admin", "127.0.0.1:0")
	require.Equal(t, 1, exit)
	require.Len(t, strings.Split(errs, "\n"), 1, errs)
	require.Contains(t, errs, "--http")
	require.Contains(t, errs, "address already in use")
}

func TestBadCommandLinesSayWhatIsAllowed(t *testing.T) {
	token := func(flags ...string) []string {
		return append([]string{"token", "--encounter", "e", "--participant", "p", "--role", "patient"}, flags...)
	}
	free := func(flags ...string) []string {
		return append([]string{"dev", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--media", "127.0.0.1:0"}, flags...)
	}
	for name, test := range map[string]struct {
		args []string
		says []string
	}{
		"role":         {token("--role", "nurse"), []string{"--role", `"nurse"`, "provider, patient"}},
		"ttl":          {token("--ttl", "48h"), []string{"--ttl 48h", "24h"}},
		"format":       {token("--format", "xml"), []string{`"xml"`, "token, link or json"}},
		"participant":  {token("--participant", "Jane Doe"), []string{"--participant", "letters"}},
		"plain public": {free("--plain-http", "--http", "0.0.0.0:0"), []string{"--plain-http", "loopback"}},
		"media":        {free("--media", "nowhere"), []string{"--media", "HOST:PORT"}},
		"capacity":     {free("--capacity", "0"), []string{"--capacity 0", "at least 1"}},
		"peer":         {free("--turn", "127.0.0.1:0", "--allow-peer", "localhost"), []string{"--allow-peer", "IP:PORT"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, errs, exit := wardline(t, append(test.args, "--data", t.TempDir())...)
			require.Equal(t, 2, exit, errs)
			for _, text := range test.says {
				require.Contains(t, errs, text)
			}
		})
	}
	_, errs, exit := wardline(t, "devv")
	require.Equal(t, 2, exit)
	require.Contains(t, errs, "devv")
}

func TestVersionJSON(t *testing.T) {
	out, _, exit := wardline(t, "version", "--json")
	require.Zero(t, exit)
	var version map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &version))
	require.Contains(t, version, "version")
	require.Contains(t, version, "go")
}

func TestTokenRolesPrintsTheMatrix(t *testing.T) {
	out, _, exit := wardline(t, "token", "roles")
	require.Zero(t, exit)
	for _, word := range []string{"provider", "patient", "scribe", "admit", "publish-screen"} {
		require.Contains(t, out, word)
	}
}

func get(t *testing.T, url string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response
}
