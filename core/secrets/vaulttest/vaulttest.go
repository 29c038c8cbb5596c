// Package vaulttest runs a real Vault for tests: raft storage, TLS, initialized and unsealed here, nothing of -dev.
package vaulttest

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/observe/observetest"
	"github.com/wardline/wardline/test/stack/ca"
	"github.com/wardline/wardline/test/stack/servers"
)

const (
	// startTimeout is generous: Vault takes a second or two on an idle machine.
	startTimeout = time.Minute
	tick         = 20 * time.Millisecond
)

// Server is a Vault with one node on loopback.
type Server struct {
	// Address is https://127.0.0.1:PORT, CAFile the authority of its certificate.
	Address, CAFile string
	// Root has the root token and takes its time.
	Root *api.Client

	dir, binary string
	name        string
	port        int
	unsealKey   string
	rootToken   string
	process     *exec.Cmd
	ended       chan struct{}
	output      observetest.Text
}

// Binary skips the test, loudly, where Vault would have to be built, unless WARDLINE_STACK asks for it.
func Binary(t *testing.T) string {
	t.Helper()
	find := servers.Have
	if os.Getenv("WARDLINE_STACK") == "1" {
		find = servers.Find
	}
	path, err := find(context.Background(), "vault")
	if errors.Is(err, servers.ErrMissing) && os.Getenv("CI") == "" {
		t.Skipf("SKIPPED, NOTHING OF THIS IS CHECKED ON A REAL VAULT: %v; `make servers` builds it, and so does "+
			"this test with WARDLINE_STACK=1", err)
	}
	require.NoError(t, err)
	return path
}

// Start runs a Vault in dir, which is empty, and leaves it unsealed. Close ends it.
func Start(t *testing.T, dir string) *Server {
	t.Helper()
	s := StartEmpty(t, dir)
	keys, err := s.Root.Sys().Init(&api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	require.NoError(t, err)
	s.unsealKey, s.rootToken = keys.KeysB64[0], keys.RootToken
	s.Root.SetToken(s.rootToken)
	s.Unseal(t)
	return s
}

// StartEmpty is Start without initializing it.
func StartEmpty(t *testing.T, dir string) *Server {
	t.Helper()
	s := &Server{dir: dir, binary: Binary(t), name: "vault-1"}
	require.NoError(t, ca.WriteLoopback(dir, "vault"))
	s.begin(t)
	return s
}

// begin runs a server whose certificates are there, and waits until it answers.
func (s *Server) begin(t *testing.T) {
	t.Helper()
	s.CAFile = s.file(ca.CAFile)
	s.port = freePort(t)
	s.Address = "https://127.0.0.1:" + strconv.Itoa(s.port)
	s.configure(t)
	s.run(t)
	s.Root = s.Client(t, "")
	require.Eventually(t, func() bool {
		_, err := s.Root.Sys().InitStatus()
		return err == nil
	}, startTimeout, tick, "vault never answered")
}

// Standby runs a second server in dir, which is empty, that stands by for this one. Close ends it.
func (s *Server) Standby(t *testing.T, dir string) *Server {
	t.Helper()
	other := &Server{dir: dir, binary: s.binary, name: "vault-2", unsealKey: s.unsealKey, rootToken: s.rootToken}
	for _, name := range []string{ca.CAFile, ca.CertFile, ca.KeyFile} {
		content, err := os.ReadFile(s.file(name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(other.file(name), content, 0o600))
	}
	other.begin(t)
	authority, err := os.ReadFile(s.CAFile)
	require.NoError(t, err)
	_, err = other.Root.Sys().RaftJoin(&api.RaftJoinRequest{LeaderAPIAddr: s.Address, LeaderCACert: string(authority)})
	require.NoError(t, err)
	other.Root.SetToken(s.rootToken)
	other.Unseal(t)
	return other
}

func (s *Server) file(name string) string { return filepath.Join(s.dir, name) }

func (s *Server) configure(t *testing.T) {
	t.Helper()
	require.NoError(t, os.Mkdir(s.file("raft"), 0o700))
	cluster := "127.0.0.1:" + strconv.Itoa(freePort(t))
	config, err := json.Marshal(map[string]any{
		"storage": map[string]any{"raft": map[string]any{
			"path": s.file("raft"), "node_id": s.name, "performance_multiplier": "1",
		}},
		"listener": map[string]any{"tcp": map[string]any{
			"address": "127.0.0.1:" + strconv.Itoa(s.port), "cluster_address": cluster,
			"tls_cert_file": s.file(ca.CertFile), "tls_key_file": s.file(ca.KeyFile),
		}},
		"api_addr": s.Address, "cluster_addr": "https://" + cluster,
		// Swap is not this test's concern, and locking memory needs a capability.
		"disable_mlock": true, "log_level": "warn",
	})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.file("vault.json"), config, 0o600))
}

// run starts the process.
func (s *Server) run(t *testing.T) {
	t.Helper()
	s.process = exec.Command(s.binary, "server", "-config", s.file("vault.json"))
	s.process.Env = []string{"HOME=" + s.dir, "PATH=" + os.Getenv("PATH")}
	s.process.Stdout, s.process.Stderr = &s.output, &s.output
	s.process.SysProcAttr = dieWithParent
	started := make(chan error)
	s.ended = make(chan struct{})
	go func() {
		// Linux kills the process when the thread that started the process ends, so it must not.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := s.process.Start()
		started <- err
		if err == nil {
			_ = s.process.Wait()
			close(s.ended)
		}
	}()
	require.NoError(t, <-started)
}

// Client makes a client that is the environment's in nothing.
func (s *Server) Client(t *testing.T, token string) *api.Client {
	t.Helper()
	config := api.DefaultConfig()
	require.NoError(t, config.Error)
	config.Address, config.Timeout, config.MaxRetries = s.Address, startTimeout, 0
	require.NoError(t, config.ConfigureTLS(&api.TLSConfig{CACert: s.CAFile}))
	client, err := api.NewClient(config)
	require.NoError(t, err)
	client.SetToken(token)
	return client
}

// Seal seals it: it answers, and does nothing else.
func (s *Server) Seal(t *testing.T) {
	t.Helper()
	require.NoError(t, s.Root.Sys().Seal())
}

// Unseal unseals it and waits until it serves.
func (s *Server) Unseal(t *testing.T) {
	t.Helper()
	_, err := s.Root.Sys().Unseal(s.unsealKey)
	require.NoError(t, err)
	s.waitForLeader(t)
}

// Become unseals it with the keys of another whose snapshot it has been given, and waits until it serves as that one did.
func (s *Server) Become(t *testing.T, other *Server) {
	t.Helper()
	s.unsealKey, s.rootToken = other.unsealKey, other.rootToken
	s.Root.SetToken(s.rootToken)
	s.Unseal(t)
}

// UnsealKey is what unseals it.
func (s *Server) UnsealKey() string { return s.unsealKey }

func (s *Server) waitForLeader(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, err := s.Root.Auth().Token().LookupSelf()
		return err == nil
	}, startTimeout, tick, "vault never served: %s", &s.output)
}

// Stop kills it.
func (s *Server) Stop() {
	_ = s.process.Process.Kill() // it may be gone
	<-s.ended
}

// Restart starts it again after Stop and unseals it.
func (s *Server) Restart(t *testing.T) {
	t.Helper()
	s.run(t)
	require.Eventually(t, func() bool {
		_, err := s.Root.Sys().SealStatus()
		return err == nil
	}, startTimeout, tick, "vault never answered: %s", &s.output)
	s.Unseal(t)
}

// Close ends it for good.
func (s *Server) Close() {
	s.Stop()
	s.Root.CloneConfig().HttpClient.CloseIdleConnections()
}

// Destroy removes all it kept, after Close.
func (s *Server) Destroy() error { return os.RemoveAll(s.file("raft")) }

// TokenOf makes a token with the given policies and nothing else.
func (s *Server) TokenOf(t *testing.T, policies ...string) string {
	t.Helper()
	secret, err := s.Root.Auth().Token().Create(&api.TokenCreateRequest{
		Policies: policies, NoDefaultPolicy: true, NoParent: true, TTL: "1h",
	})
	require.NoError(t, err)
	return secret.Auth.ClientToken
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	address, ok := l.Addr().(*net.TCPAddr)
	require.True(t, ok)
	return address.Port
}
