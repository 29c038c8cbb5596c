package discovery

import (
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTokenOfEachDatacenter(t *testing.T) {
	dir := t.TempDir()
	write := func(name, token string, at time.Time) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(token), 0o600))
		require.NoError(t, os.Chtimes(path, at, at))
		return path
	}
	now := time.Now()
	own := write("own", "one\n", now)
	tokens := NewConsulTokenFile(own, map[string]string{"us": write("us", "two", now), "ap": filepath.Join(dir, "missing")})
	var mu sync.Mutex
	seen := make(map[string]string)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen[r.URL.Query().Get("dc")] = r.Header.Get("X-Consul-Token")
		answerKey(w, 1, "v")
	}))
	defer server.Close()
	t.Setenv("CONSUL_HTTP_TOKEN", "from the environment")
	c, err := newConsul(ConsulConfig{Address: server.URL, Tokens: tokens}, fakePace)
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	for _, datacenter := range []string{"", "us"} {
		_, err := c.KV(datacenter).Get(t.Context(), "key")
		require.NoError(t, err)
	}
	_, err = c.KV("ap").Get(t.Context(), "key")
	require.ErrorIs(t, err, ErrUnavailable)
	mu.Lock()
	require.Equal(t, map[string]string{"": "one", "us": "two"}, seen)
	mu.Unlock()

	token := func(at time.Time) string {
		token, err := tokens.own.read(at)
		require.NoError(t, err)
		return token
	}
	write("own", "three", now.Add(time.Minute))
	require.Equal(t, "one", token(time.Now()), "the file is looked at once a second")
	require.Equal(t, "three", token(now.Add(time.Minute)))
	write("own", "", now.Add(2*time.Minute))
	require.Equal(t, "three", token(now.Add(2*time.Minute)), "a file caught while it is written")
	require.NoError(t, os.Remove(own))
	require.Equal(t, "three", token(now.Add(3*time.Minute)))
}

func TestAgentAddress(t *testing.T) {
	for address, want := range map[string]string{
		"https://10.0.0.1:8501":   "https://10.0.0.1:8501 https://10.0.0.2:8501",
		"http://[::1]:8500":       "http://[::1]:8500 http://10.0.0.2:8500",
		"https://agent:8501/":     "https://agent:8501 https://10.0.0.2:8501",
		"unix:///run/consul.sock": "http://localhost https://10.0.0.2:8501",
	} {
		base, err := parseAgentAddress(ConsulConfig{Address: address})
		require.NoError(t, err, address)
		local, other := base.local(), base.of("10.0.0.2")
		require.Equal(t, want, local.String()+" "+other.String(), address)
	}
	for _, address := range []string{
		"", "localhost:8500", "https://agent", "ftp://agent:1", "https://user@agent:1", "https://agent:1/path",
		"unix://sock", "http://a:1%",
	} {
		_, err := NewConsul(ConsulConfig{Address: address})
		require.ErrorIs(t, err, ErrInvalid, address)
	}
	_, err := NewConsul(ConsulConfig{Address: "https://agent:1", AgentPort: 70000})
	require.ErrorIs(t, err, ErrInvalid)
	_, err = NewConsul(ConsulConfig{Address: "https://agent:1", CAFile: "/missing"})
	require.Error(t, err)
}

func TestAgentOnASocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.sock")
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answerKey(w, 1, "v") }))
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	require.NoError(t, err)
	require.NoError(t, server.Listener.Close())
	server.Listener = listener
	server.Start()
	defer server.Close()
	c, err := NewConsul(ConsulConfig{Address: "unix://" + path})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	entry, err := c.Get(t.Context(), "key")
	require.NoError(t, err)
	require.Equal(t, "v", string(entry.Value))
}

func TestLostConnectionsDoNotCount(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			http.Error(w, "HTTP/2 expected", http.StatusBadRequest)
			return
		}
		answerKey(w, 1, "v")
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	der := server.Certificate().Raw
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	c, err := newConsul(ConsulConfig{Address: server.URL, CAFile: file}, fakePace)
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	for range 3 * maxConnections {
		require.Eventually(t, func() bool {
			_, err := c.Get(t.Context(), "key")
			return err == nil
		}, patience, tick)
		server.CloseClientConnections()
	}
}
