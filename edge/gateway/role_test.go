package gateway_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway"
	"github.com/wardline/wardline/edge/gateway/sfutest"
)

func roleOf(r signaling.Roster, participant string) string { return memberOf(r, participant).Role }

func TestTokenWithAnotherRoleBeginsAnotherSession(t *testing.T) {
	w := newWorld(t)
	sfu := w.sfu("sfu-1")
	g := w.gateway("gw-1")
	provider, scribe := g.join("doctor", access.Provider), g.join("helper", access.Scribe)
	provider.send(signaling.Admit{Participant: "helper"})
	next[signaling.Placed](scribe)
	for name, again := range map[string]*gate{"another gateway": w.gateway("gw-2"), "the same one": g} {
		interpreter := again.joinWith(signaling.Join{Token: w.token("helper", access.Interpreter), Resume: scribe.welcome.Session})
		require.False(t, interpreter.welcome.Resumed, name)
		require.NotEqual(t, scribe.welcome.Session, interpreter.welcome.Session)
		nextWhere(provider, func(r signaling.Roster) bool { return roleOf(r, "helper") == "interpreter" })
		next[signaling.Placed](interpreter)
		require.Eventually(t, func() bool {
			attaches, sessions := sfutest.All[signaling.Attach](sfu)
			for i, session := range sessions {
				if session == interpreter.welcome.Session {
					return len(attaches[i].CanPublish) == 2
				}
			}
			return false
		}, patience, tick, "what it may say and what it may send are one role's")
		scribe = again.join("helper", access.Scribe)
		nextWhere(provider, func(r signaling.Roster) bool { return roleOf(r, "helper") == "scribe" })
	}
}

func TestTokenThatExpiredLendsNoOtherRoleToASession(t *testing.T) {
	w := newWorld(t)
	g := w.gateway("gw-1")
	patient := g.join("patient", access.Patient)
	c := g.dial()
	c.send(signaling.Join{Token: w.mint(visit, "patient", access.Provider, time.Hour), Resume: patient.welcome.Session})
	require.Equal(t, "token-expired", next[signaling.Error](c).Code)
	require.EqualValues(t, 4401, c.end())
	patient.send(signaling.Ping{ID: 1})
	next[signaling.Pong](patient)
	own := signaling.Join{Token: w.mint(visit, "patient", access.Patient, time.Hour), Resume: patient.welcome.Session}
	require.True(t, g.joinWith(own).welcome.Resumed)
}

func TestPlayerDoesNotChangeTheRoleOfItsParticipant(t *testing.T) {
	w := newWorld(t)
	w.sfu("sfu-1")
	g := w.gateway("gw-1")
	provider := g.join("doctor", access.Provider)
	sessions := gateway.MediaSessions(g.Server)
	_, err := sessions.Open(t.Context(), w.grant("doctor", access.Scribe), signaling.WHEPSession, "", "offer")
	require.NoError(t, err)
	e, err := w.store.Get(t.Context(), visit)
	require.NoError(t, err)
	require.Equal(t, access.Provider, e.Participants["doctor"].Role)
	require.Len(t, e.Participants["doctor"].Sessions, 2)
	resume := signaling.Join{Token: w.token("doctor", access.Provider), Resume: provider.welcome.Session}
	again := w.gateway("gw-2").joinWith(resume)
	require.True(t, again.welcome.Resumed)
	_, err = sessions.Open(t.Context(), w.grant("doctor", access.Interpreter), signaling.WHIPSession, "", "offer")
	require.NoError(t, err)
	w.record("an encoder takes the browser's place and role", func(e encounter.Encounter) bool {
		return e.Participants["doctor"].Role == access.Interpreter
	})
	require.Equal(t, signaling.ByeReplaced, next[signaling.Bye](again).Code)
}
