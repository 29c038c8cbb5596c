//go:build linux

package stack_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/encounter/federation/federationtest"
	stack "github.com/wardline/wardline/test/stack"
	"github.com/wardline/wardline/test/stack/plan"
)

// consulFrom is a client of a region's Consul as the region's own nodes have it: what the region cannot reach, it cannot.
func consulFrom(t *testing.T, w *stack.World, region string) *discovery.Consul {
	t.Helper()
	m, err := w.Machine(region + "-guest-1")
	require.NoError(t, err)
	server := w.Consul(region)
	target, err := url.Parse(server.URL)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1
	transport := &http.Transport{
		TLSClientConfig: w.Authority().ClientTLS(), MaxIdleConnsPerHost: 64,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return m.Dial(ctx, network, address)
		},
	}
	proxy.Transport = transport
	proxy.ErrorHandler = func(rw http.ResponseWriter, _ *http.Request, _ error) { rw.WriteHeader(http.StatusBadGateway) }
	front := httptest.NewServer(proxy)
	t.Cleanup(func() {
		front.Close()
		transport.CloseIdleConnections()
	})
	consul, err := discovery.NewConsul(discovery.ConsulConfig{
		Address: front.URL, Tokens: discovery.ConsulToken(server.Token), Log: zerolog.Nop(),
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, consul.Close()) })
	return consul
}

func TestPlacementsFromThreeRegionsOnRealConsul(t *testing.T) {
	w := start(t, stack.Options{Regions: []string{"east", "west", "onprem"}, Shape: plan.Shape{Guests: 1}, NoVault: true})
	regions := w.Plan().Names()
	clients := make(map[string]*discovery.Consul, len(regions))
	for _, region := range regions {
		clients[region] = consulFrom(t, w, region)
	}
	world := federationtest.World{
		Regions: regions,
		KV:      func(from, to string) encounter.KV { return clients[from].KV(to) },
		Cut:     func() { require.NoError(t, w.Cut(t.Context(), regions[0], "")) },
		Heal:    func() { require.NoError(t, w.Heal(t.Context(), regions[0], "")) },
	}
	t.Run("all in reach", func(t *testing.T) { federationtest.Placements(t, world) })
	t.Run("the home region cut off in the middle", func(t *testing.T) { federationtest.SplitBrain(t, world) })
}
