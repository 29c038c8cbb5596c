package gateway_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway"
	"github.com/wardline/wardline/edge/gateway/sfutest"
)

// mint makes a token for any encounter, which ended some time ago if expired is positive.
func (w *world) mint(key encounter.Key, participant string, role access.Role, expired time.Duration) string {
	w.t.Helper()
	from := time.Now().Add(-expired - time.Hour)
	token, err := access.Mint(w.t.Context(), w.keeper, access.Grant{
		Tenant: key.Tenant, Encounter: key.ID, Participant: participant, Role: role, Expires: from.Add(time.Hour),
	}, from, from)
	require.NoError(w.t, err)
	return token
}

// valid is a mint argument for tokens that are good.
const valid = -time.Hour

// ask sends an HTTP request with a bearer token.
func (g *gate) ask(method, path, token, body string, header ...string) *http.Response {
	g.w.t.Helper()
	r, err := http.NewRequestWithContext(g.w.t.Context(), method, "http://"+g.Addr().String()+path, strings.NewReader(body))
	require.NoError(g.w.t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := (&http.Client{Transport: transport}).Do(r)
	require.NoError(g.w.t, err)
	require.NoError(g.w.t, response.Body.Close())
	return response
}

const encoderOffer = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=fingerprint:sha-256 AA:BB\r\na=ice-ufrag:EsAw\r\n" +
	"a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendonly\r\n"

// publish opens a WHIP session in the visit.
func (g *gate) publish(participant string) (location, etag string) {
	g.w.t.Helper()
	token := g.w.token(participant, access.Patient)
	response := g.ask(http.MethodPost, "/whip/visit", token, encoderOffer, "Content-Type", "application/sdp")
	require.Equal(g.w.t, http.StatusCreated, response.StatusCode)
	return response.Header.Get("Location"), response.Header.Get("ETag")
}

func TestTokensReachNothingOfOtherEncountersTenantsAndPeople(t *testing.T) {
	w := newWorld(t)
	w.sfu("sfu-1")
	g := w.gateway("gw-1")
	provider, patient, _ := g.call()
	whip, etag := g.publish("encoder")
	before, err := w.store.Get(t.Context(), visit)
	require.NoError(t, err)

	otherVisit, otherTenant := encounter.Key{Tenant: "clinic", ID: "other"}, encounter.Key{Tenant: "rival", ID: "visit"}
	for name, token := range map[string]string{
		"other encounter": w.mint(otherVisit, "encoder", access.Provider, valid),
		"other tenant":    w.mint(otherTenant, "encoder", access.Provider, valid),
		"other person":    w.mint(visit, "nosy", access.Provider, valid),
	} {
		t.Run(name, func(t *testing.T) {
			for _, try := range []struct{ method, body, match string }{
				{http.MethodDelete, "", ""},
				{http.MethodPatch, "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n", "*"},
				{http.MethodPatch, "a=end-of-candidates\r\n", etag},
			} {
				header := []string{"Content-Type", "application/trickle-ice-sdpfrag"}
				if try.match != "" {
					header = append(header, "If-Match", try.match)
				}
				status := g.ask(try.method, whip, token, try.body, header...).StatusCode
				require.Contains(t, []int{http.StatusNotFound, http.StatusForbidden}, status, try.method)
			}
			require.Equal(t, http.StatusUnauthorized, g.ask(http.MethodGet, "/v1/encounters/visit", token, "").StatusCode)
		})
	}
	require.Equal(t, http.StatusForbidden,
		g.ask(http.MethodGet, "/v1/encounters/visit/quality", w.mint(otherVisit, "x", access.Provider, valid), "").StatusCode)

	// Somebody else's session cannot be resumed, in this encounter or from another.
	for name, token := range map[string]string{
		"other person":    w.mint(visit, "nosy", access.Patient, valid),
		"other encounter": w.mint(otherVisit, "patient", access.Patient, valid),
		"other tenant":    w.mint(otherTenant, "patient", access.Patient, valid),
	} {
		c := g.joinWith(signaling.Join{Token: token, Resume: patient.welcome.Session})
		require.False(t, c.welcome.Resumed, name)
		require.NotEqual(t, patient.welcome.Session, c.welcome.Session, name)
	}
	// The other tenant's provider acts in an encounter of the same name, and only there.
	stranger := g.joinWith(signaling.Join{Token: w.mint(otherTenant, "doctor", access.Provider, valid)})
	stranger.send(signaling.Remove{Participant: "encoder"})
	require.Equal(t, "participant-unknown", next[signaling.Error](stranger).Code)
	stranger.send(signaling.End{})
	next[signaling.Bye](stranger)

	patient.send(signaling.Ping{ID: 1})
	next[signaling.Pong](patient)
	provider.send(signaling.Ping{ID: 1})
	next[signaling.Pong](provider)
	after, err := w.store.Get(t.Context(), visit)
	require.NoError(t, err)
	for _, participant := range []string{"doctor", "patient", "encoder"} {
		require.Equal(t, before.Participants[participant], after.Participants[participant])
	}
	require.False(t, after.HasEnded())
}

func TestRemovedAndEndedAreSaidWhateverTheWayIn(t *testing.T) {
	w := newWorld(t)
	w.sfu("sfu-1")
	g := w.gateway("gw-1")
	provider, patient, _ := g.call()
	refused := func(code, resume string, expired time.Duration) {
		c := g.dial()
		c.send(signaling.Join{Token: w.mint(visit, "patient", access.Patient, expired), Resume: resume})
		require.Equal(t, code, next[signaling.Error](c).Code)
		require.EqualValues(t, 4403, c.end())
	}
	everyWay := func(code string, status int) {
		refused(code, "", valid)
		refused(code, patient.welcome.Session, valid)
		refused(code, patient.welcome.Session, time.Hour)
		token := w.mint(visit, "patient", access.Patient, valid)
		require.Equal(t, status,
			g.ask(http.MethodPost, "/whip/visit", token, encoderOffer, "Content-Type", "application/sdp").StatusCode)
	}
	provider.send(signaling.Remove{Participant: "patient"})
	next[signaling.Bye](patient)
	everyWay("participant-removed", http.StatusForbidden)
	provider.send(signaling.End{})
	next[signaling.Bye](provider)
	everyWay("encounter-ended", http.StatusConflict)
}

func TestRemovedProviderHasNoLastWord(t *testing.T) {
	w := newWorld(t)
	g := w.gateway("gw-1")
	first, second := g.join("doctor", access.Provider), g.join("colleague", access.Provider)
	first.send(signaling.Remove{Participant: "colleague"})
	next[signaling.Bye](second)
	for range 5 { // the socket is about to close, and may be closed
		data, err := signaling.Encode(signaling.End{})
		require.NoError(t, err)
		_ = second.conn.Write(t.Context(), websocket.MessageText, data)
	}
	second.end()
	first.send(signaling.Ping{ID: 1})
	next[signaling.Pong](first)
	e, err := w.store.Get(t.Context(), visit)
	require.NoError(t, err)
	require.False(t, e.HasEnded())
}

func TestTokenThatExpiredDuringTheVisitStillResumes(t *testing.T) {
	w := newWorld(t)
	sfu := w.sfu("sfu-1")
	g := w.gateway("gw-1")
	_, patient, _ := g.call()
	require.NoError(t, patient.conn.CloseNow())
	stale := w.mint(visit, "patient", access.Patient, time.Hour)
	again := g.joinWith(signaling.Join{Token: stale, Resume: patient.welcome.Session})
	require.True(t, again.welcome.Resumed)
	detached, _ := sfutest.All[signaling.Detach](sfu)
	require.Empty(t, detached)

	for name, request := range map[string]signaling.Join{
		"a new session":               {Token: stale},
		"a session that is not there": {Token: stale, Resume: "gone"},
		"somebody else's session":     {Token: w.mint(visit, "nosy", access.Patient, time.Hour), Resume: patient.welcome.Session},
		"a token of the day before":   {Token: w.mint(visit, "patient", access.Patient, 25*time.Hour), Resume: patient.welcome.Session},
	} {
		c := g.dial()
		c.send(request)
		require.Equal(t, "token-expired", next[signaling.Error](c).Code, name)
		require.EqualValues(t, 4401, c.end(), name)
	}
}

func TestGoodTokensPassWhateverTheirAddressHasDone(t *testing.T) {
	w := newWorld(t)
	w.sfu("sfu-1")
	g := w.gateway("gw-1")
	for range 15 {
		require.NotEqual(t, http.StatusOK, g.ask(http.MethodPost, "/whip/visit", "bad", "").StatusCode)
	}
	require.Equal(t, http.StatusTooManyRequests, g.ask(http.MethodPost, "/whip/visit", "bad", "").StatusCode)
	require.Equal(t, http.StatusTooManyRequests, g.ask(http.MethodGet, "/v1/encounters/visit", "bad", "").StatusCode)
	c := g.dial()
	c.send(signaling.Join{Token: "bad"})
	require.Equal(t, "rate-limited", next[signaling.Error](c).Code)
	require.EqualValues(t, 4429, c.end(), "one count for all ways in")

	require.Equal(t, "waiting", g.join("patient", access.Patient).welcome.State)
	g.publish("encoder")
}

func TestUpgradeFloodPushesItselfOut(t *testing.T) {
	w := newWorld(t)
	g := w.gateway("gw-1", func(c *gateway.Config) { c.MaxUnjoinedPerAddress = 8; c.JoinTimeout = time.Minute })
	inside := g.join("doctor", access.Provider)
	idle := make([]*caller, 0, 40)
	for range 40 {
		idle = append(idle, g.dial())
	}
	closed := func() (n int) {
		for _, c := range idle {
			n += len(c.closed)
		}
		return n
	}
	require.Eventually(t, func() bool { return closed() == 32 }, patience, tick, "the newest eight may stay")
	g.join("patient", access.Patient)
	inside.send(signaling.Ping{ID: 1})
	next[signaling.Pong](inside)
}

func TestLargeMessageBeforeTheJoinIsCut(t *testing.T) {
	w := newWorld(t)
	g := w.gateway("gw-1")
	c := g.dial()
	flood(c, []byte(strings.Repeat("x", 40<<10)), 1)
	require.Equal(t, websocket.StatusMessageTooBig, c.end())
}

func TestClientCannotFillTheChannelToItsSFU(t *testing.T) {
	w := newWorld(t)
	sfu := w.sfu("sfu-1")
	g := w.gateway("gw-1", func(c *gateway.Config) { c.PingEvery = time.Minute })
	provider, patient, placed := g.call()
	big, err := signaling.Encode(signaling.Offer{
		Route: placed.Route, PC: signaling.Publish, Negotiation: 1, SDP: strings.Repeat("x", 100<<10),
	})
	require.NoError(t, err)
	flood(patient, big, 120)
	require.Equal(t, websocket.StatusPolicyViolation, patient.end())
	offers, _ := sfutest.All[signaling.Offer](sfu)
	require.Less(t, len(offers), 80)
	provider.send(signaling.Ping{ID: 1})
	next[signaling.Pong](provider)
}
