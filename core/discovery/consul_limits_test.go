package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"
)

// leastRules is all that a component needs which keeps encounters, finds services and reads its node's maintenance.
const leastRules = `
key_prefix "wardline/"      { policy = "write" }
session_prefix ""           { policy = "write" }
service_prefix "wardline-"  { policy = "write" }
node_prefix ""              { policy = "read" }
agent_prefix ""             { policy = "read" }
`

// limited returns a client whose token has only the given rules.
func (a realAgent) limited(t *testing.T, rules string) *Consul {
	t.Helper()
	root := a.client(t, consulQuickPace)
	policy, _, err := root.api.ACL().PolicyCreate(&api.ACLPolicy{Name: "least", Rules: rules}, nil)
	require.NoError(t, err)
	token, _, err := root.api.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{ID: policy.ID}}}, nil)
	require.NoError(t, err)
	return a.with(t, token)
}

// with returns a client that has a token.
func (a realAgent) with(t *testing.T, token *api.ACLToken) *Consul {
	t.Helper()
	config := a.config()
	config.Tokens = ConsulToken(token.SecretID)
	c, err := newConsul(config, consulQuickPace)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func TestConsulLeastPrivilege(t *testing.T) {
	t.Parallel()
	agent := startConsul(t)
	c := agent.limited(t, leastRules)
	require.NoError(t, c.Ready(t.Context()))
	services := c.WatchServices(t.Context(), SFUService)
	require.Empty(t, next(t, services), "allowed to see that there is none")
	require.NoError(t, c.Register(t.Context(), agent.service("sfu-1")))
	awaitServices(t, services, only("sfu-1"))
	_, err := c.CompareAndSet(t.Context(), "wardline/encounters/t/e", []byte("x"), 0)
	require.NoError(t, err)
	list, err := c.List(t.Context(), "wardline/encounters/nobody/")
	require.NoError(t, err)
	require.Empty(t, list)
	leadership, err := c.Campaign(t.Context(), "autoscaler")
	require.NoError(t, err)
	leadership.Release()
	_, err = c.AgentMaintenance(t.Context())
	require.NoError(t, err)

	for what, call := range map[string]func() error{
		"another key":      func() error { _, err := c.CompareAndSet(t.Context(), "vault/core", nil, 0); return err },
		"reading another":  func() error { _, err := c.Get(t.Context(), "vault/core"); return err },
		"another service":  func() error { _, err := c.Services(t.Context(), "payroll"); return err },
		"node maintenance": func() error { return c.SetMaintenance(t.Context(), agent.Node, true, "mischief") },
	} {
		require.ErrorIs(t, call(), ErrUnavailable, what)
	}
}

func TestConsulManyWatchesShareConnections(t *testing.T) {
	t.Parallel()
	const watches = 600 // over three times the connections that an agent allows one client
	agent := startConsul(t)
	c := agent.client(t, consulNormalPace)
	var dials atomic.Int64
	transport, ok := c.http.Transport.(*consulTransport)
	require.True(t, ok)
	own, ok := transport.own.(*http.Transport)
	require.True(t, ok)
	dial := own.DialContext
	own.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		dials.Add(1)
		return dial(ctx, network, address)
	}
	require.NoError(t, c.Ready(t.Context()))
	channels := make([]<-chan Entry, watches)
	for i := range channels {
		channels[i] = c.Watch(t.Context(), fmt.Sprintf("key-%d", i))
	}
	for _, i := range []int{0, watches / 2, watches - 1} {
		key := fmt.Sprintf("key-%d", i)
		require.Eventually(t, func() bool { // an agent that begins hundreds of watches may be late, and do it all the same
			_, err := c.CompareAndSet(t.Context(), key, []byte("x"), 0)
			return err == nil || errors.Is(err, ErrConflict)
		}, patience, tick)
		entry := next(t, channels[i])
		require.Equal(t, key, entry.Key)
		require.Equal(t, "x", string(entry.Value))
	}
	require.LessOrEqual(t, dials.Load(), int64(100))
}
