package gateway_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway"
	"github.com/wardline/wardline/edge/gateway/sfutest"
)

// announce puts a gateway that nobody dials into the catalog.
func (w *world) announce(id, region, url string) {
	w.t.Helper()
	require.NoError(w.t, w.memory.Register(w.t.Context(), discovery.Service{
		Name: discovery.GatewayService, ID: id, Node: id, Region: region, Health: discovery.Passing,
		Meta: map[string]string{discovery.MetaURL: url},
	}))
}

func (g *gate) url() string { return "http://" + g.Addr().String() }

// hasGateways accepts a list with these ids, this gateway first.
func hasGateways(want ...string) func(signaling.Gateways) bool {
	return func(m signaling.Gateways) bool {
		if len(m.Gateways) != len(want) {
			return false
		}
		for i, id := range want {
			if m.Gateways[i].ID != id {
				return false
			}
		}
		return true
	}
}

func TestClientsAreToldWhereTheyCanGoOn(t *testing.T) {
	w := newWorld(t)
	w.announce("far-1", "far", "https://far-1.example")
	g := w.gateway("gw-1")
	require.Eventually(t, func() bool { // a change that is told after the first client came is told to it as well
		return len(g.join("early", access.Patient).welcome.Gateways) == 2
	}, patience, tick)
	c := g.joinWith(signaling.Join{Token: w.token("patient", access.Patient), RTT: map[string]float64{"far": 40, "near": 10}})
	require.Equal(t, []signaling.Gateway{
		{ID: "gw-1", Region: "here", URL: g.url()}, {ID: "far-1", Region: "far", URL: "https://far-1.example"},
	}, c.welcome.Gateways)

	w.announce("near-1", "near", "https://near-1.example")
	nextWhere(c, hasGateways("gw-1", "near-1", "far-1"))
	w.announce("here-2", "here", "https://here-2.example")
	nextWhere(c, hasGateways("gw-1", "here-2", "near-1", "far-1"))
	require.NoError(t, w.memory.SetMaintenance(t.Context(), "near-1", true, "patch"))
	nextWhere(c, hasGateways("gw-1", "here-2", "far-1"))
	require.NoError(t, w.memory.Deregister(t.Context(), discovery.GatewayService, "here-2"))
	nextWhere(c, hasGateways("gw-1", "far-1"))
}

func TestOnlyRegionsOfThePolicyAreNamed(t *testing.T) {
	w := newWorld(t)
	w.announce("far-1", "far", "https://far-1.example")
	w.announce("near-1", "near", "https://near-1.example")
	g := w.gateway("gw-1")
	now := time.Now()
	token, err := access.Mint(t.Context(), w.keeper, access.Grant{
		Tenant: "clinic", Encounter: "visit", Participant: "patient", Role: access.Patient,
		Regions: []string{"here", "far"}, Expires: now.Add(time.Hour),
	}, now, now)
	require.NoError(t, err)
	c := g.joinWith(signaling.Join{Token: token})
	require.True(t, hasGateways("gw-1", "far-1")(signaling.Gateways{Gateways: c.welcome.Gateways}), "%v", c.welcome.Gateways)
}

func TestRoundTripsToInventedRegionsAreNotKept(t *testing.T) {
	w := newWorld(t)
	w.announce("far-1", "far", "https://far-1.example")
	g := w.gateway("gw-1")
	g.joinWith(signaling.Join{Token: w.token("patient", access.Patient), RTT: map[string]float64{"here": 3, "far": 40, "atlantis": 1}})
	record, err := w.store.Get(t.Context(), visit)
	require.NoError(t, err)
	require.Equal(t, map[string]float64{"here": 3, "far": 40}, record.Participants["patient"].RTT)
}

func TestPagesOfOtherGatewaysConnect(t *testing.T) {
	w := newWorld(t)
	g := w.gateway("gw-1")
	dial := func(origin string) error {
		conn, response, err := websocket.Dial(t.Context(), "ws://"+g.Addr().String()+"/v1/signal", &websocket.DialOptions{
			Subprotocols: []string{gateway.Subprotocol}, HTTPHeader: http.Header{"Origin": {origin}},
		})
		if err == nil {
			return conn.CloseNow()
		}
		require.Equal(t, http.StatusForbidden, response.StatusCode)
		return err
	}
	require.NoError(t, dial(g.url()))
	require.Error(t, dial("https://far-1.example"))
	w.announce("far-1", "far", "https://far-1.example")
	require.Eventually(t, func() bool { return dial("https://far-1.example") == nil }, patience, tick)
	require.Error(t, dial("https://far-1.example.evil"))
	require.NoError(t, w.memory.Deregister(t.Context(), discovery.GatewayService, "far-1"))
	require.NoError(t, dial("https://far-1.example"), "that gateway is lost, its pages are not")
}

func TestPagesMayMeasureAndConnectToOtherGateways(t *testing.T) {
	w := newWorld(t)
	w.announce("far-1", "far", "http://192.0.2.1:8443")
	g := w.gateway("gw-1")
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.url()+"/v1/regions", http.NoBody)
	require.NoError(t, err)
	request.Header.Set("Origin", "http://192.0.2.1:8443")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.JSONEq(t, `{"regions":[
		{"region":"far","urls":["http://192.0.2.1:8443"]}, {"region":"here","urls":["`+g.url()+`"]}
	]}`, string(body))
	require.Equal(t, "*", response.Header.Get("Access-Control-Allow-Origin"))
	require.Empty(t, response.Header.Get("Access-Control-Allow-Credentials"))
	require.Contains(t, response.Header.Get("Content-Security-Policy"),
		"connect-src 'self' ws://"+g.Addr().String()+" http://192.0.2.1:8443 ws://192.0.2.1:8443;")
}

// crash ends a gateway and leaves the record as if it had not had the time to say anything.
func (g *gate) crash() {
	g.w.t.Helper()
	before, err := g.w.store.Get(context.Background(), visit)
	require.NoError(g.w.t, err)
	g.stop()
	_, err = encounter.Change(context.Background(), g.w.store, visit, func(e *encounter.Encounter) error {
		e.Participants = before.Participants
		return nil
	})
	require.NoError(g.w.t, err)
}

func TestGatewayAndMediaServerLostTogether(t *testing.T) {
	for name, lose := range map[string]func(*sfutest.SFU){
		"killed": (*sfutest.SFU).Stop,
		"silent": func(s *sfutest.SFU) { s.Silence(true) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			sfus := map[string]*sfutest.SFU{"sfu-1": w.sfu("sfu-1"), "sfu-2": w.sfu("sfu-2")}
			first := w.gateway("gw-1")
			second := w.gateway("gw-2")
			provider, patient, placed := first.call()
			lose(sfus[placed.SFU])
			first.crash()

			started := time.Now()
			for participant, c := range map[string]*caller{"doctor": provider, "patient": patient} {
				role := map[string]access.Role{"doctor": access.Provider, "patient": access.Patient}[participant]
				again := second.joinWith(signaling.Join{Token: w.token(participant, role), Resume: c.welcome.Session})
				require.True(t, again.welcome.Resumed)
				moved := next[signaling.Placed](again)
				require.NotEqual(t, placed.SFU, moved.SFU)
				require.Equal(t, uint64(2), moved.Epoch)
				require.Greater(t, moved.Leg, placed.Leg, "a number that the client does not know")
				require.True(t, moved.Abrupt)
				require.Equal(t, "failover", moved.Reason)
			}
			require.Less(t, time.Since(started), 5*time.Second)
		})
	}
}

func TestNumbersOfLegsGoOnElsewhere(t *testing.T) {
	for name, forgotten := range map[string]bool{"the leg is there": false, "the leg is gone": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			sfu := w.sfu("sfu-1")
			first, second := w.gateway("gw-1"), w.gateway("gw-2")
			_, patient, placed := first.call()
			for range 3 { // four legs of one epoch, as of a phone that changes networks
				sfu.Broadcast(signaling.Frame{Session: patient.welcome.Session, Message: signaling.Gone{
					Route: placed.Route, EncounterRef: signaling.EncounterRef{Tenant: "clinic", Encounter: "visit"},
					Participant: "patient", Kind: signaling.BrowserSession, Reason: "ice-failed",
				}})
				placed = next[signaling.Placed](patient)
			}
			require.Equal(t, signaling.Route{Leg: 4, Epoch: 1}, placed.Route)
			if forgotten {
				sfu.Forget()
			}
			first.crash()
			again := second.joinWith(signaling.Join{
				Token: w.token("patient", access.Patient), Resume: patient.welcome.Session, Leg: placed.Leg,
			})
			require.True(t, again.welcome.Resumed)
			if forgotten {
				require.Equal(t, signaling.Route{Leg: 5, Epoch: 1}, next[signaling.Placed](again).Route)
				return
			}
			require.Eventually(t, func() bool {
				again.send(signaling.Offer{Route: placed.Route, PC: signaling.Publish, Negotiation: 2, SDP: "v=0"})
				offers, _ := sfutest.All[signaling.Offer](sfu)
				return len(offers) > 0
			}, patience, 50*time.Millisecond)
			require.Equal(t, placed.Route, next[signaling.Answer](again).Route)
		})
	}
}
