package tenant_test

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/edge/drill/scenario"
	"github.com/wardline/wardline/edge/drill/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var visit = scenario.Visit{Name: "v", Regions: []string{"east", "west"}, Participants: []scenario.Participant{
	{Name: "clinician", Role: access.Provider}, {Name: "patient", Role: access.Patient},
}}

// gateway answers each request with a status and a body.
func gateway(t *testing.T, status int, body func(asked map[string]any) string) (url string, requests func() []string) {
	t.Helper()
	var seen []string
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var asked map[string]any
		_ = json.NewDecoder(r.Body).Decode(&asked)
		if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ey") {
			status = http.StatusUnauthorized
		}
		seen = append(seen, r.Method+" "+r.URL.Path)
		rw.WriteHeader(status)
		_, _ = rw.Write([]byte(body(asked)))
	}))
	t.Cleanup(server.Close)
	return server.URL, func() []string { return seen }
}

func links(asked map[string]any) string {
	var people []string
	list, _ := asked["participants"].([]any)
	for _, p := range list {
		person, _ := p.(map[string]any)
		id := person["id"]
		people = append(people, fmt.Sprintf(`{"id":%q,"join_url":"https://g/visit#token-%s"}`, id, id))
	}
	return `{"participants":[` + strings.Join(people, ",") + `]}`
}

func saying(text string) func(map[string]any) string {
	return func(map[string]any) string { return text }
}

func newTenant(t *testing.T) *tenant.Tenant {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	return tenant.New("hospital", "k-1", key, nil)
}

func TestAVisitIsCreatedAtTheFirstGatewayThatAnswers(t *testing.T) {
	t.Parallel()
	var asked map[string]any
	busy, _ := gateway(t, http.StatusServiceUnavailable, saying(`{"code":"unavailable","detail":"no record store"}`))
	good, requests := gateway(t, http.StatusCreated, func(a map[string]any) string {
		asked = a
		return links(a)
	})
	gone := httptest.NewServer(nil)
	gone.Close()
	created, err := newTenant(t).Create(t.Context(), []string{gone.URL, busy, good + "/"}, visit)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"clinician": "token-clinician", "patient": "token-patient"}, created.Tokens)
	require.Regexp(t, `^drill-[a-z0-9]{12}$`, created.ID)
	require.Equal(t, created.ID, asked["id"])
	require.Equal(t, []any{"east", "west"}, asked["regions"])
	require.Equal(t, []string{"POST /v1/encounters"}, requests())
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		body   func(map[string]any) string
		says   []string
	}{
		"for all gateways": {
			http.StatusForbidden, saying(`{"code":"region-not-allowed","detail":"no"}`), []string{"403", "region-not-allowed"},
		},
		"no problem": {http.StatusForbidden, saying(`<html>`), []string{"403"}},
		"no JSON":    {http.StatusCreated, saying(`<html>`), []string{"invalid character"}},
		"no token": {
			http.StatusCreated, saying(`{"participants":[{"id":"clinician","join_url":"https://g"}]}`),
			[]string{"has no token"},
		},
		"somebody missing": {http.StatusCreated, saying(`{"participants":[]}`), []string{"no join link for clinician"}},
	} {
		first, _ := gateway(t, c.status, c.body)
		second, requests := gateway(t, http.StatusCreated, links)
		_, err := newTenant(t).Create(t.Context(), []string{first, second}, visit)
		require.ErrorIs(t, err, tenant.ErrRefused, name)
		for _, part := range c.says {
			require.ErrorContains(t, err, part, name)
		}
		require.Empty(t, requests(), name)
	}
	_, err := newTenant(t).Create(t.Context(), nil, visit)
	require.ErrorContains(t, err, "none is known")
}

func TestAVisitIsEnded(t *testing.T) {
	t.Parallel()
	for status, ok := range map[int]bool{http.StatusNoContent: true, http.StatusNotFound: true, http.StatusForbidden: false} {
		url, requests := gateway(t, status, saying(""))
		err := newTenant(t).End(t.Context(), []string{url}, "drill-x")
		require.Equal(t, ok, err == nil, status)
		require.Equal(t, []string{"DELETE /v1/encounters/drill-x"}, requests())
	}
}
