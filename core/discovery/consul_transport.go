package discovery

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
)

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

// newConsulTransport bounds the time to connect and finds dead connections within seconds, so that a request can
// only wait for an agent that lives.
func newConsulTransport(config ConsulConfig, base agentBase) (*consulTransport, error) {
	own, err := consulTLS(config, config.ServerName)
	if err != nil {
		return nil, err
	}
	others, err := consulTLS(config, "")
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{
		Timeout:         time.Second,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3},
	}
	dial := dialer.DialContext
	if base.socket != "" {
		dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", base.socket)
		}
	}
	return &consulTransport{
		base: base, tokens: config.Tokens,
		own:    httpTransport(own, dial, base.scheme),
		others: httpTransport(others, dialer.DialContext, base.othersScheme),
	}, nil
}

// consulTLS always verifies: the name, or if it is empty the host that is asked.
func consulTLS(config ConsulConfig, name string) (*tls.Config, error) {
	made, err := api.SetupTLSConfig(&api.TLSConfig{
		Address: name, CAFile: config.CAFile, CertFile: config.CertFile, KeyFile: config.KeyFile,
	})
	if err != nil {
		return nil, fmt.Errorf("consul: TLS: %w", err)
	}
	return made, nil
}

func httpTransport(
	config *tls.Config, dial func(ctx context.Context, network, address string) (net.Conn, error), scheme string,
) *http.Transport {
	most := 0 // over HTTP/1.1 a limit would make requests wait for blocking queries to end
	if scheme == "https" {
		most = maxConnections
	}
	return &http.Transport{
		DialContext:         dial,
		TLSClientConfig:     config,
		TLSHandshakeTimeout: 2 * time.Second,
		ForceAttemptHTTP2:   true,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: time.Second, PingTimeout: 2 * time.Second},
		MaxConnsPerHost:     most,
		MaxIdleConnsPerHost: 32,
		IdleConnTimeout:     90 * time.Second,
	}
}
