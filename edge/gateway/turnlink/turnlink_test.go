package turnlink_test

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/core/signaling/control"
	"github.com/wardline/wardline/edge/gateway/turnlink"
	"github.com/wardline/wardline/edge/gateway/turntest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	patience = 10 * time.Second
	tick     = 5 * time.Millisecond
)

// world is what a gateway and relays share.
type world struct {
	t      *testing.T
	turn   secrets.CertificateSource
	links  *turnlink.Links
	relays []discovery.Service
}

func newWorld(t *testing.T) *world {
	t.Helper()
	keeper, err := secrets.OpenLocal(filepath.Join(t.TempDir(), "keys"))
	require.NoError(t, err)
	gateway, err := keeper.Certificates(t.Context(), secrets.GatewayRole)
	require.NoError(t, err)
	turn, err := keeper.Certificates(t.Context(), secrets.TURNRole, "127.0.0.1")
	require.NoError(t, err)
	w := &world{t: t, turn: turn, links: turnlink.New(control.PoolConfig{
		ID: "gw-1", Version: "test", TLS: gateway.Client(secrets.TURNRole), Log: zerolog.Nop(),
	}, "here")}
	t.Cleanup(w.links.Close)
	return w
}

// relay starts a relay that the catalog shows.
func (w *world) relay(id, region string) *turntest.Relay {
	r := turntest.Start(w.t, id, w.turn.Server(secrets.GatewayRole))
	w.relays = append(w.relays, r.Service(region))
	w.links.SetRelays(w.relays)
	return r
}

func (w *world) up(n int) {
	w.t.Helper()
	require.Eventually(w.t, func() bool { return w.links.Phases()[control.Up] == n }, patience, tick)
}

func (w *world) revoke(credentials ...string) {
	w.links.Revoke(time.Now().Add(time.Hour), credentials...)
}

func (w *world) told(r *turntest.Relay, credential string) {
	w.t.Helper()
	require.Eventually(w.t, func() bool { return r.Revoked(credential) > 0 }, patience, tick, "%s hears of %s", r.ID, credential)
}

func TestRevocationsReachEveryRelayAtOnce(t *testing.T) {
	w := newWorld(t)
	a, b := w.relay("turn-a", "here"), w.relay("turn-b", "here")
	w.up(2)
	w.revoke("v.p1", "v.p2")
	for _, r := range []*turntest.Relay{a, b} {
		w.told(r, "v.p1")
		w.told(r, "v.p2")
	}
	require.Eventually(t, func() bool { return w.links.Unacknowledged() == 0 }, patience, tick)
	require.Equal(t, 2, w.links.Revocations())
	w.revoke("v.p1", "v.p3")
	w.told(a, "v.p3")
	require.Equal(t, 1, a.Revoked("v.p1"), "who was told is not told again")
}

func TestRelaysOfOtherRegionsAreReachedForRevocations(t *testing.T) {
	w := newWorld(t)
	far := w.relay("turn-far", "far")
	w.relay("turn-here", "here")
	w.up(1)
	require.Equal(t, map[control.Phase]int{control.Up: 1}, w.links.Phases(), "without a revocation there is nothing to say")
	w.revoke("v")
	w.told(far, "v")
	later := w.relay("turn-later", "far")
	w.told(later, "v")
}

func TestARelayThatWasOutOfReachHearsEverythingWhenItIsBack(t *testing.T) {
	w := newWorld(t)
	r := w.relay("turn-a", "here")
	w.up(1)
	w.revoke("before")
	w.told(r, "before")
	r.Stop()
	require.Eventually(t, func() bool { return w.links.Standing("turn-a", "").Dead }, patience, tick)
	require.Zero(t, w.links.Unacknowledged())
	var many []string
	for i := range 3 * signaling.MaxRevocations {
		many = append(many, fmt.Sprintf("v%d", i))
	}
	w.revoke(many...)
	r.Restart()
	w.told(r, "before")
	for _, credential := range many {
		w.told(r, credential)
	}
	require.False(t, w.links.Standing("turn-a", "").Dead)
	require.Eventually(t, func() bool { return w.links.Unacknowledged() == 0 }, patience, tick)
}

func TestARevocationIsToldOnlyWhileItsCredentialsLive(t *testing.T) {
	w := newWorld(t)
	w.links.Revoke(time.Now().Add(-time.Second), "expired")
	w.revoke("alive")
	r := w.relay("turn-a", "here")
	w.told(r, "alive")
	require.Zero(t, r.Revoked("expired"))
}

func TestARelayThatLeftTheCatalogIsToldAsLongAsItAnswers(t *testing.T) {
	w := newWorld(t)
	r := w.relay("turn-a", "here")
	w.up(1)
	w.links.SetRelays(nil)
	w.links.Tend()
	w.revoke("v")
	w.told(r, "v")
}

func TestARelayThatDrainsSaysSoAtOnce(t *testing.T) {
	w := newWorld(t)
	r := w.relay("turn-a", "here")
	w.up(1)
	require.Equal(t, turnlink.Standing{}, w.links.Standing("turn-a", "sfu-1"))
	draining := func() bool { return w.links.Standing("turn-a", "sfu-1").Draining }
	r.Drain(true)
	require.Eventually(t, draining, patience, tick)
	r.Drain(false)
	require.Eventually(t, func() bool { return !draining() }, patience, tick)
}

func TestRelaysConfirmMediaServers(t *testing.T) {
	w := newWorld(t)
	media := map[string][]netip.AddrPort{"sfu-1": {netip.MustParseAddrPort("192.0.2.1:7200")}}
	for i := range 3 * signaling.MaxAllowed {
		media[fmt.Sprintf("many-%d", i)] = []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), uint16(7200+i))}
	}
	w.links.SetMedia(media)
	early := w.relay("turn-early", "here")
	forwards := func(relay, sfu string) func() bool {
		return func() bool { return w.links.Standing(relay, sfu).Forwards }
	}
	for sfu := range media {
		require.Eventually(t, forwards("turn-early", sfu), patience, tick, sfu)
	}
	require.False(t, forwards("turn-early", "unknown")())
	require.False(t, forwards("unknown", "sfu-1")())

	early.AllowNothing()
	media["sfu-2"] = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.3:7200")}
	w.links.SetMedia(media)
	late := w.relay("turn-late", "here")
	require.Eventually(t, forwards("turn-late", "sfu-2"), patience, tick)
	require.False(t, forwards("turn-early", "sfu-2")(), "it does not say so")
	late.Stop()
	require.Eventually(t, func() bool { return !forwards("turn-late", "sfu-2")() }, patience, tick, "who does not answer confirms nothing")
}

func TestNothingWaitsForARelayThatSaysNothing(t *testing.T) {
	w := newWorld(t)
	mute := w.relay("turn-mute", "here")
	mute.Mute()
	w.up(1)
	start := time.Now()
	for i := range 1000 {
		w.revoke(fmt.Sprintf("v%d", i))
	}
	require.Less(t, time.Since(start), patience)
	w.told(mute, "v999")
	require.Equal(t, 1000, w.links.Unacknowledged(), "which shows in the metrics")
}

func TestARelayThatTalksNonsenseIsIgnored(t *testing.T) {
	w := newWorld(t)
	r := w.relay("turn-a", "here")
	w.up(1)
	w.links.SetMedia(map[string][]netip.AddrPort{"sfu-1": {netip.MustParseAddrPort("192.0.2.1:7200")}})
	r.Say(signaling.Gone{Route: signaling.Route{Leg: 1}})
	r.Say(signaling.Revoked{Credentials: []string{"nobody"}, Ended: 1})
	r.Say(signaling.Allowed{Addresses: []string{"198.51.100.1:1"}})
	w.revoke("v")
	w.told(r, "v")
	require.Equal(t, 1, w.links.Phases()[control.Up])
}
