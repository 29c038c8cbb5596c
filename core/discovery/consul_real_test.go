package discovery

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/discovery/consultest"
)

// realAgent is a Consul agent with clients of this package.
type realAgent struct{ *consultest.Agent }

func startConsul(t *testing.T) realAgent {
	t.Helper()
	return realAgent{consultest.Start(t)}
}

// federate runs a server of another datacenter that joins this one.
func (a realAgent) federate(t *testing.T) realAgent {
	t.Helper()
	return realAgent{a.Federate(t)}
}

// member runs a client agent of this server's datacenter.
func (a realAgent) member(t *testing.T) realAgent {
	t.Helper()
	return realAgent{a.Member(t)}
}

func (a realAgent) config() ConsulConfig {
	return ConsulConfig{Address: a.Address, CAFile: a.File("ca.pem"), Tokens: ConsulToken(a.Token)}
}

func (a realAgent) client(t *testing.T, pace consulPace) *Consul {
	t.Helper()
	c, err := newConsul(a.config(), pace)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() }) // the agent may be dead
	return c
}

// service is a service on the agent's own node.
func (a realAgent) service(id string) Service {
	return Service{
		Name: SFUService, ID: id, Node: a.Node, Region: a.Datacenter, Health: Passing, Meta: map[string]string{MetaLoad: "0"},
	}
}
