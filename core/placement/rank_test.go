package placement_test

import (
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

func TestRankOrdersByRegionThenLoadThenID(t *testing.T) {
	e := encounter.Encounter{Participants: map[string]encounter.Participant{
		"doc": {State: encounter.Admitted, Role: access.Provider, RTT: map[string]float64{"eu": 10, "us": 90}},
		"pat": {State: encounter.Admitted, Role: access.Patient, RTT: map[string]float64{"eu": 80, "us": 95}},
		// Somebody nobody has let in does not move the encounter.
		"stranger": {State: encounter.Waiting, Role: access.Patient, RTT: map[string]float64{"eu": 900, "us": 1}},
		"gone":     {State: encounter.Left, Role: access.Patient, RTT: map[string]float64{"eu": 900, "us": 1}},
	}}
	services := []discovery.Service{
		sfu("us-idle", "us", "0"), sfu("eu-busy", "eu", "0.9"), sfu("eu-b", "eu", "0.2"), sfu("eu-a", "eu", "0.2"),
		sfu("eu-full", "eu", "1.5"), sfu("eu-silent", "eu", ""), sfu("eu-odd", "eu", "NaN"), sfu("eu-negative", "eu", "-4"),
	}
	ranked := placement.Rank(services, e, nil)
	require.Equal(t, []string{"eu-a", "eu-b", "eu-busy", "eu-negative", "eu-odd", "eu-silent", "eu-full", "us-idle"},
		names(ranked), "a load that is missing or nonsense is not read as idle")
	require.Equal(t, placement.Candidate{Region: "eu", SFU: "eu-a", Control: "eu-a:1", Load: 0.2}, ranked[0])
}

func TestRankCountsWhoWaitsWhileNobodyIsAdmitted(t *testing.T) {
	e := encounter.Encounter{Participants: map[string]encounter.Participant{
		"pat":  {State: encounter.Waiting, RTT: map[string]float64{"eu": 80, "us": 20}},
		"gone": {State: encounter.Left, RTT: map[string]float64{"eu": 1, "us": 900}},
	}}
	services := []discovery.Service{sfu("eu-1", "eu", "0"), sfu("us-1", "us", "0")}
	require.Equal(t, []string{"us-1", "eu-1"}, names(placement.Rank(services, e, nil)))
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
			ranked := placement.Rank([]discovery.Service{bad, good}, e, map[string]bool{"dead": true})
			require.Equal(t, []string{"good"}, names(ranked))
		})
	}
	warned := sfu("warned", "eu", "0")
	warned.Health = discovery.Warning
	require.Len(t, placement.Rank([]discovery.Service{warned}, encounter.Encounter{}, nil), 1, "a warning is no outage")
}
