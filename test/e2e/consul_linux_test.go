package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/test/e2e/devtest"
	"github.com/wardline/wardline/test/stack/servers"
)

// background runs a program until the test ends, and shows what it logged if the test fails.
func background(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = devtest.Environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	log := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = io.Discard, log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s %s: %s", name, args[0], log)
		}
	})
}

// startConsul runs a real Consul agent that is its own server, and returns its URL.
func startConsul(t *testing.T) string {
	t.Helper()
	consul, err := servers.Have(t.Context(), "consul")
	if errors.Is(err, servers.ErrMissing) && os.Getenv("CI") == "" {
		t.Skip("NOT TESTED on a real Consul: " + err.Error() + "; build it with: make servers")
	}
	require.NoError(t, err)
	ports := devtest.FreePorts(t, 4)
	url := fmt.Sprintf("http://127.0.0.1:%d", ports[0])
	background(t, consul, "agent", "-dev", "-bind=127.0.0.1", "-client=127.0.0.1", "-node=here", "-datacenter=east",
		"-log-level=warn", "-dns-port=-1", "-grpc-port=-1", "-grpc-tls-port=-1", fmt.Sprintf("-http-port=%d", ports[0]),
		fmt.Sprintf("-server-port=%d", ports[1]), fmt.Sprintf("-serf-lan-port=%d", ports[2]), fmt.Sprintf("-serf-wan-port=%d", ports[3]))
	waitFor(t, "a Consul leader", url+"/v1/status/leader", `127.0.0.1`)
	return url
}

// waitFor waits until a page says something.
func waitFor(t *testing.T, what, url, text string) {
	t.Helper()
	require.Eventually(t, func() bool {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		if err != nil {
			return false
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return false
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		return err == nil && strings.Contains(string(body), text)
	}, 30*time.Second, 20*time.Millisecond, what)
}

func TestComponentsFindEachOtherThroughConsul(t *testing.T) {
	consul := startConsul(t)
	port := devtest.FreePorts(t, 1)[0]
	d := &dev{&devtest.Dev{T: t, Data: t.TempDir(), URL: fmt.Sprintf("http://127.0.0.1:%d", port)}}
	common := []string{"--data", d.Data, "--consul", consul}
	background(t, devtest.Binary, append([]string{"sfu", "--media", "127.0.0.1:0"}, common...)...)
	background(t, devtest.Binary, append([]string{"turn", "--turn", "127.0.0.1:0"}, common...)...)
	background(t, devtest.Binary, append([]string{
		"gateway", "--plain-http", "--auto-admit", "--http", fmt.Sprintf("127.0.0.1:%d", port),
	}, common...)...)
	for _, service := range []string{"wardline-sfu", "wardline-turn", "wardline-gateway"} {
		waitFor(t, service+" is healthy", consul+"/v1/health/service/"+service+"?passing", `"here"`)
	}
	waitFor(t, "the region is Consul's datacenter", d.URL+"/v1/regions", `"east"`)

	publish(t, d.URL+"/whip/visit", d.Token("visit", "provider", "camera-1"), 3)
	viewer := subscribe(t, d.URL+"/whep/visit/camera-1", d.Token("visit", "scribe", "viewer-1"))
	viewer.receives(3)
	waitFor(t, "the record is in Consul", consul+"/v1/kv/wardline/encounters/?keys", "wardline/encounters/dev/visit")
}
