package peers_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/edge/turn/peers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a settable time.
type clock chan time.Time

func newClock() clock {
	c := make(clock, 1)
	c <- time.Unix(0, 0)
	return c
}

func (c clock) now() time.Time {
	now := <-c
	c <- now
	return now
}

func (c clock) advance(d time.Duration) { c <- (<-c).Add(d) }

func server(id, media string, health discovery.Health) discovery.Service {
	return discovery.Service{
		Name: discovery.SFUService, ID: id, Node: id, Region: "east", Health: health,
		Meta: map[string]string{discovery.MetaMedia: media},
	}
}

func TestOnlyMediaServersAndWhatTheOperatorAllowsAreAllowed(t *testing.T) {
	catalog := discovery.NewMemory()
	require.NoError(t, catalog.Register(t.Context(), server("a", "10.0.0.1:7200,10.0.1.1:7200", discovery.Passing)))
	require.NoError(t, catalog.Register(t.Context(), server("b", "10.0.0.2:7200", discovery.Critical)))
	clock := newClock()
	set, err := peers.New([]string{"192.0.2.7:9"}, clock.now)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); set.Follow(ctx, catalog) }()
	t.Cleanup(func() { cancel(); <-done })

	allowed := func(peer string) bool { return set.Allowed(netip.MustParseAddrPort(peer)) }
	require.Eventually(t, func() bool { return allowed("10.0.0.1:7200") }, 5*time.Second, 5*time.Millisecond)
	for peer, want := range map[string]bool{
		"10.0.1.1:7200":          true,
		"10.0.0.2:7200":          true, // failing its checks, but it may carry calls
		"[::ffff:10.0.0.1]:7200": true,
		"192.0.2.7:9":            true,
		"10.0.0.1:22":            false,
		"10.0.0.3:7200":          false,
		"127.0.0.1:8500":         false,
		"10.0.0.1:0":             true, // a permission for the address
		"192.0.2.7:0":            true,
		"127.0.0.1:0":            false,
	} {
		require.Equal(t, want, allowed(peer), peer)
	}

	t.Run("a server that left the catalog lingers, however long it was there", func(t *testing.T) {
		clock.advance(peers.Linger + time.Hour)
		require.NoError(t, catalog.Deregister(t.Context(), discovery.SFUService, "a"))
		require.NoError(t, catalog.Register(t.Context(), server("c", "10.0.0.3:7200", discovery.Passing)))
		require.Eventually(t, func() bool { return allowed("10.0.0.3:7200") }, 5*time.Second, 5*time.Millisecond)
		clock.advance(peers.Linger - time.Minute)
		require.NoError(t, catalog.Register(t.Context(), server("e", "10.0.0.5:7200", discovery.Passing)))
		require.Eventually(t, func() bool { return allowed("10.0.0.5:7200") }, 5*time.Second, 5*time.Millisecond)
		require.True(t, allowed("10.0.0.1:7200"), "its calls may still go on")
		clock.advance(time.Hour)
		require.NoError(t, catalog.Register(t.Context(), server("d", "10.0.0.4:7200", discovery.Passing)))
		require.Eventually(t, func() bool { return allowed("10.0.0.4:7200") && !allowed("10.0.0.1:7200") },
			5*time.Second, 5*time.Millisecond)
	})
}

func TestBadPeersAreRefused(t *testing.T) {
	for _, peer := range []string{"", "localhost:1", "10.0.0.1", "10.0.0.1:99999"} {
		_, err := peers.New([]string{peer}, time.Now)
		require.ErrorContains(t, err, "IP:PORT", peer)
	}
}
