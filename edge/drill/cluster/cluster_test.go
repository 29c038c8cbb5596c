package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	consulapi "github.com/hashicorp/consul/api"
	nomadapi "github.com/hashicorp/nomad/api"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/edge/drill"
	"github.com/wardline/wardline/edge/drill/cluster"
	"github.com/wardline/wardline/edge/drill/scenario"
)

// catalog is a fixed set of services.
type catalog struct {
	services []discovery.Service
	err      error
}

func (c *catalog) Services(_ context.Context, name string) ([]discovery.Service, error) {
	return slices.DeleteFunc(slices.Clone(c.services), func(s discovery.Service) bool { return s.Name != name }), c.err
}

func healthy() *catalog {
	return &catalog{services: []discovery.Service{
		{
			Name: discovery.GatewayService, ID: "g", Node: "n1", Region: "east", Health: discovery.Passing,
			Meta: map[string]string{discovery.MetaURL: "https://g"},
		},
		{Name: discovery.SFUService, ID: "m", Node: "n2", Region: "east", Health: discovery.Passing},
		{Name: discovery.TURNService, ID: "r", Node: "n3", Region: "east", Health: discovery.Passing, Meta: map[string]string{
			discovery.MetaTURN: "192.0.2.4:3478", discovery.MetaTURNTLS: "192.0.2.4:5349",
		}},
	}}
}

func TestHealthNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*catalog)
		says   string
	}{
		"well":           {func(*catalog) {}, ""},
		"critical":       {func(c *catalog) { c.services[1].Health = discovery.Critical }, "sfu m of east is critical"},
		"in maintenance": {func(c *catalog) { c.services[0].Maintenance = true }, "gateway g of east is in maintenance mode"},
		"gone":           {func(c *catalog) { c.services = c.services[:2] }, "relay r of east is gone"},
		"no SFU":         {func(c *catalog) { c.services = c.services[:1] }, "there is no sfu"},
		"no answer":      {func(c *catalog) { c.err = errors.New("no leader") }, "no leader"},
	} {
		services := healthy()
		under := cluster.New(services)
		require.NoError(t, under.Healthy(t.Context()), name)
		c.change(services)
		err := under.Healthy(t.Context())
		if c.says == "" {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorIs(t, err, cluster.ErrUnhealthy, name)
		require.ErrorContains(t, err, c.says, name)
	}
	err := cluster.New(healthy(), func(context.Context) error { return errors.New("nomad is down") }).Healthy(t.Context())
	require.ErrorContains(t, err, "nomad is down")
}

func TestServersAreRememberedWhileNobodyAnswers(t *testing.T) {
	t.Parallel()
	services := healthy()
	under := cluster.New(services)
	services.err = errors.New("no leader")
	_, err := under.Servers(t.Context())
	require.Error(t, err)
	services.err = nil
	want := []drill.Server{
		{Kind: "gateway", ID: "g", Node: "n1", Region: "east", URL: "https://g"},
		{Kind: "relay", ID: "r", Node: "n3", Region: "east", Addresses: []string{"192.0.2.4"}},
		{Kind: "sfu", ID: "m", Node: "n2", Region: "east"},
	}
	for range 2 {
		got, err := under.Servers(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, got)
		services.err = errors.New("no leader")
	}
}

// server answers paths with fixed JSON and remembers what was changed.
func server(t *testing.T, answers map[string]string) (url string, changes func() []string) {
	t.Helper()
	var mu sync.Mutex
	var changed []string
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		key := r.URL.Path
		for _, q := range []string{"dc", "region"} {
			if v := r.URL.Query().Get(q); v != "" {
				key += "?" + v
			}
		}
		if r.Method != http.MethodGet {
			var body map[string]any
			_ = json.NewDecoder(r.Body).Decode(&body)
			text, _ := json.Marshal(body)
			mu.Lock()
			changed = append(changed, key+" "+string(text))
			mu.Unlock()
			_, _ = rw.Write([]byte(`{}`))
			return
		}
		if answers[key] == "" {
			http.Error(rw, "no cluster leader", http.StatusInternalServerError)
			return
		}
		_, _ = rw.Write([]byte(answers[key]))
	}))
	t.Cleanup(s.Close)
	return s.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(changed)
	}
}

func consul(t *testing.T, answers map[string]string) *consulapi.Client {
	t.Helper()
	url, _ := server(t, answers)
	client, err := consulapi.NewClient(&consulapi.Config{Address: url})
	require.NoError(t, err)
	return client
}

func TestConsulsHealth(t *testing.T) {
	t.Parallel()
	const datacenters = `["east","west"]`
	for name, c := range map[string]struct {
		answers map[string]string
		says    string
	}{
		"well": {map[string]string{
			"/v1/catalog/datacenters": datacenters, "/v1/health/state/critical?east": `[]`,
			"/v1/health/state/critical?west": `[{"Node":"w","Name":"billing","ServiceName":"billing"}]`,
		}, ""},
		"a node": {map[string]string{
			"/v1/catalog/datacenters": datacenters, "/v1/health/state/critical?east": `[]`,
			"/v1/health/state/critical?west": `[{"Node":"west-media-1","Name":"Serf Health Status"}]`,
		}, "west-media-1 of west: Serf Health Status is critical"},
		"a region": {map[string]string{"/v1/catalog/datacenters": datacenters, "/v1/health/state/critical?east": `[]`}, "consul of west"},
		"nobody":   {nil, "consul: "},
	} {
		err := cluster.ConsulHealth(consul(t, c.answers))(t.Context())
		if c.says == "" {
			require.NoError(t, err, name)
		} else {
			require.ErrorContains(t, err, c.says, name)
		}
	}
	version, err := cluster.ConsulVersion(t.Context(), consul(t, map[string]string{"/v1/agent/self": `{"Config":{"Version":"1.22.5"}}`}))
	require.NoError(t, err)
	require.Equal(t, "1.22.5", version)
	_, err = cluster.ConsulVersion(t.Context(), consul(t, nil))
	require.Error(t, err)
}

// nomad is a Nomad of two regions whose node n is in the second.
func nomad(t *testing.T, more map[string]string) (*cluster.Nomad, func() []string) {
	t.Helper()
	answers := map[string]string{
		"/v1/regions":    `["east","west"]`,
		"/v1/nodes?east": `[{"ID":"e","Name":"other","Status":"ready","SchedulingEligibility":"eligible"}]`,
		"/v1/nodes?west": `[{"ID":"w","Name":"n","Status":"ready","SchedulingEligibility":"eligible"}]`,
		"/v1/node/w/allocations?west": `[
		  {"ID":"a1","JobID":"sfu","ClientStatus":"running"},{"ID":"a2","JobID":"sfu","ClientStatus":"complete"},
		  {"ID":"a3","JobID":"turn","ClientStatus":"running"}]`,
	}
	for path, answer := range more {
		answers[path] = answer
	}
	url, changes := server(t, answers)
	client, err := nomadapi.NewClient(&nomadapi.Config{Address: url})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return cluster.NewNomad(client), changes
}

func TestNomadsHealth(t *testing.T) {
	t.Parallel()
	well, _ := nomad(t, nil)
	require.NoError(t, well.Healthy(t.Context()))
	for says, more := range map[string]map[string]string{
		"nomad node n of west is down and eligible": {
			"/v1/nodes?west": `[{"ID":"w","Name":"n","Status":"down","SchedulingEligibility":"eligible"}]`,
		},
		"nomad node n of west is ready and ineligible": {
			"/v1/nodes?west": `[{"ID":"w","Name":"n","Status":"ready","SchedulingEligibility":"ineligible"}]`,
		},
		"nomad of west": {"/v1/nodes?west": ""},
		"nomad: ":       {"/v1/regions": ""},
	} {
		sick, _ := nomad(t, more)
		require.ErrorContains(t, sick.Healthy(t.Context()), says)
	}
}

func TestNomadsVersion(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		`{"member":{"Tags":{"build":"1.11.3"}}}`:                  "1.11.3",
		`{"config":{"Version":{"Version":"1.11.2"}},"member":{}}`: "1.11.2",
	} {
		n, _ := nomad(t, map[string]string{"/v1/agent/self": answer})
		version, err := n.Version(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, version)
	}
	n, _ := nomad(t, nil)
	_, err := n.Version(t.Context())
	require.Error(t, err)
}

// TestSilenceHoldsNothingUp is of servers that take questions and never answer, as those of a cluster that broke.
func TestSilenceHoldsNothingUp(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	defer silent.Close()
	nomadClient, err := nomadapi.NewClient(&nomadapi.Config{Address: silent.URL})
	require.NoError(t, err)
	defer nomadClient.Close()
	consulClient, err := consulapi.NewClient(&consulapi.Config{Address: silent.URL})
	require.NoError(t, err)
	nomad := cluster.NewNomad(nomadClient)
	for name, ask := range map[string]func(context.Context) error{
		"nomad's version":  func(ctx context.Context) error { _, err := nomad.Version(ctx); return err },
		"nomad's health":   nomad.Healthy,
		"nomad's nodes":    func(ctx context.Context) error { return nomad.SetEligible(ctx, "n", true) },
		"consul's version": func(ctx context.Context) error { _, err := cluster.ConsulVersion(ctx, consulClient); return err },
		"consul's health":  cluster.ConsulHealth(consulClient),
	} {
		ctx, interrupt := context.WithCancel(t.Context())
		answer := make(chan error, 1)
		go func() { answer <- ask(ctx) }()
		<-asked
		interrupt()
		require.ErrorIs(t, <-answer, context.Canceled, name)
	}
}

// maintenance is a Consul that only knows maintenance mode.
type maintenance struct {
	asked []string
	err   error
}

func (m *maintenance) SetMaintenance(_ context.Context, node string, on bool, _ string) error {
	m.asked = append(m.asked, node+map[bool]string{true: " on", false: " off"}[on])
	if on {
		return m.err
	}
	return nil
}

func action(t *testing.T, verb, target, process string) scenario.Action {
	t.Helper()
	v, ok := scenario.FindVerb(verb)
	require.True(t, ok)
	return scenario.Action{Verb: v, Target: target, Process: process}
}

func TestEveryClusterVerbIsDoneAndUndone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		action scenario.Action
		want   []string // parts of what Nomad is asked
	}{
		{
			action(t, "drain", "n", ""),
			[]string{
				`/v1/node/w/drain?west {"DrainSpec":{"Deadline":600000000000`,
				`/v1/node/w/drain?west {"DrainSpec":null,"MarkEligible":true`,
			},
		},
		{action(t, "ineligible", "n", ""), []string{`"Eligibility":"ineligible"`, `"Eligibility":"eligible"`}},
		{action(t, "restart", "n", "sfu"), []string{`/allocation/a1/restart`}},
		{action(t, "stop", "n", "sfu"), []string{`/v1/allocation/a1/stop?west`}},
	} {
		jobs, changes := nomad(t, nil)
		injector := cluster.Injector{Jobs: jobs}
		undo, err := injector.Inject(t.Context(), c.action)
		require.NoError(t, err, c.action)
		require.NoError(t, undo(t.Context()), c.action)
		got := changes()
		require.Len(t, got, len(c.want), "%v: %v", c.action, got)
		for i := range got {
			require.Contains(t, got[i], c.want[i])
		}
	}
	consul := &maintenance{}
	undo, err := cluster.Injector{Maintenance: consul}.Inject(t.Context(), action(t, "maintenance", "n", ""))
	require.NoError(t, err)
	require.NoError(t, undo(t.Context()))
	require.Equal(t, []string{"n on", "n off"}, consul.asked)
}

func TestWhatAClusterCannotDo(t *testing.T) {
	t.Parallel()
	jobs, changes := nomad(t, nil)
	injector := cluster.Injector{Jobs: jobs}
	for says, a := range map[string]scenario.Action{
		`no nomad node "mars"`:        action(t, "drain", "mars", ""),
		`runs no job "gateway"`:       action(t, "stop", "n", "gateway"),
		"not possible":                action(t, "maintenance", "n", ""),
		"kill n sfu: not possible":    action(t, "kill", "n", "sfu"),
		`no nomad node "venus" in re`: action(t, "ineligible", "venus", ""),
	} {
		_, err := injector.Inject(t.Context(), a)
		require.ErrorContains(t, err, says)
	}
	require.Empty(t, changes())
	half, _ := nomad(t, map[string]string{"/v1/nodes?west": ""})
	_, err := cluster.Injector{Jobs: half}.Inject(t.Context(), action(t, "drain", "n", ""))
	require.ErrorContains(t, err, "nomad of west", "it may be in the region that does not answer")

	consul := &maintenance{err: errors.New("timeout")}
	_, err = cluster.Injector{Maintenance: consul}.Inject(t.Context(), action(t, "maintenance", "n", ""))
	require.ErrorContains(t, err, "timeout")
	require.Equal(t, []string{"n on", "n off"}, consul.asked, "it may have been done all the same")
	require.NotContains(t, err.Error(), "could not be undone")
}
