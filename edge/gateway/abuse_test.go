package gateway_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/observe/observetest"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway"
	"github.com/wardline/wardline/edge/gateway/sfutest"
)

func TestBadTokensAreRefusedWithTheirCodeAndNotLogged(t *testing.T) {
	w := newWorld(t)
	var log observetest.Text
	g := w.gateway("gw-1", func(c *gateway.Config) { c.Log = zerolog.New(&log) })
	past := time.Now().Add(-2 * time.Hour)
	expired, err := access.Mint(t.Context(), w.keeper, access.Grant{
		Tenant: "clinic", Encounter: "visit", Participant: "patient", Role: access.Patient, Expires: past.Add(time.Hour),
	}, past, past)
	require.NoError(t, err)
	for code, token := range map[string]string{
		"token-malformed": "no token at all", "token-expired": expired,
		"token-signature": tampered(w.token("patient", access.Patient)),
	} {
		c := g.dial()
		c.send(signaling.Join{Token: token})
		require.Equal(t, code, next[signaling.Error](c).Code)
		require.EqualValues(t, 4401, c.end())
		require.Contains(t, log.String(), `"code":"`+code+`"`)
		require.NotContains(t, log.String(), token)
	}
}

// tampered changes a token's signature.
func tampered(token string) string {
	at := strings.LastIndexByte(token, '.') + 10
	other := byte('A')
	if token[at] == other {
		other = 'B'
	}
	return token[:at] + string(other) + token[at+1:]
}

func TestAddressWithManyBadTokensIsThrottled(t *testing.T) {
	w := newWorld(t)
	g := w.gateway("gw-1")
	throttled := func() bool {
		c := g.dial()
		c.send(signaling.Join{Token: "bad"})
		return c.end() == 4429
	}
	for range 30 {
		if throttled() {
			return
		}
	}
	require.FailNow(t, "30 bad tokens and still welcome")
}

func TestSocketWithoutJoinIsClosed(t *testing.T) {
	w := newWorld(t)
	hasty := w.gateway("gw-1", func(c *gateway.Config) { c.JoinTimeout = 50 * time.Millisecond })
	require.EqualValues(t, 4408, hasty.dial().end())
	early := w.gateway("gw-2").dial() // which has the time that a busy machine takes
	early.send(signaling.Ping{ID: 1})
	require.Equal(t, "invalid", next[signaling.Error](early).Code)
	require.EqualValues(t, 4403, early.end())
}

func TestSocketsWithoutJoinDoNotFillTheLog(t *testing.T) {
	w := newWorld(t)
	g, fewLines := w.warningGateway()
	for range 100 {
		early := g.dial()
		early.send(signaling.Ping{ID: 1})
		require.EqualValues(t, 4403, early.end())
	}
	fewLines(`"code":"no-join"`, 10, time.Second)
}

func TestGarbageOfStrangersDoesNotFillTheLog(t *testing.T) {
	w := newWorld(t)
	g, fewLines := w.warningGateway()
	for range 50 {
		c := g.dial()
		flood(c, []byte("garbage"), 30)
		require.Equal(t, websocket.StatusPolicyViolation, c.end())
	}
	fewLines("\n", 10, time.Second)
}

func TestSocketsOfOtherOriginsAreRefused(t *testing.T) {
	w := newWorld(t)
	g := w.gateway("gw-1")
	_, response, err := websocket.Dial(t.Context(), "ws://"+g.Addr().String()+"/v1/signal", &websocket.DialOptions{
		Subprotocols: []string{gateway.Subprotocol}, HTTPHeader: http.Header{"Origin": {"https://elsewhere.example"}},
	})
	require.Error(t, err)
	require.Equal(t, http.StatusForbidden, response.StatusCode)
}

func TestGarbageIsAnsweredAndThenCut(t *testing.T) {
	w := newWorld(t)
	g := w.gateway("gw-1")
	other, c := g.join("doctor", access.Provider), g.join("patient", access.Patient)
	for message, code := range map[string]string{
		`{`: "bad-message", `{"type":"nonsense"}`: "unknown-type", `{"type":"admit"}`: "invalid", `[1]`: "bad-message",
		`{"type":"ping","pad":"` + strings.Repeat("x", signaling.MaxMessageBytes) + `"}`: "too-large",
	} {
		c.raw([]byte(message))
		require.Equal(t, code, next[signaling.Error](c).Code)
	}
	c.send(signaling.Ping{ID: 1})
	next[signaling.Pong](c)
	flood(c, []byte("garbage"), 300)
	require.Equal(t, websocket.StatusPolicyViolation, c.end())
	other.send(signaling.Ping{ID: 2})
	next[signaling.Pong](other)
}

// flood writes until the socket breaks.
func flood(c *caller, data []byte, times int) {
	for range times {
		if c.conn.Write(c.t.Context(), websocket.MessageText, data) != nil {
			return
		}
	}
}

func TestTenThousandCandidatesAreBounded(t *testing.T) {
	w := newWorld(t)
	sfu := w.sfu("sfu-1")
	g := w.gateway("gw-1")
	provider, patient, placed := g.call()
	data, err := signaling.Encode(signaling.Candidate{
		Route: placed.Route, PC: signaling.Publish, Candidate: "candidate:1 1 udp 1 192.0.2.1 1 typ host",
	})
	require.NoError(t, err)
	flood(patient, data, 10_000)
	require.Equal(t, websocket.StatusPolicyViolation, patient.end())
	provider.send(signaling.Ping{ID: 2})
	next[signaling.Pong](provider)
	require.Eventually(t, func() bool { passed, _ := sfutest.All[signaling.Candidate](sfu); return len(passed) == 64 }, patience, tick)
}

func TestSlowClientIsCutAndOthersGoOn(t *testing.T) {
	w := newWorld(t)
	sfu := w.sfu("sfu-1")
	g := w.gateway("gw-1", func(c *gateway.Config) { c.PingEvery = time.Minute })
	provider := g.join("doctor", access.Provider)
	// This one joins and never reads again.
	slow, _, err := websocket.Dial(t.Context(), "ws://"+g.Addr().String()+"/v1/signal",
		&websocket.DialOptions{Subprotocols: []string{gateway.Subprotocol}})
	require.NoError(t, err)
	defer func() { _ = slow.CloseNow() }()
	join, err := signaling.Encode(signaling.Join{Token: w.token("patient", access.Patient)})
	require.NoError(t, err)
	require.NoError(t, slow.Write(t.Context(), websocket.MessageText, join))
	waits := nextWhere(provider, func(r signaling.Roster) bool { return len(r.Members) == 2 })
	require.True(t, waits.Members[1].Connected)
	provider.send(signaling.Admit{Participant: "patient"})
	placed := next[signaling.Placed](provider)

	require.Eventually(t, func() bool { a, _ := sfutest.All[signaling.Attach](sfu); return len(a) == 2 }, patience, tick)
	attaches, sessions := sfutest.All[signaling.Attach](sfu)
	session := sessions[0]
	if attaches[1].Participant == "patient" {
		session = sessions[1]
	}
	big := strings.Repeat("x", 100<<10)
	for cut := false; !cut; {
		sfu.Tell(session, signaling.Offer{Route: placed.Route, PC: signaling.Subscribe, Negotiation: 1, SDP: big})
		e, err := w.store.Get(t.Context(), visit)
		require.NoError(t, err)
		cut = !e.Participants["patient"].Sessions[session].Lost.IsZero()
	}
	nextWhere(provider, func(r signaling.Roster) bool { return !r.Members[1].Connected })
	sfu.Tell(provider.welcome.Session, signaling.Speaker{Route: placed.Route, Participant: "doctor"})
	next[signaling.Speaker](provider)
}

func TestTenThousandPingsAreBounded(t *testing.T) {
	w := newWorld(t)
	g := w.gateway("gw-1")
	c := g.join("patient", access.Patient)
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan int, 1)
	go func() {
		count := 0
		for count < 10_000 && c.conn.Ping(ctx) == nil {
			count++
		}
		answered <- count
	}()
	c.end()
	cancel()
	require.Less(t, <-answered, 1000)
}

func TestSilentClientIsLost(t *testing.T) {
	w := newWorld(t)
	g := w.gateway("gw-1", func(c *gateway.Config) { c.PingEvery = 100 * time.Millisecond })
	c := g.join("patient", access.Patient)
	c.end()
}

func TestConnectionsThatDoNothingMakeRoom(t *testing.T) {
	for name, secured := range map[string]bool{"TLS": true, "plain": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			g := w.gateway("gw-1", func(c *gateway.Config) {
				c.MaxConnectionsPerAddress = 4
				if secured {
					c.TLS = w.gateTLS.Server()
				}
			})
			dial := func() net.Conn {
				conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", g.Addr().String())
				require.NoError(t, err)
				t.Cleanup(func() { _ = conn.Close() })
				require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
				return conn
			}
			open := func() *bufio.ReadWriter {
				conn := dial()
				if secured {
					conn = tls.Client(conn, w.gateTLS.Client(secrets.GatewayRole))
				}
				return bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn))
			}
			ask := func(c *bufio.ReadWriter) error {
				_, _ = c.WriteString("GET /v1/regions HTTP/1.1\r\nHost: visits\r\n\r\n")
				_ = c.Flush()
				response, err := http.ReadResponse(c.Reader, nil)
				if err != nil {
					return err
				}
				_, err = io.Copy(io.Discard, response.Body)
				return err
			}
			silent := dial()
			first, used := open(), open()
			require.NoError(t, ask(first))
			require.NoError(t, ask(used))
			for range 6 {
				require.NoError(t, ask(open()))
				require.NoError(t, ask(used), "who asks for something stays")
			}
			_, err := silent.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF)
			_, err = first.ReadByte()
			require.ErrorIs(t, err, io.EOF)
		})
	}
}

// warningGateway is a gateway whose warnings are kept. fewLines checks that there are some that contain text, at most atOnce
// and one more each so often.
func (w *world) warningGateway() (g *gate, fewLines func(text string, atOnce int, each time.Duration)) {
	w.t.Helper()
	var log observetest.Text
	g = w.gateway("gw-1", func(c *gateway.Config) { c.Log = zerolog.New(&log).Level(zerolog.WarnLevel) })
	began := time.Now()
	return g, func(text string, atOnce int, each time.Duration) {
		w.t.Helper()
		lines := strings.Count(log.String(), text)
		require.NotZero(w.t, lines)
		require.LessOrEqual(w.t, lines, atOnce+int(time.Since(began)/each))
	}
}

func TestATenantCannotFillTheStore(t *testing.T) {
	w := newWorld(t)
	w.sfu("sfu-1")
	g := w.gateway("gw-1", func(c *gateway.Config) { c.MaxEncounters = 2 })
	key := w.tenant("clinic")
	token, err := access.MintAPI(key.Key, key.ID, "clinic", time.Now(), time.Hour)
	require.NoError(t, err)
	create := func() int {
		body := `{"participants":[{"role":"patient"}]}`
		return g.ask(http.MethodPost, "/v1/encounters", token, body, "Content-Type", "application/json").StatusCode
	}
	require.Equal(t, http.StatusCreated, create())
	g.join("doctor", access.Provider)

	require.Equal(t, http.StatusTooManyRequests, create())
	late := g.dial()
	late.send(signaling.Join{Token: w.token("doctor", access.Provider, func(g *access.Grant) { g.Encounter = "another" })})
	refused := next[signaling.Error](late)
	require.Equal(t, "too-many-encounters", refused.Code)
	require.Contains(t, refused.Message, "2 encounters, at most 2")
	require.EqualValues(t, 4403, late.end())
	g.join("patient", access.Patient)
}
