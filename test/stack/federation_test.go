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
	"time"

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

func TestNearestInstancesAreThoseOfTheNextRegion(t *testing.T) {
	w := start(t, stack.Options{Regions: []string{"east", "west"}, Shape: plan.Shape{Guests: 1}, NoVault: true})
	east, west := consulFrom(t, w, "east"), consulFrom(t, w, "west")
	query := discovery.NearestQuery{
		Name: "wardline-sfu", Service: discovery.SFUService, Regions: 1, Token: w.Consul("east").Token,
	}
	require.NoError(t, east.ApplyNearestQuery(t.Context(), query))
	at := func(id, region string) discovery.Service {
		return discovery.Service{Name: discovery.SFUService, ID: id, Node: region + "-server", Region: region, Health: discovery.Passing}
	}
	require.NoError(t, west.Register(t.Context(), at("sfu-west", "west")))
	nearest := func(want string) func(context.Context) error {
		return func(ctx context.Context) error {
			found, err := east.Nearest(ctx, query.Name)
			if err != nil {
				return err
			}
			if len(found) != 1 || found[0].ID != want {
				return &stack.StatusError{Body: "nearest are not " + want}
			}
			return nil
		}
	}
	eventually(t, time.Minute, "the next region's instance is the nearest", nearest("sfu-west"))
	require.NoError(t, east.Register(t.Context(), at("sfu-east", "east")))
	eventually(t, time.Minute, "the own region's instance is nearer", nearest("sfu-east"))
	require.NoError(t, east.Deregister(t.Context(), discovery.SFUService, "sfu-east"))
	eventually(t, time.Minute, "and the next one's again", nearest("sfu-west"))
}
