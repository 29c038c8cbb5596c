package gateway_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway"
	"github.com/wardline/wardline/edge/gateway/sfutest"
)

// Points on P-256, as public keys.
const (
	pointG  = "BGsX0fLhLEJH-Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"
	point2G = "BHzyexiNA09-ilI4AwS1GsPAiWnid_IbNaYLSPxHZpl4B3dVENuO0EApPZrGn3Qw27p9reY86YIpngS3nSJ4c9E"
)

// encrypted makes the visit an end-to-end encrypted one.
func (w *world) encrypted() {
	w.t.Helper()
	_, err := w.store.CompareAndSet(w.t.Context(), encounter.Encounter{Key: visit, Created: time.Now(), E2EE: true})
	require.NoError(w.t, err)
}

// memberOf is somebody as a roster shows them, the zero value if it does not.
func memberOf(r signaling.Roster, participant string) signaling.Member {
	for _, member := range r.Members {
		if member.Participant == participant {
			return member
		}
	}
	return signaling.Member{}
}

func keyOf(r signaling.Roster, participant string) string { return memberOf(r, participant).Key }

func TestKeysAreExchangedOverTwoGateways(t *testing.T) {
	w := newWorld(t)
	w.encrypted()
	sfu := w.sfu("sfu-1")
	a, b := w.gateway("gw-1"), w.gateway("gw-2")
	provider, patient := a.join("doctor", access.Provider), b.join("patient", access.Patient)
	require.True(t, provider.welcome.E2EE)
	require.True(t, patient.welcome.E2EE)

	patient.send(signaling.PublicKey{Key: point2G})
	nextWhere(provider, func(r signaling.Roster) bool { return keyOf(r, "patient") == point2G })
	patient.send(signaling.SenderKey{Participant: "doctor", Data: "AAAA"})
	require.Equal(t, "not-allowed", next[signaling.Error](patient).Code, "who waits gives no keys")
	provider.send(signaling.SenderKey{Participant: "patient", Data: "AAAA"})
	require.Equal(t, "participant-unknown", next[signaling.Error](provider).Code, "and gets none")

	provider.send(signaling.Admit{Participant: "patient"})
	next[signaling.Placed](patient)
	attaches, _ := sfutest.All[signaling.Attach](sfu)
	require.Len(t, attaches, 1, "no leg opens without a key")
	provider.send(signaling.PublicKey{Key: pointG})
	next[signaling.Placed](provider)
	nextWhere(patient, func(r signaling.Roster) bool { return keyOf(r, "doctor") == pointG })

	provider.send(signaling.SenderKey{Participant: "patient", By: "somebody", Data: "AAEC"})
	require.Equal(t, signaling.SenderKey{Participant: "patient", By: "doctor", Data: "AAEC"}, next[signaling.SenderKey](patient))
	patient.send(signaling.SenderKey{Participant: "doctor", Data: "AwQF"})
	require.Equal(t, signaling.SenderKey{Participant: "doctor", By: "patient", Data: "AwQF"}, next[signaling.SenderKey](provider))

	patient.send(signaling.PublicKey{Key: pointG})
	refused := next[signaling.Error](patient)
	require.Equal(t, "key-changed", refused.Code)
	require.Equal(t, "public-key", refused.About)
}

func TestAPublicKeySurvivesItsGateway(t *testing.T) {
	w := newWorld(t)
	w.encrypted()
	w.sfu("sfu-1")
	a, b := w.gateway("gw-1"), w.gateway("gw-2")
	provider := a.join("doctor", access.Provider)
	provider.send(signaling.PublicKey{Key: pointG})
	w.record("announced", func(e encounter.Encounter) bool { return e.Participants["doctor"].PublicKey() == pointG })
	a.stop()
	again := b.joinWith(signaling.Join{Token: w.token("doctor", access.Provider), Resume: provider.welcome.Session})
	require.True(t, again.welcome.Resumed)
	require.True(t, again.welcome.E2EE)
	nextWhere(again, func(r signaling.Roster) bool { return keyOf(r, "doctor") == pointG })
}

func TestKeysHaveNoPlaceInAPlainVisit(t *testing.T) {
	w := newWorld(t)
	w.sfu("sfu-1")
	provider, _, _ := w.gateway("gw-1").call()
	require.False(t, provider.welcome.E2EE)
	for _, m := range []signaling.Message{signaling.PublicKey{Key: pointG}, signaling.SenderKey{Participant: "patient", Data: "AA"}} {
		provider.send(m)
		require.Equal(t, "encounter-not-encrypted", next[signaling.Error](provider).Code)
	}
	provider.raw([]byte(`{"type":"public-key","key":"AAAA"}`))
	require.Equal(t, "invalid", next[signaling.Error](provider).Code)
}

// sealed makes a token say that the encounter is end-to-end encrypted.
func sealed(g *access.Grant) { g.E2EE = true }

func TestAnEncryptedVisitThatIsLostComesBackEncrypted(t *testing.T) {
	w := newWorld(t)
	w.encrypted()
	g := w.gateway("gw-1")
	held, err := w.store.Get(t.Context(), visit)
	require.NoError(t, err)
	require.NoError(t, w.store.Delete(t.Context(), held))
	require.True(t, g.joinWith(signaling.Join{Token: w.token("doctor", access.Provider, sealed)}).welcome.E2EE)
	w.record("encrypted", func(e encounter.Encounter) bool { return e.E2EE })
	require.True(t, g.join("patient", access.Patient).welcome.E2EE, "of a token that says nothing the record decides")
}

func TestNobodyWhoseTokenSaysEncryptedTalksInTheClear(t *testing.T) {
	w := newWorld(t)
	g := w.gateway("gw-1")
	plain := g.join("doctor", access.Provider)
	require.False(t, plain.welcome.E2EE)
	for name, request := range map[string]signaling.Join{
		"new":     {Token: w.token("patient", access.Patient, sealed)},
		"resumed": {Token: w.token("doctor", access.Provider, sealed), Resume: plain.welcome.Session},
	} {
		c := g.dial()
		c.send(request)
		require.Equal(t, "encounter-not-encrypted", next[signaling.Error](c).Code, name)
		require.EqualValues(t, 4403, c.end(), name)
	}
	e, err := w.store.Get(t.Context(), visit)
	require.NoError(t, err)
	require.False(t, e.E2EE)
	require.Len(t, e.Participants, 1)
}

func TestWHIPAndWHEPBringNoEncryptedVisitToLife(t *testing.T) {
	w := newWorld(t)
	g := w.gateway("gw-1")
	grant := w.grant("encoder", access.Provider)
	sealed(&grant)
	for _, kind := range []signaling.SessionKind{signaling.WHIPSession, signaling.WHEPSession} {
		_, err := gateway.MediaSessions(g.Server).Open(t.Context(), grant, kind, "", "offer")
		require.ErrorIs(t, err, encounter.ErrEncrypted, kind)
	}
	_, err := w.store.Get(t.Context(), visit)
	require.ErrorIs(t, err, encounter.ErrNotFound)
}

func TestWHIPAndWHEPCannotHoldKeys(t *testing.T) {
	w := newWorld(t)
	w.encrypted()
	w.sfu("sfu-1")
	g := w.gateway("gw-1")
	for _, kind := range []signaling.SessionKind{signaling.WHIPSession, signaling.WHEPSession} {
		_, err := gateway.MediaSessions(g.Server).Open(t.Context(), w.grant("encoder", access.Provider), kind, "", "offer")
		require.ErrorIs(t, err, encounter.ErrEncrypted)
	}
	response := g.ask(http.MethodPost, "/whip/visit", w.token("encoder", access.Provider), encoderOffer, "Content-Type", "application/sdp")
	require.Equal(t, http.StatusForbidden, response.StatusCode)
}
