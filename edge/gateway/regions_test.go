package gateway_test

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway"
)

// regional is the keeper of a region whose shared secrets are its own.
type regional struct {
	*secrets.Local
	shared *secrets.Local
}

func (r regional) Shared(ctx context.Context, name string) (secrets.Shared, error) {
	return r.shared.Shared(ctx, name)
}

// regionalGateway starts a gateway in a region with secrets of its own; the root of certificates is common.
func (w *world) regionalGateway(id, region string) (*gate, *secrets.Local) {
	w.t.Helper()
	shared, err := secrets.OpenLocal(filepath.Join(w.t.TempDir(), "keys"))
	require.NoError(w.t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(w.t, err)
	g := w.gateway(id, func(c *gateway.Config) {
		c.Region, c.Keeper = region, regional{w.keeper, shared}
		c.Internal = &gateway.Internal{
			Listener: listener, Server: w.gateTLS.Server(secrets.GatewayRole), Client: w.gateTLS.Client(secrets.GatewayRole),
		}
	})
	require.NoError(w.t, w.memory.Register(w.t.Context(), discovery.Service{
		Name: discovery.GatewayService, ID: id, Node: id, Region: region, Health: discovery.Passing,
		Meta: map[string]string{discovery.MetaURL: g.url(), discovery.MetaInternal: listener.Addr().String()},
	}))
	require.NoError(w.t, w.memory.Register(w.t.Context(), discovery.Service{
		Name: discovery.TURNService, ID: "turn-" + region, Node: id, Region: region, Health: discovery.Passing,
		Meta: map[string]string{discovery.MetaTURN: region + ".example:3478"},
	}))
	return g, shared
}

// requireRelay holds the credentials for a region's relay to that region's secret.
func requireRelay(t *testing.T, servers []signaling.ICEServer, region string, keeper *secrets.Local) {
	t.Helper()
	shared, err := keeper.Shared(t.Context(), secrets.TURNSecret)
	require.NoError(t, err)
	for _, server := range servers {
		if strings.Contains(server.URLs[0], region) {
			good, err := secrets.TURNPassword(shared, server.Username, time.Now())
			require.NoError(t, err)
			require.Contains(t, good, server.Credential)
			return
		}
	}
	require.Fail(t, "no relay of "+region, "%v", servers)
}

// placedBeside waits until somebody is placed and has seen a name, in any order, and returns the relays.
func placedBeside(c *caller, name string) []signaling.ICEServer {
	c.t.Helper()
	var placed *signaling.Placed
	for seen := false; !seen || placed == nil; {
		select {
		case m, open := <-c.got:
			require.True(c.t, open, "socket closed, saw %q: %t, placed: %v", name, seen, placed)
			switch m := m.(type) {
			case signaling.Placed:
				placed = &m
			case signaling.Roster:
				seen = seen || slices.ContainsFunc(m.Members, func(one signaling.Member) bool { return one.Name == name })
			}
		case <-time.After(patience):
			require.FailNow(c.t, "not placed, or a name never came")
		}
	}
	return placed.ICEServers
}

func TestRegionsWithSecretsOfTheirOwnShareVisits(t *testing.T) {
	w := newWorld(t)
	w.sfu("sfu-1")
	near, nearKeeper := w.regionalGateway("gw-near", "near")
	far, farKeeper := w.regionalGateway("gw-far", "far")
	require.Eventually(t, func() bool { // both have asked each other
		for _, g := range []*gate{near, far} {
			c := g.join("early", access.Patient)
			c.send(signaling.Leave{})
			if len(c.welcome.ICEServers) != 2 {
				return false
			}
		}
		return true
	}, patience, tick)

	provider, patient := far.join("doctor", access.Provider), near.join("patient", access.Patient)
	provider.send(signaling.Admit{Participant: "patient"})
	for c, other := range map[*caller]string{provider: "patient", patient: "doctor"} {
		servers := placedBeside(c, "Name of "+other)
		require.Len(t, servers, 2)
		requireRelay(t, servers, "near", nearKeeper)
		requireRelay(t, servers, "far", farKeeper)
	}

	far.stop()
	late := near.join("family", access.Family)
	requireRelay(t, late.welcome.ICEServers, "near", nearKeeper)
	requireRelay(t, late.welcome.ICEServers, "far", farKeeper)
}

func TestSilentConnectionsOfNeighborsMakeRoom(t *testing.T) {
	w := newWorld(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w.gateway("gw-1", func(c *gateway.Config) {
		c.MaxConnectionsPerAddress = 4
		c.Internal = &gateway.Internal{
			Listener: listener, Server: w.gateTLS.Server(secrets.GatewayRole), Client: w.gateTLS.Client(secrets.GatewayRole),
		}
	})
	conns := make([]net.Conn, 5)
	for i := range conns {
		conns[i], err = (&net.Dialer{}).DialContext(t.Context(), "tcp", listener.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conns[i].Close() })
	}
	require.NoError(t, conns[0].SetReadDeadline(time.Now().Add(patience/4)))
	_, err = conns[0].Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "whoever said nothing for longest makes room")
}
