package gateway_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/observe/observetest"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway"
	"github.com/wardline/wardline/edge/gateway/problem"
)

func TestGoodTokenCannotJoinWithoutEnd(t *testing.T) {
	w := newWorld(t)
	g := w.gateway("gw-1")
	token := w.token("patient", access.Patient)
	let := 0
	for ; let < 2000; let++ {
		c := g.dial()
		c.send(signaling.Join{Token: token})
		first, open := <-c.got
		require.True(t, open)
		if refused, is := first.(signaling.Error); is {
			require.Equal(t, "rate-limited", refused.Code)
			require.EqualValues(t, 4429, c.end())
			break
		}
		require.IsType(t, signaling.Welcome{}, first)
		require.NoError(t, c.conn.CloseNow())
	}
	require.GreaterOrEqual(t, let, 200, "no honest client comes back as often as that")
	require.Less(t, let, 2000)
	g.join("doctor", access.Provider) // others are not concerned
}

func TestRefusedJoinsOfOneParticipantDoNotFillTheLog(t *testing.T) {
	w := newWorld(t)
	var log observetest.Text
	registry := prometheus.NewRegistry()
	g := w.gateway("gw-1", func(c *gateway.Config) { c.Log, c.Registry = zerolog.New(&log).Level(zerolog.WarnLevel), registry })
	g.join("doctor", access.Provider).send(signaling.Lock{Locked: true})
	w.record("locked", func(e encounter.Encounter) bool { return e.Locked })
	refuse := func(participant string) {
		c := g.dial()
		c.send(signaling.Join{Token: w.token(participant, access.Family)})
		require.Equal(t, "encounter-locked", next[signaling.Error](c).Code)
		require.EqualValues(t, 4403, c.end())
	}
	lines := func(participant string) int { return strings.Count(log.String(), `"participant":"`+participant+`"`) }
	began := time.Now()
	for range 50 {
		refuse("uncle")
	}
	require.NotZero(t, lines("uncle"))
	require.LessOrEqual(t, lines("uncle"), 6+int(time.Since(began)/(10*time.Second)))
	refuse("aunt")
	require.Equal(t, 1, lines("aunt"), "others have lines of their own")
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
		# HELP wardline_gateway_joins_total Joins by result: ok, resumed or the code of the refusal.
		# TYPE wardline_gateway_joins_total counter
		wardline_gateway_joins_total{code="encounter-locked"} 51
		wardline_gateway_joins_total{code="ok"} 1
	`), "wardline_gateway_joins_total"))
}

func TestGoodTokenCannotOpenMediaSessionsWithoutEnd(t *testing.T) {
	w := newWorld(t)
	w.sfu("sfu-1")
	g := w.gateway("gw-1")
	sessions := gateway.MediaSessions(g.Server)
	encoder := w.grant("encoder", access.Provider)
	opened, err := sessions.Open(t.Context(), encoder, signaling.WHIPSession, "", "offer")
	require.NoError(t, err)
	refused := func(err error) bool {
		p, is := errors.AsType[*problem.Problem](err)
		return is && p.Status == 429 && p.Code == problem.RateLimited && p.RetryAfter > 0 && p.RetryAfter <= time.Second
	}
	let := 0
	for ; let < 2000 && err == nil; let++ {
		_, err = sessions.Restart(t.Context(), visit, "encoder", opened.ID, "fragment")
	}
	require.GreaterOrEqual(t, let, 200)
	require.True(t, refused(err), err)
	_, err = sessions.Open(t.Context(), encoder, signaling.WHIPSession, "", "offer")
	require.True(t, refused(err), err)
	_, err = sessions.Open(t.Context(), w.grant("wall", access.Provider), signaling.WHEPSession, "", "offer")
	require.NoError(t, err, "others are not concerned")
}

func TestWhatOneParticipantMayNotSayDoesNotFillTheLog(t *testing.T) {
	w := newWorld(t)
	g, fewLines := w.warningGateway()
	for range 10 {
		c := g.join("patient", access.Patient)
		flood(c, []byte(`{"type":"admit","participant":"patient"}`), 30)
		require.Equal(t, websocket.StatusPolicyViolation, c.end())
	}
	fewLines(`"about":"admit"`, 5, 10*time.Second)
}

func TestWhatAMediaServerRefusesOneParticipantDoesNotFillTheLog(t *testing.T) {
	w := newWorld(t)
	sfu := w.sfu("sfu-1")
	g, fewLines := w.warningGateway()
	_, patient, placed := g.call()
	for range 50 {
		sfu.Tell(patient.welcome.Session, signaling.Refused{Route: placed.Route, Code: signaling.RefusedInvalid, About: "offer"})
		require.Equal(t, "offer", next[signaling.Error](patient).About)
	}
	fewLines(`"about":"offer"`, 5, 10*time.Second)
}

func TestGoodTokenCannotAskAboutSessionsWithoutEnd(t *testing.T) {
	w := newWorld(t)
	g := w.gateway("gw-1")
	ask := func(participant string) int {
		url := "http://" + g.Addr().String() + "/whip/visit/no-such-session"
		r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, url, http.NoBody)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+w.token(participant, access.Patient))
		response, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return response.StatusCode
	}
	let, status := 0, http.StatusNotFound
	for ; let < 5000 && status == http.StatusNotFound; let++ {
		status = ask("patient")
	}
	require.Greater(t, let, 1000, "no honest client asks as often as that")
	require.Equal(t, http.StatusTooManyRequests, status)
	require.Equal(t, http.StatusNotFound, ask("aunt"), "others are not concerned")
	http.DefaultClient.CloseIdleConnections()
}
