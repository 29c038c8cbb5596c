package gateway_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway"
	"github.com/wardline/wardline/edge/gateway/sfutest"
)

// strangers brings a patient into a visit at gateways, and returns the media server that has their leg and one that has not,
// but a channel to each gateway. heard waits until the gateways have taken all that the latter said.
func strangers(t *testing.T, gateways ...string) (w *world, patient *caller, host, other *sfutest.SFU, heard func()) {
	t.Helper()
	w = newWorld(t)
	host, other = w.sfu("sfu-1"), w.sfu("sfu-2")
	var g *gate
	registries := make([]*prometheus.Registry, len(gateways))
	for i, id := range gateways {
		registries[i] = prometheus.NewRegistry()
		g = w.gateway(id, func(c *gateway.Config) { c.Registry = registries[i] })
	}
	_, patient, placed := g.call()
	if placed.SFU == "sfu-2" {
		host, other = other, host
	}
	require.Eventually(t, func() bool { return other.Links() == len(gateways) }, patience, tick)
	return w, patient, host, other, func() {
		t.Helper()
		other.Drain(true)
		for _, registry := range registries {
			require.Eventually(t, func() bool { return frameCounted(t, registry, signaling.Draining{}) }, patience, tick)
		}
	}
}

// frameCounted reports whether a gateway has had a frame of a type.
func frameCounted(t *testing.T, registry *prometheus.Registry, m signaling.Message) bool {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() == "wardline_gateway_sfu_frames_received_total" && metric.GetLabel()[0].GetValue() == m.Type() {
				return true
			}
		}
	}
	return false
}

func TestMediaServerSpeaksForItsOwnSessionsOnly(t *testing.T) {
	_, patient, host, other, heard := strangers(t, "gw-1")
	session := patient.welcome.Session
	for _, m := range []signaling.Message{
		signaling.MuteRequest{Participant: "patient", Source: signaling.Microphone, By: "doctor"},
		signaling.SenderKey{Participant: "patient", By: "doctor", Data: "AAAA"},
	} {
		other.Broadcast(signaling.Frame{Session: session, Message: m})
	}
	heard()
	last := signaling.MuteRequest{Participant: "patient", Source: signaling.Camera, By: "doctor"}
	host.Tell(session, last)
	for m := range patient.got {
		require.NotEqual(t, (signaling.SenderKey{}).Type(), m.Type())
		if asked, is := m.(signaling.MuteRequest); is {
			require.Equal(t, last, asked)
			return
		}
	}
	require.Fail(t, "the socket closed")
}

func TestMediaServerTakesNoBrowserOutOfTheRecord(t *testing.T) {
	w, patient, _, other, heard := strangers(t, "gw-1", "gw-2")
	opened, err := gateway.MediaSessions(w.gateway("gw-3").Server).Open(
		t.Context(), w.grant("patient", access.Patient), signaling.WHEPSession, "", "offer")
	require.NoError(t, err)
	for _, session := range []string{patient.welcome.Session, opened.ID} {
		other.Broadcast(signaling.Frame{Session: session, Message: signaling.Gone{
			EncounterRef: signaling.EncounterRef{Tenant: visit.Tenant, Encounter: visit.ID}, Participant: "patient",
			Route: signaling.Route{Leg: 7, Epoch: 7}, Kind: signaling.WHEPSession, Reason: "ice-failed",
		}})
	}
	heard()
	w.record("the player is out", func(e encounter.Encounter) bool {
		_, there := e.Participants["patient"].Sessions[opened.ID]
		return !there
	})
	e, err := w.store.Get(t.Context(), visit)
	require.NoError(t, err)
	require.Contains(t, e.Participants["patient"].Sessions, patient.welcome.Session)
}
