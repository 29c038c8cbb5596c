package peers_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/edge/turn/peers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// relay is where the media of a relay leaves from.
var relay = netip.MustParseAddr("10.0.0.99")

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

// follow keeps a set to a catalog until the test ends.
func follow(t *testing.T, set *peers.Set, catalog discovery.Catalog) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); set.Follow(ctx, catalog) }()
	t.Cleanup(func() { cancel(); <-done })
}

func TestOnlyMediaServersAndWhatTheOperatorAllowsAreAllowed(t *testing.T) {
	catalog := discovery.NewMemory()
	require.NoError(t, catalog.Register(t.Context(), server("a", "10.0.0.1:7200,10.0.1.1:7200", discovery.Passing)))
	require.NoError(t, catalog.Register(t.Context(), server("b", "10.0.0.2:7200", discovery.Critical)))
	clock := newClock()
	set, err := peers.New(relay, []string{"192.0.2.7:9"}, clock.now)
	require.NoError(t, err)
	follow(t, set, catalog)

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
		_, err := peers.New(relay, []string{peer}, time.Now)
		require.ErrorContains(t, err, "IP:PORT", peer)
	}
}

func TestAnnouncedAddressesLapseUnlessTheCatalogShowsThem(t *testing.T) {
	catalog, clock := discovery.NewMemory(), newClock()
	set, err := peers.New(relay, []string{"192.0.2.7:9"}, clock.now)
	require.NoError(t, err)
	follow(t, set, catalog)
	at := netip.MustParseAddrPort
	good, bad := at("10.0.0.1:7200"), at("10.0.0.2:7200")
	allowed := func(peer netip.AddrPort) bool { return set.Allowed(peer) }

	require.Equal(t, []netip.AddrPort{good, bad, at("192.0.2.7:9")},
		set.Announced([]netip.AddrPort{at("[::ffff:10.0.0.1]:7200"), bad, at("192.0.2.7:9")}))
	require.True(t, allowed(good))
	require.True(t, allowed(at("10.0.0.2:0")), "a permission for the address")
	require.False(t, allowed(at("10.0.0.2:7201")))
	require.Equal(t, 2, set.Unconfirmed())
	require.NoError(t, catalog.Register(t.Context(), server("a", good.String(), discovery.Passing)))
	require.Eventually(t, func() bool { return set.Unconfirmed() == 1 }, 5*time.Second, 5*time.Millisecond)

	clock.advance(peers.Trust - time.Second)
	require.Equal(t, []netip.AddrPort{bad}, set.Announced([]netip.AddrPort{bad}), "saying it again does not make it last longer")
	clock.advance(time.Second)
	require.True(t, allowed(good))
	require.False(t, allowed(bad))
	require.False(t, allowed(at("10.0.0.2:0")))
	require.Equal(t, []netip.AddrPort{good}, set.Announced([]netip.AddrPort{good, bad}), "it lapsed and is not believed again")
	clock.advance(peers.Distrust)
	require.Equal(t, []netip.AddrPort{bad}, set.Announced([]netip.AddrPort{bad}))
}

func TestImplausibleAddressesAreNotBelieved(t *testing.T) {
	implausible := []string{
		"127.0.0.1:7200", "[::1]:7200", "[::ffff:127.0.0.1]:7200", "0.0.0.0:7200", "224.0.0.1:7200", "255.255.255.255:7200",
		"169.254.169.254:7200", "[fe80::1]:7200",
	}
	set, err := peers.New(relay, nil, time.Now)
	require.NoError(t, err)
	for _, peer := range append([]string{"10.0.0.1:0", "10.0.0.1:53", "10.0.0.1:1023"}, implausible...) {
		require.Empty(t, set.Announced([]netip.AddrPort{netip.MustParseAddrPort(peer)}), peer)
		require.False(t, set.Allowed(netip.MustParseAddrPort(peer)), peer)
	}
	require.Zero(t, set.Unconfirmed())
	require.NotEmpty(t, set.Announced([]netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:1024")}))

	catalog := discovery.NewMemory()
	media := strings.Join(append(implausible, "10.0.0.2:443"), ",")
	require.NoError(t, catalog.Register(t.Context(), server("a", media, discovery.Passing)))
	follow(t, set, catalog)
	require.Eventually(t, func() bool { return set.Allowed(netip.MustParseAddrPort("10.0.0.2:443")) }, 5*time.Second, 5*time.Millisecond,
		"an operator may give a media server any port")
	for _, peer := range implausible {
		require.False(t, set.Allowed(netip.MustParseAddrPort(peer)), "not even the catalog: %s", peer)
	}
}

func TestARelayOnLoopbackBelievesInMediaServersThere(t *testing.T) {
	set, err := peers.New(netip.MustParseAddr("127.0.0.1"), nil, time.Now)
	require.NoError(t, err)
	catalog := discovery.NewMemory()
	require.NoError(t, catalog.Register(t.Context(), server("a", "127.0.0.1:7200", discovery.Passing)))
	follow(t, set, catalog)
	require.Eventually(t, func() bool { return set.Allowed(netip.MustParseAddrPort("127.0.0.1:7200")) }, 5*time.Second, 5*time.Millisecond)
}

func TestAnnouncedAddressesAreBounded(t *testing.T) {
	clock := newClock()
	set, err := peers.New(relay, nil, clock.now)
	require.NoError(t, err)
	many := func(host byte) (peers []netip.AddrPort) {
		for port := range uint16(100) {
			peers = append(peers, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, host}), 7000+port))
		}
		return peers
	}
	require.Len(t, set.Announced(many(1)), peers.MaxAnnounced)
	require.Empty(t, set.Announced(many(2)))
	clock.advance(peers.Trust)
	require.Empty(t, set.Announced(many(2)), "those that lapsed take room until they may be announced again")
	clock.advance(peers.Distrust)
	require.Len(t, set.Announced(many(2)), peers.MaxAnnounced)
}
