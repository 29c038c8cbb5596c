package placement

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
	"strconv"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/georoute"
)

// loadStep is how coarsely loads are compared: a smaller difference is noise, and following it would send every
// visit of the next second to one SFU.
const loadStep = 0.1

// Candidate is an SFU that could host an encounter.
type Candidate struct {
	Region string
	// SFU is its service id, Control the HOST:PORT of its control channel.
	SFU     string
	Control string
	// Load is its participants as a share of its capacity, 0 if it is not known.
	Load float64
}

// Known is what the caller has heard from an SFU itself, which is newer than what the catalog says. The zero value is
// that of an SFU it has nothing to do with.
type Known struct {
	// Load is its participants as a share of its capacity, if Heard.
	Load  float64
	Heard bool
	// Dead says that it does not answer, Draining that it refuses new encounters.
	Dead, Draining bool
}

// candidate is a Candidate with what decides its rank.
type candidate struct {
	Candidate
	unlikely bool
	step     float64
	lot      uint64
}

// Rank lists the SFUs among services that could host e, the best first: by region, then the least loaded in steps
// of a tenth, then by a lot that each encounter draws for each SFU, so that equals share the visits. It leaves out
// what is excluded (by service id), critical, in maintenance, in a region that policy does not allow, or without a
// control address. A full SFU stays in: it decides itself. Those that known calls dead or draining come last, whatever
// their region: they are asked when nobody else takes the visit. known may be nil.
//
// Regions go as georoute ranks them, but those that answer before those of which only the last known state is at
// hand: without its own Consul a gateway has only such regions, so they are not left out. The round-trip times that
// count are those of admitted participants; while nobody is admitted, of those who wait.
func Rank(
	services []discovery.Service, e encounter.Encounter, exclude map[string]bool, known func(sfu string) Known,
) []Candidate {
	if known == nil {
		known = func(string) Known { return Known{} }
	}
	var found []candidate
	var regions []string
	stale := make(map[string]bool)
	for _, s := range services {
		if !eligible(s, e) || exclude[s.ID] {
			continue
		}
		found = append(found, weigh(s, e.Key, known(s.ID)))
		regions = append(regions, s.Region)
		stale[s.Region] = stale[s.Region] || s.Stale
	}
	order := regionOrder(georoute.Rank(regions, e.Regions, roundTrips(e)), stale)
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(
			compareBool(a.unlikely, b.unlikely),
			cmp.Compare(order[a.Region], order[b.Region]),
			cmp.Compare(a.step, b.step),
			cmp.Compare(a.lot, b.lot),
			cmp.Compare(a.SFU, b.SFU),
		)
	})
	ranked := make([]Candidate, 0, len(found))
	for _, c := range found {
		ranked = append(ranked, c.Candidate)
	}
	return ranked
}

// regionOrder gives each region its place: the fresh ones as ranked, then the stale ones as ranked.
func regionOrder(ranked []string, stale map[string]bool) map[string]int {
	ranked = slices.Clone(ranked)
	slices.SortStableFunc(ranked, func(a, b string) int { return compareBool(stale[a], stale[b]) })
	order := make(map[string]int, len(ranked))
	for i, region := range ranked {
		order[region] = i
	}
	return order
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func eligible(s discovery.Service, e encounter.Encounter) bool {
	return s.Name == discovery.SFUService && s.Health != discovery.Critical && !s.Maintenance &&
		s.Meta[discovery.MetaControl] != "" && e.Allows(s.Region)
}

func weigh(s discovery.Service, key encounter.Key, known Known) candidate {
	load := announcedLoad(s)
	if known.Heard {
		load = known.Load
	}
	return candidate{
		Candidate: Candidate{Region: s.Region, SFU: s.ID, Control: s.Meta[discovery.MetaControl], Load: load},
		unlikely:  known.Dead || known.Draining,
		step:      math.Floor(load/loadStep + 1e-9), // 0.3/0.1 is a little less than 3
		lot:       lot(key, s.ID),
	}
}

// announcedLoad is what the catalog says; one that does not say, or says nonsense, is not kept from visits for that.
func announcedLoad(s discovery.Service) float64 {
	load, err := strconv.ParseFloat(s.Meta[discovery.MetaLoad], 64)
	if err != nil || math.IsNaN(load) || load < 0 {
		return 0
	}
	return load
}

// lot is a rendezvous hash: every gateway draws the same, and a new SFU takes its share from all others alike.
func lot(key encounter.Key, sfu string) uint64 {
	sum := sha256.Sum256([]byte(key.Tenant + "\x00" + key.ID + "\x00" + sfu))
	return binary.BigEndian.Uint64(sum[:])
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
