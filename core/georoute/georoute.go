// Package georoute ranks regions for an encounter by the round-trip times its participants measured.
package georoute

import (
	"cmp"
	"math"
	"slices"
)

// UnknownRTT is what a region counts that a participant has not measured, in milliseconds: worse than
// anything on the same continent, better than a region known to be far.
const UnknownRTT = 150.0

// Rank orders regions so that the first minimises the worst participant's round-trip time. Ties go by the order
// of policy, then by name.
//
// policy lists the allowed regions, the preferred one first; empty means any. Each element of rtts is what one
// participant measured, milliseconds by region; a region missing there, or with a value that is negative or not
// finite, counts UnknownRTT. A participant who measured nothing at all has no say: counted as
// UnknownRTT everywhere, they would hide what the others measured.
func Rank(regions, policy []string, rtts []map[string]float64) []string {
	ranked := make([]string, 0, len(regions))
	for _, region := range regions {
		if len(policy) == 0 || slices.Contains(policy, region) {
			ranked = append(ranked, region)
		}
	}
	slices.Sort(ranked)
	ranked = slices.Compact(ranked)
	worst := make(map[string]float64, len(ranked))
	for _, region := range ranked {
		worst[region] = worstRTT(region, rtts)
	}
	slices.SortFunc(ranked, func(a, b string) int {
		return cmp.Or(
			cmp.Compare(worst[a], worst[b]),
			cmp.Compare(slices.Index(policy, a), slices.Index(policy, b)),
			cmp.Compare(a, b),
		)
	})
	return ranked
}

func worstRTT(region string, rtts []map[string]float64) float64 {
	worst := 0.0
	for _, measured := range rtts {
		if len(measured) == 0 {
			continue
		}
		rtt, ok := measured[region]
		if !ok || rtt < 0 || math.IsNaN(rtt) || math.IsInf(rtt, 1) {
			rtt = UnknownRTT
		}
		worst = max(worst, rtt)
	}
	return worst
}
