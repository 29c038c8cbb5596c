package placement_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/placement"
)

func sfu(id, region, load string) discovery.Service {
	return discovery.Service{
		Name: discovery.SFUService, ID: id, Node: "node-" + id, Region: region, Health: discovery.Passing,
		Meta: map[string]string{discovery.MetaControl: id + ":1", discovery.MetaLoad: load},
	}
}

func names(candidates []placement.Candidate) []string {
	out := []string{}
	for _, c := range candidates {
		out = append(out, c.SFU)
	}
	return out
}

func TestRankOrdersByRegionThenLoad(t *testing.T) {
	e := encounter.Encounter{Participants: map[string]encounter.Participant{
		"doc": {State: encounter.Admitted, Role: access.Provider, RTT: map[string]float64{"eu": 10, "us": 90}},
		"pat": {State: encounter.Admitted, Role: access.Patient, RTT: map[string]float64{"eu": 80, "us": 95}},
		// Somebody nobody has let in does not move the encounter.
		"stranger": {State: encounter.Waiting, Role: access.Patient, RTT: map[string]float64{"eu": 900, "us": 1}},
		"gone":     {State: encounter.Left, Role: access.Patient, RTT: map[string]float64{"eu": 900, "us": 1}},
	}}
	services := []discovery.Service{
		sfu("us-idle", "us", "0"), sfu("eu-busy", "eu", "0.9"), sfu("eu-half", "eu", "0.5"), sfu("eu-some", "eu", "0.2"),
		sfu("eu-full", "eu", "1.5"), sfu("eu-endless", "eu", "Inf"),
	}
	ranked := placement.Rank(services, e, nil, nil)
	require.Equal(t, []string{"eu-some", "eu-half", "eu-busy", "eu-full", "eu-endless", "us-idle"}, names(ranked))
	require.Equal(t, placement.Candidate{Region: "eu", SFU: "eu-some", Control: "eu-some:1", Load: 0.2}, ranked[0])
}

func TestRankComparesLoadsInTenths(t *testing.T) {
	services := []discovery.Service{sfu("three", "eu", "0.3"), sfu("four", "eu", "0.39")}
	first := make(map[string]int)
	for i := range 100 {
		key := encounter.Key{Tenant: "clinic", ID: fmt.Sprintf("visit-%d", i)}
		first[placement.Rank(services, encounter.Encounter{Key: key}, nil, nil)[0].SFU]++
	}
	require.Len(t, first, 2, "who are of one tenth share the visits: %v", first)
}

func TestRankBelievesTheSFUBeforeTheCatalog(t *testing.T) {
	services := []discovery.Service{
		sfu("silent", "eu", ""), sfu("odd", "eu", "NaN"), sfu("negative", "eu", "-4"), sfu("was-idle", "eu", "0"),
		sfu("was-full", "eu", "1"),
	}
	heard := map[string]placement.Known{
		"silent": {Load: 0.35, Heard: true}, "odd": {Load: 0.55, Heard: true}, "was-idle": {Load: 0.95, Heard: true},
		"was-full": {Load: 0.15, Heard: true},
	}
	ranked := placement.Rank(services, encounter.Encounter{}, nil, func(id string) placement.Known { return heard[id] })
	require.Equal(t, []string{"negative", "was-full", "silent", "odd", "was-idle"}, names(ranked), "unknown is not busy")
}

func TestRankAsksTheDeadAndTheDrainingLast(t *testing.T) {
	services := []discovery.Service{sfu("dead", "eu", "0"), sfu("drains", "eu", "0"), sfu("busy", "eu", "0.9"), sfu("far", "us", "0")}
	near := encounter.Encounter{Participants: map[string]encounter.Participant{
		"doc": {State: encounter.Admitted, RTT: map[string]float64{"eu": 10, "us": 90}},
	}}
	ranked := placement.Rank(services, near, nil, func(id string) placement.Known {
		return placement.Known{Dead: id == "dead", Draining: id == "drains"}
	})
	require.Equal(t, []string{"busy", "far"}, names(ranked)[:2], "a region whose SFUs are all dead costs no time")
	require.ElementsMatch(t, []string{"dead", "drains"}, names(ranked)[2:])
}

func TestRankPrefersRegionsThatAnswer(t *testing.T) {
	near := encounter.Encounter{Participants: map[string]encounter.Participant{
		"doc": {State: encounter.Admitted, RTT: map[string]float64{"a": 10, "b": 20, "c": 30}},
	}}
	for name, test := range map[string]struct {
		stale string
		want  []string
	}{
		"all answer":                           {"", []string{"sfu-a", "sfu-b", "sfu-c"}},
		"nearest gone":                         {"a", []string{"sfu-b", "sfu-c", "sfu-a"}},
		"two gone":                             {"ab", []string{"sfu-c", "sfu-a", "sfu-b"}},
		"own Consul cut off: none is left out": {"abc", []string{"sfu-a", "sfu-b", "sfu-c"}},
	} {
		t.Run(name, func(t *testing.T) {
			var services []discovery.Service
			for _, region := range []string{"a", "b", "c"} {
				s := sfu("sfu-"+region, region, "0")
				s.Stale = strings.Contains(test.stale, region)
				services = append(services, s)
			}
			require.Equal(t, test.want, names(placement.Rank(services, near, nil, nil)))
		})
	}
}

func TestRankSharesVisitsAmongEqualsTheSameEverywhere(t *testing.T) {
	services := []discovery.Service{sfu("sfu-1", "eu", "0.41"), sfu("sfu-2", "eu", "0.49"), sfu("sfu-3", "eu", "0.45")}
	backwards := slices.Clone(services)
	slices.Reverse(backwards)
	first := make(map[string]int)
	for i := range 3000 {
		e := encounter.Encounter{Key: encounter.Key{Tenant: "clinic", ID: fmt.Sprintf("visit-%d", i)}}
		ranked := placement.Rank(services, e, nil, nil)
		require.Equal(t, names(ranked), names(placement.Rank(backwards, e, nil, nil)))
		first[ranked[0].SFU]++
		less := placement.Rank(services, e, map[string]bool{ranked[0].SFU: true}, nil)
		require.Equal(t, names(ranked)[1:], names(less), "without one, the others keep their order")
	}
	for id, visits := range first {
		require.InDelta(t, 1000, visits, 150, id)
	}
}

func TestRankCountsWhoWaitsWhileNobodyIsAdmitted(t *testing.T) {
	e := encounter.Encounter{Participants: map[string]encounter.Participant{
		"pat":  {State: encounter.Waiting, RTT: map[string]float64{"eu": 80, "us": 20}},
		"gone": {State: encounter.Left, RTT: map[string]float64{"eu": 1, "us": 900}},
	}}
	services := []discovery.Service{sfu("eu-1", "eu", "0"), sfu("us-1", "us", "0")}
	require.Equal(t, []string{"us-1", "eu-1"}, names(placement.Rank(services, e, nil, nil)))
}

func TestRankLeavesOut(t *testing.T) {
	for name, spoil := range map[string]func(*discovery.Service){
		"maintenance":        func(s *discovery.Service) { s.Maintenance = true },
		"critical":           func(s *discovery.Service) { s.Health = discovery.Critical },
		"no control address": func(s *discovery.Service) { s.Meta = nil },
		"another service":    func(s *discovery.Service) { s.Name = discovery.TURNService },
		"forbidden region":   func(s *discovery.Service) { s.Region = "asia" },
		"excluded":           func(s *discovery.Service) { s.ID = "dead" },
	} {
		t.Run(name, func(t *testing.T) {
			bad, good := sfu("a-bad", "eu", "0"), sfu("good", "us", "1")
			spoil(&bad)
			e := encounter.Encounter{Regions: []string{"eu", "us"}}
			ranked := placement.Rank([]discovery.Service{bad, good}, e, map[string]bool{"dead": true}, nil)
			require.Equal(t, []string{"good"}, names(ranked))
		})
	}
	warned := sfu("warned", "eu", "0")
	warned.Health = discovery.Warning
	require.Len(t, placement.Rank([]discovery.Service{warned}, encounter.Encounter{}, nil, nil), 1, "a warning is no outage")
}
