package gateway_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway"
	"github.com/wardline/wardline/edge/gateway/sfutest"
)

func TestSilentSFUIsReplacedWithinThreeSeconds(t *testing.T) {
	w := newWorld(t)
	sfus := map[string]*sfutest.SFU{"sfu-1": w.sfu("sfu-1"), "sfu-2": w.sfu("sfu-2")}
	g := w.gateway("gw-1")
	provider, patient, first := g.call()
	started := time.Now()
	sfus[first.SFU].Silence(true)
	for _, c := range []*caller{provider, patient} {
		placed := next[signaling.Placed](c)
		require.NotEqual(t, first.SFU, placed.SFU)
		require.Equal(t, signaling.Route{Leg: 2, Epoch: 2}, placed.Route)
		require.Equal(t, "failover", placed.Reason)
		require.True(t, placed.Abrupt)
	}
	require.Less(t, time.Since(started), 3*time.Second)
}

func TestSFUThatStopsIsReplaced(t *testing.T) {
	w := newWorld(t)
	sfus := map[string]*sfutest.SFU{"sfu-1": w.sfu("sfu-1"), "sfu-2": w.sfu("sfu-2")}
	g := w.gateway("gw-1")
	provider, _, first := g.call()
	sfus[first.SFU].Stop()
	require.NotEqual(t, first.SFU, next[signaling.Placed](provider).SFU)
}

func TestFramesThatNobodyWasSentAreNotCounted(t *testing.T) {
	w := newWorld(t)
	sfu := w.sfu("sfu-1")
	registry := prometheus.NewRegistry()
	g := w.gateway("gw-1", func(c *gateway.Config) { c.Registry = registry })
	provider, _, placed := g.call()
	sent := func() (count float64) {
		provider.send(signaling.MediaState{Route: placed.Route, Audio: true})
		provider.send(signaling.Ping{ID: 1})
		next[signaling.Pong](provider)
		families, err := registry.Gather()
		require.NoError(t, err)
		for _, family := range families {
			for _, metric := range family.GetMetric() {
				if family.GetName() == "wardline_gateway_sfu_frames_sent_total" && metric.GetLabel()[0].GetValue() == "media-state" {
					count = metric.GetCounter().GetValue()
				}
			}
		}
		return count
	}
	require.InDelta(t, 1, sent(), 0)
	sfu.Stop()
	require.Eventually(t, func() bool { return gateway.Knows(g.Server, "sfu-1").Dead }, patience, tick)
	require.InDelta(t, 1, sent(), 0)
}

func TestBrokenChannelIsDialedAgainWithoutFailover(t *testing.T) {
	w := newWorld(t)
	sfu := w.sfu("sfu-1")
	w.sfu("sfu-2").Refuse(signaling.RefusedDraining)
	g := w.gateway("gw-1")
	provider, _, placed := g.call()
	sfu.Drop()
	require.Eventually(t, func() bool { a, _ := sfutest.All[signaling.Attach](sfu); return len(a) == 4 }, patience, tick)
	provider.send(signaling.Offer{Route: placed.Route, PC: signaling.Publish, Negotiation: 1, SDP: "v=0"})
	require.Equal(t, "answer:v=0", next[signaling.Answer](provider).SDP)
}

func TestSFUThatForgotGetsNewLegs(t *testing.T) {
	w := newWorld(t)
	sfu := w.sfu("sfu-1")
	g := w.gateway("gw-1")
	provider, _, _ := g.call()
	sfu.Forget()
	sfu.Drop()
	placed := next[signaling.Placed](provider)
	require.Equal(t, signaling.Route{Leg: 2, Epoch: 1}, placed.Route)
	require.True(t, placed.Abrupt)
}

func TestRefusingSFUIsPassedOver(t *testing.T) {
	w := newWorld(t)
	w.sfu("sfu-1").Refuse(signaling.RefusedBusy)
	w.sfu("sfu-2")
	g := w.gateway("gw-1")
	_, _, placed := g.call()
	require.Equal(t, "sfu-2", placed.SFU)
}

func TestNoSFUIsToldAndTriedAgain(t *testing.T) {
	w := newWorld(t)
	sfu := w.sfu("sfu-1")
	sfu.Refuse(signaling.RefusedBusy)
	g := w.gateway("gw-1")
	provider, patient := g.join("doctor", access.Provider), g.join("patient", access.Patient)
	provider.send(signaling.Admit{Participant: "patient"})
	require.Contains(t, []string{"busy", "no-media-server"}, next[signaling.Error](provider).Code)
	sfu.Refuse("")
	next[signaling.Placed](provider)
	next[signaling.Placed](patient)
}

func TestLegThatEndedIsReplaced(t *testing.T) {
	w := newWorld(t)
	sfu := w.sfu("sfu-1")
	g := w.gateway("gw-1")
	provider, _, placed := g.call()
	sfu.Broadcast(signaling.Frame{Session: provider.welcome.Session, Message: signaling.Gone{
		Route: placed.Route, EncounterRef: signaling.EncounterRef{Tenant: "clinic", Encounter: "visit"},
		Participant: "doctor", Kind: signaling.BrowserSession, Reason: "ice-failed",
	}})
	again := next[signaling.Placed](provider)
	require.Equal(t, signaling.Route{Leg: 2, Epoch: 1}, again.Route)
}
