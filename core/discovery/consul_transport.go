package discovery

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

// ConsulTokens gives ACL tokens.
type ConsulTokens interface {
	// Token returns the token for requests to a datacenter, "" being the agent's own. Tokens that a datacenter's auth
	// method issues are good there alone, so there may be one for each.
	Token(datacenter string) (string, error)
}

// ConsulToken is one token for all.
type ConsulToken string

// Token implements ConsulTokens.
func (t ConsulToken) Token(string) (string, error) { return string(t), nil }

// tokenCheck is how often a token file is looked at, at most.
const tokenCheck = time.Second

// ConsulTokenFile is a token in a file that somebody else keeps fresh, as Nomad does for a workload identity.
// A file that cannot be read leaves the last good token in use.
type ConsulTokenFile struct {
	path string
	// others are the files of other datacenters, by name.
	others map[string]*ConsulTokenFile

	mu      sync.Mutex
	token   string
	checked time.Time
	changed time.Time
}

// NewConsulTokenFile reads tokens from path, except those for the datacenters in others, which may be nil.
func NewConsulTokenFile(path string, others map[string]string) *ConsulTokenFile {
	f := &ConsulTokenFile{path: path, others: make(map[string]*ConsulTokenFile, len(others))}
	for datacenter, path := range others {
		f.others[datacenter] = &ConsulTokenFile{path: path}
	}
	return f
}

// Token implements ConsulTokens.
func (f *ConsulTokenFile) Token(datacenter string) (string, error) {
	if other := f.others[datacenter]; other != nil {
		return other.read(time.Now())
	}
	return f.read(time.Now())
}

func (f *ConsulTokenFile) read(now time.Time) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.token != "" && now.Sub(f.checked) < tokenCheck {
		return f.token, nil
	}
	f.checked = now
	err := f.refresh()
	if f.token == "" && err != nil {
		return "", fmt.Errorf("consul token file: %w", err)
	}
	return f.token, nil
}

func (f *ConsulTokenFile) refresh() error {
	info, err := os.Stat(f.path) //nolint:gosec // G703: the path is configuration
	if err != nil {
		return err
	}
	if f.token != "" && info.ModTime().Equal(f.changed) {
		return nil
	}
	data, err := os.ReadFile(f.path) //nolint:gosec // G703: the path is configuration
	if err != nil {
		return err
	}
	token := strings.TrimSpace(string(data))
	if token == "" {
		return fmt.Errorf("%s is empty", f.path)
	}
	f.token, f.changed = token, info.ModTime()
	return nil
}

// agentBase is a parsed agent address.
type agentBase struct {
	scheme, host string
	// socket is the path of a unix socket, empty for TCP.
	socket string
	// others are how other nodes' agents are reached.
	othersScheme, othersPort string
}

const defaultAgentPort = "8501"

func parseAgentAddress(config ConsulConfig) (agentBase, error) {
	invalid := fmt.Errorf("consul: %w: agent address %q: must be https://HOST:PORT, http://HOST:PORT or unix:///PATH",
		ErrInvalid, config.Address)
	parsed, err := url.Parse(config.Address)
	if err != nil {
		return agentBase{}, invalid
	}
	base := agentBase{scheme: parsed.Scheme, host: parsed.Host, othersScheme: parsed.Scheme, othersPort: parsed.Port()}
	switch {
	case parsed.Scheme == "unix" && parsed.Host == "" && strings.HasPrefix(parsed.Path, "/"):
		base = agentBase{scheme: "http", host: "localhost", socket: parsed.Path, othersScheme: "https", othersPort: defaultAgentPort}
	case parsed.Scheme != "http" && parsed.Scheme != "https",
		parsed.Hostname() == "", parsed.Port() == "", strings.Trim(parsed.Path, "/") != "", parsed.User != nil:
		return agentBase{}, invalid
	}
	if config.AgentPort < 0 || config.AgentPort > 65535 {
		return agentBase{}, fmt.Errorf("consul: %w: agent port %d: must be 0 to 65535", ErrInvalid, config.AgentPort)
	}
	if config.AgentPort > 0 {
		base.othersPort = strconv.Itoa(config.AgentPort)
	}
	return base, nil
}

// local is the URL of this node's agent.
func (b agentBase) local() url.URL { return url.URL{Scheme: b.scheme, Host: b.host} }

// of is the URL of the agent of another node.
func (b agentBase) of(address string) url.URL {
	return url.URL{Scheme: b.othersScheme, Host: net.JoinHostPort(address, b.othersPort)}
}

// maxConnections is how many HTTP/2 connections there are to one agent, each for 250 requests at a time. Without
// a limit, every request that finds them full dials, and the agent refuses beyond 200.
const maxConnections = 32

// newConsulTransport bounds the time to connect and finds dead connections, so that a request can only wait for
// an agent that lives.
func newConsulTransport(config ConsulConfig, base agentBase) (*tokenTransport, error) {
	tls, err := api.SetupTLSConfig(&api.TLSConfig{
		Address: config.ServerName, CAFile: config.CAFile, CertFile: config.CertFile, KeyFile: config.KeyFile,
	})
	if err != nil {
		return nil, fmt.Errorf("consul: TLS: %w", err)
	}
	dialer := &net.Dialer{
		Timeout:         2 * time.Second,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3},
	}
	dial := dialer.DialContext
	if base.socket != "" {
		dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if address == net.JoinHostPort(base.host, "80") {
				return dialer.DialContext(ctx, "unix", base.socket)
			}
			return dialer.DialContext(ctx, network, address)
		}
	}
	most := 0 // over HTTP/1.1 a limit would make requests wait for blocking queries to end
	if base.scheme == "https" {
		most = maxConnections
	}
	return &tokenTransport{tokens: config.Tokens, Transport: &http.Transport{
		DialContext:         dial,
		TLSClientConfig:     tls,
		TLSHandshakeTimeout: 2 * time.Second,
		ForceAttemptHTTP2:   true,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
		MaxConnsPerHost:     most,
		MaxIdleConnsPerHost: 32,
		IdleConnTimeout:     90 * time.Second,
	}}, nil
}

// tokenTransport adds the ACL token of the datacenter that a request names.
type tokenTransport struct {
	*http.Transport
	tokens ConsulTokens
}

// RoundTrip implements http.RoundTripper.
func (t *tokenTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Del("X-Consul-Token")
	if t.tokens != nil {
		token, err := t.tokens.Token(r.URL.Query().Get("dc"))
		if err != nil {
			return nil, err
		}
		if token != "" {
			r.Header.Set("X-Consul-Token", token)
		}
	}
	return t.Transport.RoundTrip(r)
}
