package placement

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/georoute"
)

// Candidate is an SFU that could host an encounter.
type Candidate struct {
	Region string
	// SFU is its service id, Control the HOST:PORT of its control channel.
	SFU     string
	Control string
	// Load is its participants as a share of its capacity. One that does not say counts as full, 1.
	Load float64
}

// Rank lists the SFUs among services that could host e, the best first: by region as georoute ranks them, then
// least loaded, then by id. It leaves out what is excluded (by service id), critical, in maintenance, in a
// region that policy does not allow, or without a control address. A full SFU stays in: it decides itself.
//
// The round-trip times that count are those of admitted participants; while nobody is admitted, of those who wait.
func Rank(services []discovery.Service, e encounter.Encounter, exclude map[string]bool) []Candidate {
	var candidates []Candidate
	var regions []string
	for _, s := range services {
		if !eligible(s, e) || exclude[s.ID] {
			continue
		}
		candidates = append(candidates, Candidate{
			Region: s.Region, SFU: s.ID, Control: s.Meta[discovery.MetaControl], Load: load(s),
		})
		regions = append(regions, s.Region)
	}
	order := make(map[string]int)
	for i, region := range georoute.Rank(regions, e.Regions, roundTrips(e)) {
		order[region] = i
	}
	slices.SortFunc(candidates, func(a, b Candidate) int {
		return cmp.Or(
			cmp.Compare(order[a.Region], order[b.Region]),
			cmp.Compare(a.Load, b.Load),
			cmp.Compare(a.SFU, b.SFU),
		)
	})
	return candidates
}

func eligible(s discovery.Service, e encounter.Encounter) bool {
	return s.Name == discovery.SFUService && s.Health != discovery.Critical && !s.Maintenance &&
		s.Meta[discovery.MetaControl] != "" && e.Allows(s.Region)
}

func load(s discovery.Service) float64 {
	share, err := strconv.ParseFloat(s.Meta[discovery.MetaLoad], 64)
	if err != nil || math.IsNaN(share) || share < 0 {
		return 1
	}
	return share
}

func roundTrips(e encounter.Encounter) []map[string]float64 {
	ids := e.AdmittedIDs()
	if len(ids) == 0 {
		ids = e.WaitingIDs()
	}
	rtts := make([]map[string]float64, 0, len(ids))
	for _, id := range ids {
		rtts = append(rtts, e.Participants[id].RTT)
	}
	return rtts
}
