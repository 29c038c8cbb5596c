package gateway_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/observe/observetest"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway"
	"github.com/wardline/wardline/edge/gateway/sfutest"
)

// secretName is a name that nothing else contains.
const secretName = "Xanthippe Quillfeather"

// traces finds which of the secrets occur in a text: as they are, encoded for JSON, a URL, or in base 64.
func traces(text string, secrets ...string) (found []string) {
	for _, secret := range secrets {
		for _, form := range []string{
			secret, strings.ReplaceAll(secret, " ", "%20"), strings.ReplaceAll(secret, " ", "+"),
			base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret)),
		} {
			if strings.Contains(text, form) {
				found = append(found, secret)
				break
			}
		}
	}
	return found
}

// postJSON asks the tenant API and returns the answer's body.
func (g *gate) postJSON(path, token, body string) []byte {
	g.w.t.Helper()
	r, err := http.NewRequestWithContext(g.w.t.Context(), http.MethodPost, "http://"+g.Addr().String()+path, strings.NewReader(body))
	require.NoError(g.w.t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", "once")
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	require.NoError(g.w.t, err)
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	require.NoError(g.w.t, err)
	require.Equal(g.w.t, http.StatusCreated, response.StatusCode, string(data))
	return data
}

func TestNamesAndTokensLeaveNoTrace(t *testing.T) {
	w := newWorld(t)
	sfu := w.sfu("sfu-1")
	var log observetest.Text
	registry := prometheus.NewRegistry()
	g := w.gateway("gw-1", func(c *gateway.Config) {
		c.Log, c.Registry = zerolog.New(&log).Level(zerolog.TraceLevel), registry
	})
	// A visit with all that a gateway does, made by the tenant's application.
	tenantKey := w.tenant("clinic")
	apiToken, err := access.MintAPI(tenantKey.Key, tenantKey.ID, "clinic", time.Now(), time.Hour)
	require.NoError(t, err)
	var made struct {
		Participants []struct {
			JoinURL string `json:"join_url"`
		} `json:"participants"`
	}
	require.NoError(t, json.Unmarshal(g.postJSON("/v1/encounters", apiToken, `{"id":"visit","participants":[`+
		`{"id":"doctor","role":"provider","name":"Dr `+secretName+`"},{"id":"patient","role":"patient","name":"`+secretName+`"}]}`), &made))
	_, doctorToken, _ := strings.Cut(made.Participants[0].JoinURL, "#")
	_, patientToken, _ := strings.Cut(made.Participants[1].JoinURL, "#")
	doctor := g.joinWith(signaling.Join{Token: doctorToken})
	patient := g.joinWith(signaling.Join{Token: patientToken})
	require.Equal(t, secretName, patient.welcome.You.Name)
	doctor.send(signaling.Admit{Participant: "patient"})
	placed := next[signaling.Placed](patient)
	nextWhere(doctor, func(r signaling.Roster) bool { return len(r.Members) == 2 && r.Members[1].Name == secretName })
	patient.send(signaling.Offer{Route: placed.Route, PC: signaling.Publish, Negotiation: 1, SDP: "v=0 " + secretName})
	next[signaling.Answer](patient)
	patient.send(signaling.Stats{Route: placed.Route, ICEState: secretName, Path: "udp"})
	patient.send(signaling.Admit{Participant: "doctor"})
	require.Equal(t, "not-allowed", next[signaling.Error](patient).Code)
	// Names and tokens where they do not belong.
	patient.raw([]byte(`{"type":"` + secretName + `"}`))
	patient.raw([]byte(`{"type":"admit","participant":"` + secretName + `"}`))
	patient.raw([]byte(secretName + patientToken))
	for _, path := range []string{
		"/v1/signal?token=" + patientToken, "/" + patientToken, "/v1/regions?name=" + strings.ReplaceAll(secretName, " ", "%20"),
	} {
		g.ask(http.MethodGet, path, patientToken, "", "Origin", "https://"+patientToken[:40], "User-Agent", secretName)
	}
	bad := g.dial()
	bad.send(signaling.Join{Token: tampered(patientToken)})
	next[signaling.Error](bad)
	g.ask(http.MethodPost, "/whip/visit", tampered(patientToken), "")
	g.ask(http.MethodPost, "/whip/visit", patientToken, encoderOffer, "Content-Type", "application/sdp")
	doctor.send(signaling.Remove{Participant: "patient"})
	nextWhere(doctor, func(r signaling.Roster) bool { return len(r.Members) == 1 })
	doctor.send(signaling.End{})
	next[signaling.Bye](doctor)
	g.stop()

	secrets := []string{secretName, "Quillfeather", doctorToken, patientToken, tampered(patientToken), apiToken}
	for _, token := range secrets[2:] {
		secrets = append(secrets, token[strings.LastIndexByte(token, '.')+1:])
	}
	require.Len(t, traces(log.String()+strings.Join(secrets, "\n"), secrets...), len(secrets), "what is looked for would be found")
	require.Contains(t, log.String(), `"participant":"patient"`, "the visit was logged")
	require.Empty(t, traces(log.String(), secrets...))

	recorder := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(recorder,
		httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	metrics := recorder.Body.String()
	require.Contains(t, metrics, `wardline_gateway_joins_total{code="ok"} 2`)
	require.Empty(t, traces(metrics, append(secrets, "patient-", "visit\"")...))

	entries, err := w.memory.List(t.Context(), "")
	require.NoError(t, err)
	var stored bytes.Buffer
	for _, entry := range entries {
		stored.WriteString(entry.Key + "\n")
		stored.Write(entry.Value)
	}
	require.Contains(t, stored.String(), `"badge"`, "the names were stored, sealed")
	require.Contains(t, stored.String(), "wardline/idempotency/clinic/")
	require.Empty(t, traces(stored.String(), secrets...))

	var told bytes.Buffer
	for _, frame := range sfu.Frames() {
		if _, media := frame.Message.(signaling.Offer); media {
			continue // what a client writes into its SDP is the client's
		}
		data, err := signaling.EncodeFrame(frame)
		require.NoError(t, err)
		told.Write(data)
	}
	require.Contains(t, told.String(), `"attach"`)
	require.Empty(t, traces(told.String(), secrets...))
	_, sessions := sfutest.All[signaling.Offer](sfu)
	require.NotEmpty(t, sessions)
}
