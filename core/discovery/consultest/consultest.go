// Package consultest runs a real Consul for tests: HTTPS only, ACLs on, default deny.
package consultest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/observe/observetest"
	"github.com/wardline/wardline/test/stack/ca"
	"github.com/wardline/wardline/test/stack/servers"
)

// Agent is a Consul server on loopback: HTTPS only, ACLs on, default deny.
type Agent struct {
	// Address is https://HOST:PORT, Port its port.
	Address string
	Port    int
	// Token may do everything.
	Token            string
	Node, Datacenter string

	dir, binary string
	lan, wan    int
	join        []string // addresses of other datacenters' servers
	server      string   // LAN address of its server, if it is a client agent
	process     *exec.Cmd
	ended       chan struct{}
	output      observetest.Text
}

// Binary skips the test where Consul would have to be built, unless the stack is asked for.
func Binary(t *testing.T) string {
	t.Helper()
	find := servers.Have
	if os.Getenv("WARDLINE_STACK") == "1" {
		find = servers.Find
	}
	path, err := find(context.Background(), "consul")
	if errors.Is(err, servers.ErrMissing) {
		t.Skipf("SKIPPED, NOTHING OF THIS IS CHECKED ON A REAL CONSUL: %v; `make servers` builds it, and so does "+
			"this test with WARDLINE_STACK=1", err)
	}
	require.NoError(t, err)
	return path
}

// Start runs a server until the test ends.
func Start(t *testing.T) *Agent {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, ca.WriteLoopback(dir, "agent"))
	a := &Agent{dir: dir, binary: Binary(t), Token: uuid.NewString(), Node: "agent-1", Datacenter: "eu-test"}
	a.run(t)
	return a
}

// Federate runs a server of another datacenter that joins this one.
func (a *Agent) Federate(t *testing.T) *Agent {
	t.Helper()
	b := &Agent{
		dir: t.TempDir(), binary: a.binary, Token: a.Token, Node: "agent-2", Datacenter: "us-test",
		join: []string{"127.0.0.1:" + strconv.Itoa(a.wan)},
	}
	for _, name := range []string{ca.CAFile, ca.CertFile, ca.KeyFile} {
		require.NoError(t, os.Link(a.File(name), b.File(name)))
	}
	b.run(t)
	return b
}

// Member runs a client agent of this server's datacenter.
func (a *Agent) Member(t *testing.T) *Agent {
	t.Helper()
	b := &Agent{
		dir: t.TempDir(), binary: a.binary, Token: a.Token, Node: "member-1", Datacenter: a.Datacenter,
		server: "127.0.0.1:" + strconv.Itoa(a.lan),
	}
	for _, name := range []string{ca.CAFile, ca.CertFile, ca.KeyFile} {
		require.NoError(t, os.Link(a.File(name), b.File(name)))
	}
	b.run(t)
	return b
}

// run configures and starts the agent.
func (a *Agent) run(t *testing.T) {
	t.Helper()
	ports := FreePorts(t, 4)
	a.Port, a.lan, a.wan = ports[0], ports[2], ports[3]
	a.Address = "https://127.0.0.1:" + strconv.Itoa(ports[0])
	settings := map[string]any{
		"datacenter": a.Datacenter, "node_name": a.Node,
		"bind_addr": "127.0.0.1", "client_addr": "127.0.0.1", "data_dir": filepath.Join(a.dir, "data"),
		"ports": map[string]int{
			"http": -1, "dns": -1, "grpc": -1, "grpc_tls": -1,
			"https": ports[0], "server": ports[1], "serf_lan": ports[2], "serf_wan": ports[3],
		},
		"acl": map[string]any{
			"enabled": true, "default_policy": "deny", "down_policy": "extend-cache",
			"tokens": map[string]string{"initial_management": a.Token, "agent": a.Token},
		},
		"tls": map[string]any{"https": map[string]any{
			"ca_file": a.File(ca.CAFile), "cert_file": a.File(ca.CertFile), "key_file": a.File(ca.KeyFile), "verify_incoming": false,
		}},
		"performance": map[string]int{"raft_multiplier": 1}, "disable_update_check": true, "log_level": "warn",
		"leave_on_terminate": false,
	}
	if a.server == "" {
		settings["server"], settings["bootstrap_expect"], settings["retry_join_wan"] = true, 1, a.join
	} else {
		settings["retry_join"], settings["retry_interval"] = []string{a.server}, "1s"
	}
	config, err := json.Marshal(settings)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(a.File("agent.json"), config, 0o600))
	a.Restart(t)
	t.Cleanup(func() {
		a.Kill()
		if t.Failed() {
			t.Logf("consul %s said:\n%s", a.Node, a.output.String())
		}
	})
}

// File is where the agent keeps a file: "ca.pem" is the authority of its certificate.
func (a *Agent) File(name string) string { return filepath.Join(a.dir, name) }

// Restart runs the agent and waits until its token works.
func (a *Agent) Restart(t *testing.T) {
	t.Helper()
	a.process = exec.Command(a.binary, "agent", "-config-file", a.File("agent.json"))
	a.process.Stdout, a.process.Stderr = &a.output, &a.output
	a.process.SysProcAttr = dieWithParent
	started := make(chan error)
	a.ended = make(chan struct{})
	go func() {
		// Linux kills the process when the thread that started the process ends, so it must not.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := a.process.Start()
		started <- err
		if err == nil {
			_ = a.process.Wait()
			close(a.ended)
		}
	}()
	require.NoError(t, <-started)
	client := a.client(t)
	defer client.CloseIdleConnections()
	require.Eventually(t, func() bool {
		return strings.Contains(a.get(client, "/v1/status/leader"), ":") && a.get(client, "/v1/agent/self") != ""
	},
		30*time.Second, 50*time.Millisecond, "the agent never had a leader")
	require.Eventually(t, func() bool { return strings.Contains(a.get(client, "/v1/health/node/"+a.Node), "serfHealth") },
		30*time.Second, 20*time.Millisecond, "the agent never joined its catalog")
}

// Signal sends the process a signal.
func (a *Agent) Signal(t *testing.T, s os.Signal) {
	t.Helper()
	require.NoError(t, a.process.Process.Signal(s))
}

// Suspend stops the agent where it is. The signal takes effect on each of its threads in its own time.
func (a *Agent) Suspend(t *testing.T) {
	t.Helper()
	a.Signal(t, syscall.SIGSTOP)
	require.Eventually(t, func() bool { return suspended(a.process.Process.Pid) }, 20*time.Second, time.Millisecond)
}

// Kill ends the process at once; Restart brings it back.
func (a *Agent) Kill() {
	_ = a.process.Process.Kill() // it may be gone
	<-a.ended
}

// client trusts the agent's authority.
func (a *Agent) client(t *testing.T) *http.Client {
	t.Helper()
	authority, err := os.ReadFile(a.File(ca.CAFile))
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(authority))
	return &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
	}
}

// get returns an answer, and nothing where there is none.
func (a *Agent) get(client *http.Client, path string) string {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, a.Address+path, http.NoBody)
	if err != nil {
		return ""
	}
	request.Header.Set("X-Consul-Token", a.Token)
	response, err := client.Do(request)
	if err != nil {
		return ""
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return ""
	}
	return strings.TrimSpace(string(body))
}
