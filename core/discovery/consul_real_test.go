package discovery

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/test/stack/servers"
)

// realAgent is a Consul server on loopback: HTTPS only, ACLs on, default deny.
type realAgent struct {
	dir, binary string
	address     string // https://HOST:PORT
	token       string
	node        string
	datacenter  string
	port, lan   int
	wan         int
	join        []string // addresses of other datacenters' servers
	server      string   // LAN address of its server, if it is a client agent
	process     *exec.Cmd
	ended       chan struct{}
	output      lockedBuffer
}

// lockedBuffer collects the output of a process.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// consulBinary skips the test where Consul would have to be built, unless the stack is asked for.
func consulBinary(t *testing.T) string {
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

// startConsul runs a server until the test ends.
func startConsul(t *testing.T) *realAgent {
	t.Helper()
	dir := t.TempDir()
	writeCertificates(t, dir)
	a := &realAgent{dir: dir, binary: consulBinary(t), token: uuid.NewString(), node: "agent-1", datacenter: "eu-test"}
	a.run(t)
	return a
}

// federate runs a server of another datacenter that joins this one.
func (a *realAgent) federate(t *testing.T) *realAgent {
	t.Helper()
	b := &realAgent{
		dir: t.TempDir(), binary: a.binary, token: a.token, node: "agent-2", datacenter: "us-test",
		join: []string{"127.0.0.1:" + strconv.Itoa(a.wan)},
	}
	for _, name := range []string{"ca.pem", "agent.pem", "agent.key"} {
		require.NoError(t, os.Link(a.file(name), b.file(name)))
	}
	b.run(t)
	return b
}

// member runs a client agent of this server's datacenter.
func (a *realAgent) member(t *testing.T) *realAgent {
	t.Helper()
	b := &realAgent{
		dir: t.TempDir(), binary: a.binary, token: a.token, node: "member-1", datacenter: a.datacenter,
		server: "127.0.0.1:" + strconv.Itoa(a.lan),
	}
	for _, name := range []string{"ca.pem", "agent.pem", "agent.key"} {
		require.NoError(t, os.Link(a.file(name), b.file(name)))
	}
	b.run(t)
	return b
}

// run configures and starts the agent.
func (a *realAgent) run(t *testing.T) {
	t.Helper()
	ports := freePorts(t, 4)
	a.port, a.lan, a.wan = ports[0], ports[2], ports[3]
	a.address = "https://127.0.0.1:" + strconv.Itoa(ports[0])
	settings := map[string]any{
		"datacenter": a.datacenter, "node_name": a.node,
		"bind_addr": "127.0.0.1", "client_addr": "127.0.0.1", "data_dir": filepath.Join(a.dir, "data"),
		"ports": map[string]int{
			"http": -1, "dns": -1, "grpc": -1, "grpc_tls": -1,
			"https": ports[0], "server": ports[1], "serf_lan": ports[2], "serf_wan": ports[3],
		},
		"acl": map[string]any{
			"enabled": true, "default_policy": "deny", "down_policy": "extend-cache",
			"tokens": map[string]string{"initial_management": a.token, "agent": a.token},
		},
		"tls": map[string]any{"https": map[string]any{
			"ca_file": a.file("ca.pem"), "cert_file": a.file("agent.pem"), "key_file": a.file("agent.key"), "verify_incoming": false,
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
	require.NoError(t, os.WriteFile(a.file("agent.json"), config, 0o600))
	a.start(t)
	t.Cleanup(func() {
		a.kill()
		if t.Failed() {
			t.Logf("consul %s said:\n%s", a.node, a.output.String())
		}
	})
}

func (a *realAgent) file(name string) string { return filepath.Join(a.dir, name) }

// start runs the agent and waits until its token works.
func (a *realAgent) start(t *testing.T) {
	t.Helper()
	a.process = exec.Command(a.binary, "agent", "-config-file", a.file("agent.json"))
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
	probe := a.client(t, consulNormalPace)
	require.Eventually(t, func() bool {
		_, _, err := probe.Self(t.Context())
		return err == nil && probe.Ready(t.Context()) == nil
	}, 30*time.Second, 50*time.Millisecond, "the agent never had a leader")
	require.Eventually(t, func() bool { // the node is in the catalog
		list, err := probe.hasAgent(t.Context(), a.node, "")
		return err == nil && list
	}, 30*time.Second, 20*time.Millisecond, "the agent never joined its catalog")
	require.NoError(t, probe.Close())
}

func (a *realAgent) signal(t *testing.T, s os.Signal) {
	t.Helper()
	require.NoError(t, a.process.Process.Signal(s))
}

// suspend stops the agent where it is. The signal takes effect on each of its threads in its own time.
func (a *realAgent) suspend(t *testing.T) {
	t.Helper()
	a.signal(t, syscall.SIGSTOP)
	require.Eventually(t, func() bool { return suspended(a.process.Process.Pid) }, patience, time.Millisecond)
}

func (a *realAgent) kill() {
	_ = a.process.Process.Kill() // it may be gone
	<-a.ended
}

func (a *realAgent) config() ConsulConfig {
	return ConsulConfig{Address: a.address, CAFile: a.file("ca.pem"), Tokens: ConsulToken(a.token)}
}

func (a *realAgent) client(t *testing.T, pace consulPace) *Consul {
	t.Helper()
	c, err := newConsul(a.config(), pace)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() }) // the agent may be dead
	return c
}

// takenPorts are those that agents of this process were given.
var takenPorts sync.Map

// freePorts returns ports below those that the system gives to outgoing connections, so that they stay free while an
// agent restarts.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	ports := make([]int, 0, n)
	require.Eventually(t, func() bool {
		port := 20000 + mathrand.IntN(12000)
		if _, taken := takenPorts.LoadOrStore(port, true); !taken && isFree(t, port) {
			ports = append(ports, port)
		}
		return len(ports) == n
	}, 10*time.Second, time.Millisecond, "no free ports")
	return ports
}

func isFree(t *testing.T, port int) bool {
	t.Helper()
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		return false
	}
	require.NoError(t, l.Close())
	p, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", address)
	if err != nil {
		return false
	}
	require.NoError(t, p.Close())
	return true
}

// writeCertificates makes an authority and an agent's certificate for loopback.
func writeCertificates(t *testing.T, dir string) {
	t.Helper()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	agent := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "agent"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		IPAddresses: []net.IP{
			net.IPv4(127, 0, 0, 1), net.IPv4(127, 0, 0, 2), net.IPv4(127, 0, 0, 3), net.IPv4(127, 0, 0, 4), net.IPv4(127, 0, 0, 5),
		}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	agentKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	write := func(name, kind string, der []byte, err error) {
		t.Helper()
		require.NoError(t, err)
		data := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	write("ca.pem", "CERTIFICATE", der, err)
	der, err = x509.CreateCertificate(rand.Reader, agent, ca, &agentKey.PublicKey, caKey)
	write("agent.pem", "CERTIFICATE", der, err)
	der, err = x509.MarshalPKCS8PrivateKey(agentKey)
	write("agent.key", "PRIVATE KEY", der, err)
}

// service is a service on the agent's own node.
func (a *realAgent) service(id string) Service {
	return Service{
		Name: SFUService, ID: id, Node: a.node, Region: a.datacenter, Health: Passing, Meta: map[string]string{MetaLoad: "0"},
	}
}
