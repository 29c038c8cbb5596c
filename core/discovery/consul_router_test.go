package discovery

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/discovery/consultest"
	"github.com/wardline/wardline/test/stack/ca"
)

// fakeServers are an own agent and servers of datacenter us, on loopback addresses with one port.
type fakeServers struct {
	dir, port string

	mu    sync.Mutex
	asked map[string]int
}

func newFakeServers(t *testing.T) *fakeServers {
	t.Helper()
	f := &fakeServers{dir: t.TempDir(), port: fmt.Sprint(consultest.FreePorts(t, 1)[0]), asked: make(map[string]int)}
	require.NoError(t, ca.WriteLoopback(f.dir, "agent"))
	return f
}

func (f *fakeServers) requests(address string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[address]
}

// serve runs a server with a certificate of the authority in dir.
func (f *fakeServers) serve(t *testing.T, dir, address string, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	certificate, err := tls.LoadX509KeyPair(filepath.Join(dir, ca.CertFile), filepath.Join(dir, ca.KeyFile))
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.asked[address]++
		f.mu.Unlock()
		handler(w, r)
	}))
	require.NoError(t, server.Listener.Close())
	server.Listener, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(address, f.port))
	require.NoError(t, err)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server
}

// agent runs the own agent, which answers for the own datacenter alone, and returns its client.
func (f *fakeServers) agent(t *testing.T, tokens ConsulTokens, others http.HandlerFunc) *Consul {
	t.Helper()
	f.serve(t, f.dir, "127.0.0.1", func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/v1/agent/self":
			fmt.Fprint(w, `{"Config":{"NodeName":"agent-1","Datacenter":"eu"}}`)
		case r.URL.Query().Get("dc") == "us":
			others(w, r)
		default:
			answerKey(w, 1, "own")
		}
	})
	pace := fakePace
	pace.request, pace.pulse = 2*time.Second, time.Hour // tests ask themselves
	c, err := newConsul(ConsulConfig{
		Address: "https://127.0.0.1:" + f.port, CAFile: filepath.Join(f.dir, "ca.pem"), Tokens: tokens,
	}, pace)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func (f *fakeServers) know(c *Consul, addresses ...string) {
	routes := make([]string, 0, len(addresses))
	for _, address := range addresses {
		routes = append(routes, net.JoinHostPort(address, f.port))
	}
	c.routes.learn("us", routes)
}

// refuse answers as an agent whose servers are down.
func refuse(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "No known Consul servers", http.StatusInternalServerError)
}

func says(value string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { answerKey(w, 7, value) }
}

func (f *fakeServers) get(t *testing.T, c *Consul, want string) {
	t.Helper()
	entry, err := c.KV("us").Get(t.Context(), "key")
	require.NoError(t, err)
	require.Equal(t, want, string(entry.Value))
}

func TestOtherDatacentersAreAskedDirectly(t *testing.T) {
	f := newFakeServers(t)
	tokens := datacenterTokens{"": "own", "us": "theirs"}
	c := f.agent(t, tokens, says("through the agent"))
	var seen atomic.Value
	f.serve(t, f.dir, "127.0.0.2", func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.Header.Get("X-Consul-Token") + " " + r.URL.RequestURI())
		answerKey(w, 7, "directly")
	})
	f.get(t, c, "through the agent")
	f.know(c, "127.0.0.2")
	f.get(t, c, "directly")
	require.Equal(t, "theirs /v1/kv/key?dc=us", seen.Load())
	entry, err := c.Get(t.Context(), "key")
	require.NoError(t, err)
	require.Equal(t, "own", string(entry.Value))
	entry, err = c.KV("eu").Get(t.Context(), "key")
	require.NoError(t, err)
	require.Equal(t, "own", string(entry.Value), "the own datacenter by its name")
}

// datacenterTokens are tokens by datacenter.
type datacenterTokens map[string]string

func (d datacenterTokens) Token(datacenter string) (string, error) { return d[datacenter], nil }

func TestTheWayThatAnsweredIsRemembered(t *testing.T) {
	f := newFakeServers(t)
	c := f.agent(t, nil, refuse)
	f.serve(t, f.dir, "127.0.0.2", func(_ http.ResponseWriter, r *http.Request) { hang(r) })
	f.serve(t, f.dir, "127.0.0.3", says("third"))
	f.know(c, "127.0.0.2", "127.0.0.3", "127.0.0.4")
	began := time.Now()
	f.get(t, c, "third")
	require.Less(t, time.Since(began), generous, "nobody waits for a server that hangs")
	hung := f.requests("127.0.0.2")
	require.Equal(t, 1, hung)
	for range 5 {
		f.get(t, c, "third")
	}
	require.Equal(t, hung, f.requests("127.0.0.2"))

	f.know(c, "127.0.0.4", "127.0.0.3") // nobody listens on the first
	f.get(t, c, "third")
}

func TestNoServerAnswers(t *testing.T) {
	f := newFakeServers(t)
	c := f.agent(t, nil, says("through the agent"))
	f.know(c, "127.0.0.4", "127.0.0.5")
	f.get(t, c, "through the agent")
	require.Equal(t, []string{ownAgent, net.JoinHostPort("127.0.0.4", f.port)}, c.routes.to("us")[:2])
	_, err := c.KV("us").List(t.Context(), "key")
	require.NoError(t, err)
	f.know(c, "127.0.0.4", "127.0.0.5")
	require.NotEqual(t, ownAgent, c.routes.to("us")[0], "servers are tried again once in a while")

	f.serve(t, f.dir, "127.0.0.5", refuse)
	entry, err := c.KV("us").Get(t.Context(), "key")
	require.NoError(t, err, "a server without a leader is passed by")
	require.Equal(t, "through the agent", string(entry.Value))
}

func TestEveryWayFails(t *testing.T) {
	f := newFakeServers(t)
	c := f.agent(t, nil, refuse)
	f.serve(t, f.dir, "127.0.0.2", refuse)
	f.know(c, "127.0.0.2", "127.0.0.4")
	_, err := c.KV("us").Get(t.Context(), "key")
	require.ErrorIs(t, err, ErrUnavailable)
	_, err = c.KV("us").CompareAndSet(t.Context(), "key", nil, 0)
	require.ErrorIs(t, err, ErrUnavailable)
}

func TestWritesAreNotRepeated(t *testing.T) {
	f := newFakeServers(t)
	var agent atomic.Int64
	c := f.agent(t, nil, func(w http.ResponseWriter, r *http.Request) {
		agent.Add(1)
		refuse(w, r)
	})
	f.serve(t, f.dir, "127.0.0.2", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler) // it may have been written, or not
	})
	answer := `{"Results":[{"KV":{"Key":"key","ModifyIndex":9}}]}`
	f.serve(t, f.dir, "127.0.0.3", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer) })
	f.know(c, "127.0.0.2", "127.0.0.3")
	_, err := c.KV("us").CompareAndSet(t.Context(), "key", []byte("v"), 0)
	require.ErrorIs(t, err, ErrUnavailable)
	require.Zero(t, f.requests("127.0.0.3"))
	require.Zero(t, agent.Load())
	entry, err := c.KV("us").CompareAndSet(t.Context(), "key", []byte("v"), 0)
	require.NoError(t, err, "the next goes elsewhere")
	require.Equal(t, uint64(9), entry.Index)

	f.know(c, "127.0.0.4", "127.0.0.3")
	c.routes.failed("us", net.JoinHostPort("127.0.0.3", f.port))
	_, err = c.KV("us").CompareAndSet(t.Context(), "key", []byte("v"), 0)
	require.NoError(t, err, "what was never sent is sent elsewhere")
}

func TestTokensGoNowhereElse(t *testing.T) {
	f := newFakeServers(t)
	strange := t.TempDir()
	require.NoError(t, ca.WriteLoopback(strange, "agent"))
	c := f.agent(t, ConsulToken("secret"), says("through the agent"))
	f.serve(t, strange, "127.0.0.2", says("hostile"))
	var redirected atomic.Int64
	f.serve(t, f.dir, "127.0.0.3", func(w http.ResponseWriter, _ *http.Request) {
		redirected.Add(1)
		answerKey(w, 7, "redirected")
	})
	f.know(c, "127.0.0.2")
	f.get(t, c, "through the agent")
	require.Zero(t, f.requests("127.0.0.2"), "without the authority's certificate nothing is asked")

	f.serve(t, f.dir, "127.0.0.4", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://127.0.0.3:"+f.port+"/", http.StatusTemporaryRedirect)
	})
	f.know(c, "127.0.0.4")
	_, err := c.KV("us").Get(t.Context(), "key")
	require.ErrorIs(t, err, ErrUnavailable)
	require.Zero(t, redirected.Load())

	for what, config := range map[string]ConsulConfig{
		"plain HTTP":             {Address: "http://127.0.0.1:1", CAFile: filepath.Join(f.dir, "ca.pem")},
		"a socket":               {Address: "unix:///run/consul.sock", CAFile: filepath.Join(f.dir, "ca.pem")},
		"no authority of theirs": {Address: "https://127.0.0.1:1"},
	} {
		c, err := NewConsul(config)
		require.NoError(t, err)
		require.Nil(t, c.routes, what)
		require.NoError(t, c.Close())
	}
}

func TestRefusedTokensAreReplacedOnTheWay(t *testing.T) {
	f := newFakeServers(t)
	var issued atomic.Int64
	identity := filepath.Join(f.dir, "jwt")
	require.NoError(t, os.WriteFile(identity, []byte("jwt"), 0o600))
	f.serve(t, f.dir, "127.0.0.2", func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == loginPath:
			body, _ := io.ReadAll(r.Body)
			if !strings.Contains(string(body), `"nomad-eu"`) || r.Header.Get("X-Consul-Token") != "" {
				http.Error(w, "what", http.StatusBadRequest)
				return
			}
			fmt.Fprintf(w, `{"SecretID":"token-%d"}`, issued.Add(1))
		case r.URL.Path == logoutPath:
		case r.Header.Get("X-Consul-Token") == "token-1":
			http.Error(w, "rpc error making call: ACL not found", http.StatusForbidden)
		case r.Method == http.MethodPut:
			body, _ := io.ReadAll(r.Body)
			if !strings.Contains(string(body), base64.StdEncoding.EncodeToString([]byte("value"))) {
				http.Error(w, "no body", http.StatusBadRequest)
				return
			}
			fmt.Fprint(w, `{"Results":[{"KV":{"Key":"key","ModifyIndex":9}}]}`)
		default:
			http.Error(w, "Permission denied", http.StatusForbidden)
		}
	})
	f.serve(t, f.dir, "127.0.0.1", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"Config":{"NodeName":"agent-1","Datacenter":"eu"}}`)
	})
	pace := fakePace
	pace.request, pace.pulse = 2*time.Second, time.Hour
	c, err := newConsul(ConsulConfig{
		Address: "https://127.0.0.1:" + f.port, CAFile: filepath.Join(f.dir, "ca.pem"),
		Tokens: ConsulToken("own"), Login: ConsulLogin{JWTFile: identity},
	}, pace)
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	f.know(c, "127.0.0.2")
	_, err = c.KV("us").CompareAndSet(t.Context(), "key", []byte("value"), 0)
	require.NoError(t, err)
	require.Equal(t, int64(2), issued.Load())
	_, err = c.KV("us").Get(t.Context(), "key")
	require.ErrorContains(t, err, "Permission denied", "what was read to find out is still there")
	require.Equal(t, int64(2), issued.Load(), "a new token would not be allowed more")
}

// cuttable is a network path that can lose everything without a word.
type cuttable struct {
	net.Listener

	cut   atomic.Bool
	group sync.WaitGroup
}

// newCuttable forwards from one address to the same port of another.
func newCuttable(t *testing.T, from, to, port string) *cuttable {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(from, port))
	require.NoError(t, err)
	c := &cuttable{Listener: l}
	c.group.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			other, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", net.JoinHostPort(to, port))
			if err != nil {
				_ = conn.Close()
				continue
			}
			c.group.Go(func() { c.pipe(conn, other) })
			c.group.Go(func() { c.pipe(other, conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		c.group.Wait()
	})
	return c
}

// pipe forwards until an end closes. A connection that lived through a cut stays dead.
func (c *cuttable) pipe(from, to net.Conn) {
	defer func() { _, _ = from.Close(), to.Close() }()
	dead, buf := false, make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if dead = dead || c.cut.Load(); dead {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func TestACutConnectionIsNoticed(t *testing.T) {
	t.Parallel()
	f := newFakeServers(t)
	path := newCuttable(t, "127.0.0.2", "127.0.0.3", f.port)
	c := f.agent(t, nil, func(_ http.ResponseWriter, r *http.Request) { hang(r) })
	var index atomic.Int64
	index.Store(1)
	f.serve(t, f.dir, "127.0.0.3", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("index") == fmt.Sprint(index.Load()) {
			hang(r)
			return
		}
		answerKey(w, int(index.Load()), fmt.Sprint(index.Load()))
	})
	f.know(c, "127.0.0.2")
	watch := c.KV("us").Watch(t.Context(), "key")
	require.Equal(t, "1", string(next(t, watch).Value))
	path.cut.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := c.KV("us").Get(ctx, "key")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(began), generous)
	index.Store(2)
	path.cut.Store(false)
	began = time.Now()
	require.Equal(t, "2", string(next(t, watch).Value))
	require.Less(t, time.Since(began), 15*time.Second)
}
