package discovery

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"
)

// nomadID is what Nomad calls a service instance at its node's agent.
const nomadID = "_nomad-task-7c1d1f35-2f67-9cd8-4d2b-df1c1e7a0b1c-group-main-wardline-sfu-control"

func entryFor(id string, created uint64, status string, meta map[string]string) *api.ServiceEntry {
	return &api.ServiceEntry{
		Node:    &api.Node{Node: "n", Datacenter: "eu"},
		Service: &api.AgentService{ID: id, Service: SFUService, Meta: meta, CreateIndex: created},
		Checks:  api.HealthChecks{{CheckID: "c", Status: status}},
	}
}

func TestInstancesAreCalledWhatTheyCallThemselves(t *testing.T) {
	meta := func(id string) map[string]string { return map[string]string{MetaID: id} }
	for name, test := range map[string]struct {
		entries []*api.ServiceEntry
		want    []Service
	}{
		"its own id, and nothing of the rest that Consul needs": {
			[]*api.ServiceEntry{entryFor(nomadID, 1, "passing", map[string]string{
				MetaID: "eu-media-1", MetaRegion: "west", MetaControl: "10.0.0.1:7443", MetaMedia: "[2001:db8::1]:443", MetaTURN: "",
				"external-source": "nomad",
			})},
			[]Service{{
				Name: SFUService, ID: "eu-media-1", Node: "n", Region: "west", Health: Passing, Meta: map[string]string{
					MetaControl: "10.0.0.1:7443", MetaMedia: "[2001:db8::1]:443", "external-source": "nomad",
				},
			}},
		},
		"what is no id or region is not taken for one": {
			[]*api.ServiceEntry{
				entryFor("a", 1, "passing", map[string]string{MetaID: "", MetaRegion: ""}),
				entryFor("b", 1, "passing", map[string]string{MetaID: "two words", MetaRegion: "a/b"}),
			},
			[]Service{
				{Name: SFUService, ID: "a", Node: "n", Region: "eu", Health: Passing},
				{Name: SFUService, ID: "b", Node: "n", Region: "eu", Health: Passing},
			},
		},
		"of an allocation and its successor the newer": {
			[]*api.ServiceEntry{
				entryFor("old", 1, "passing", meta("m")), entryFor("new", 9, "passing", meta("m")),
				entryFor("older", 0, "passing", meta("m")),
			},
			[]Service{{Name: SFUService, ID: "m", Node: "n", Region: "eu", Health: Passing}},
		},
		"unless it is not ready yet": {
			[]*api.ServiceEntry{entryFor("new", 9, "critical", meta("m")), entryFor("old", 1, "warning", meta("m"))},
			[]Service{{Name: SFUService, ID: "m", Node: "n", Region: "eu", Health: Warning}},
		},
		"what names nothing is nothing": {[]*api.ServiceEntry{nil, {}}, []Service{}},
	} {
		require.Equal(t, test.want, instancesOf(test.entries), name)
	}
	old, successor := entryFor("old", 1, "passing", meta("m")), entryFor("new", 9, "passing", meta("m"))
	old.Node.Node, successor.Node.Node = "old", "new"
	require.Equal(t, "new", instancesOf([]*api.ServiceEntry{old, successor})[0].Node)
	require.Equal(t, "new", instancesOf([]*api.ServiceEntry{successor, old})[0].Node)
}

func TestRegionsThatNameInstancesAlike(t *testing.T) {
	known := Service{ID: "a", Region: "us", Health: Critical}
	outdated := Service{ID: "a", Region: "eu", Health: Passing, Stale: true}
	require.Equal(t, []Service{known}, merged([][]Service{{outdated}, {known}}))
	known.Health, outdated.Stale = Passing, false
	require.Equal(t, []Service{outdated}, merged([][]Service{{known}, {outdated}}))
}

func TestStaleRegions(t *testing.T) {
	var lost atomic.Bool
	c := fakeAgent(t, func(w http.ResponseWriter, r *http.Request) {
		datacenter := r.URL.Query().Get("dc")
		switch {
		case datacenter == "us" && lost.Load():
			hang(r)
		case r.URL.Path == "/v1/status/leader":
			fmt.Fprint(w, `"10.0.0.1:8300"`)
		case r.URL.Query().Get("index") != "":
			hang(r)
		default:
			w.Header().Set("X-Consul-Index", "3")
			fmt.Fprintf(w, `[{"Node":{"Node":"n","Datacenter":%q},"Service":{"ID":"sfu-%s","Service":"wardline-sfu"}}]`,
				datacenter, datacenter)
		}
	})
	stale := func(first, second bool) func([]Service) bool {
		return func(list []Service) bool { return len(list) == 2 && list[0].Stale == first && list[1].Stale == second }
	}
	watch := c.WatchServices(t.Context(), SFUService)
	awaitServices(t, watch, stale(false, false))
	lost.Store(true)
	awaitServices(t, watch, stale(false, true))
	list, err := c.Services(t.Context(), SFUService)
	require.NoError(t, err)
	require.True(t, stale(false, true)(list))
	list, known := c.lastKnown(SFUService)
	require.True(t, known && stale(false, true)(list))
	lost.Store(false)
	awaitServices(t, watch, stale(false, false))
	list, err = c.Services(t.Context(), SFUService)
	require.NoError(t, err)
	require.True(t, stale(false, false)(list))
	regions, err := c.Regions(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"eu", "us"}, regions)
}

func TestRegionsAreRemembered(t *testing.T) {
	var down atomic.Bool
	server := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if down.Load() {
			http.Error(w, "No known Consul servers", http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, `["us","eu","us","","a/b"]`)
	})
	c := fakeServersOnly(t, server)
	down.Store(true)
	_, err := c.Regions(t.Context())
	require.ErrorIs(t, err, ErrUnavailable)
	down.Store(false)
	for range 2 {
		regions, err := c.Regions(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{"eu", "us"}, regions)
		down.Store(true)
	}
}

func TestARegionThatIsListedNoMoreMayOnlyBeAway(t *testing.T) {
	var restarted atomic.Bool
	c := fakeServersOnly(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if restarted.Load() { // and has not reached any other since
			fmt.Fprint(w, `["eu"]`)
			return
		}
		fmt.Fprint(w, `["eu","us"]`)
	}))
	read := func() []string {
		regions, err := c.readRegions(t.Context())
		require.NoError(t, err)
		known, err := c.Regions(t.Context())
		require.NoError(t, err)
		require.Equal(t, regions, known)
		return regions
	}
	require.Equal(t, []string{"eu", "us"}, read())
	restarted.Store(true)
	require.Equal(t, []string{"eu", "us"}, read())
	c.listed["us"] = time.Now().Add(-c.pace.leave)
	require.Equal(t, []string{"eu"}, read())
	restarted.Store(false)
	require.Equal(t, []string{"eu", "us"}, read())
}

// fakeServersOnly is a client whose agent is known and never asked in the background.
func fakeServersOnly(t *testing.T, handler http.Handler) *Consul {
	t.Helper()
	pace := fakePace
	pace.pulse = time.Hour
	c, err := newConsul(ConsulConfig{Address: "http://agent:1"}, pace)
	require.NoError(t, err)
	c.http.Transport = handlerTransport{handler}
	c.self = consulSelf{"agent-1", "eu"}
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func TestConsulServicesThatNomadRegisters(t *testing.T) {
	t.Parallel()
	agent := startConsul(t)
	c := agent.client(t, consulQuickPace)
	watch := c.WatchServices(t.Context(), SFUService)
	register := func(id string) {
		t.Helper()
		require.NoError(t, c.api.Agent().ServiceRegister(&api.AgentServiceRegistration{
			ID: id, Name: SFUService, Meta: map[string]string{MetaID: "eu-media-1", MetaTURN: ""},
		}))
	}
	register(nomadID)
	awaitServices(t, watch, only("eu-media-1"))
	require.NoError(t, c.SetServiceMaintenance(t.Context(), "eu-media-1", true, "odd noise"))
	awaitServices(t, watch, func(list []Service) bool { return len(list) == 1 && list[0].Maintenance })
	state, err := c.AgentMaintenance(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]string{nomadID: "odd noise", "eu-media-1": "odd noise"}, state.Services)
	require.NoError(t, c.SetServiceMaintenance(t.Context(), nomadID, false, ""), "by Consul's id too")
	awaitServices(t, watch, only("eu-media-1"))

	successor := nomadID + "-2"
	register(successor)
	require.NoError(t, c.SetServiceMaintenance(t.Context(), "eu-media-1", true, "both"))
	state, err = c.AgentMaintenance(t.Context())
	require.NoError(t, err)
	require.Len(t, state.Services, 3)
	require.NoError(t, c.Deregister(t.Context(), SFUService, successor))
	require.NoError(t, c.Deregister(t.Context(), SFUService, "eu-media-1"))
	awaitServices(t, watch, func(list []Service) bool { return len(list) == 0 })
	require.ErrorIs(t, c.Deregister(t.Context(), SFUService, "eu-media-1"), ErrNotFound)

	external := Service{Name: SFUService, ID: "x", Node: "elsewhere", Region: agent.Datacenter, Meta: map[string]string{MetaID: "y"}}
	require.NoError(t, c.Register(t.Context(), external))
	awaitServices(t, watch, only("x"))
	require.NoError(t, c.Deregister(t.Context(), SFUService, "x"))
}
