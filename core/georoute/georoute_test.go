package georoute_test

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/wardline/wardline/core/georoute"
)

func TestRank(t *testing.T) {
	type rtts = []map[string]float64
	for _, c := range []struct {
		name            string
		regions, policy []string
		rtts            rtts
		want            []string
	}{
		{"nothing to rank", nil, []string{"eu"}, nil, []string{}},
		{"nobody measured: by name", []string{"us", "eu"}, nil, nil, []string{"eu", "us"}},
		{"nobody measured: by policy", []string{"eu", "us"}, []string{"us", "eu"}, nil, []string{"us", "eu"}},
		{"policy excludes", []string{"eu", "us", "asia"}, []string{"us", "eu"}, nil, []string{"us", "eu"}},
		{"a region listed twice counts once", []string{"eu", "us", "eu"}, nil, nil, []string{"eu", "us"}},
		{
			"one participant",
			[]string{"eu", "us"},
			nil,
			rtts{{"eu": 100, "us": 20}},
			[]string{"us", "eu"},
		},
		{
			"the worst counts, not the sum",
			[]string{"eu", "mid", "us"},
			nil,
			rtts{{"eu": 5, "mid": 60, "us": 110}, {"eu": 110, "mid": 65, "us": 5}},
			[]string{"mid", "eu", "us"},
		},
		{
			"measurements beat policy order",
			[]string{"eu", "us"},
			[]string{"eu", "us"},
			rtts{{"eu": 30, "us": 29}},
			[]string{"us", "eu"},
		},
		{
			"ties go by policy order",
			[]string{"a", "b", "c"},
			[]string{"c", "b", "a"},
			rtts{{"a": 30, "b": 30, "c": 30}},
			[]string{"c", "b", "a"},
		},
		{
			"an unmeasured region counts the default",
			[]string{"far", "near", "unknown"},
			nil,
			rtts{{"far": georoute.UnknownRTT + 1, "near": georoute.UnknownRTT - 1}},
			[]string{"near", "unknown", "far"},
		},
		{
			"who measured nothing has no say",
			[]string{"eu", "us"},
			nil,
			rtts{{"eu": 90, "us": 20}, nil, {}},
			[]string{"us", "eu"},
		},
		{
			"nonsense counts as unknown",
			[]string{"a", "b", "c", "ok"},
			nil,
			rtts{{"a": -1, "b": math.NaN(), "c": math.Inf(1), "ok": 149}},
			[]string{"ok", "a", "b", "c"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, georoute.Rank(c.regions, c.policy, c.rtts))
		})
	}
}

func TestRankIsIndependentOfInputOrderAndAllowsOnlyPolicy(t *testing.T) {
	names := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"})
	rapid.Check(t, func(t *rapid.T) {
		regions := rapid.SliceOf(names).Draw(t, "regions")
		policy := rapid.SliceOfDistinct(names, rapid.ID[string]).Draw(t, "policy")
		rtts := rapid.SliceOf(rapid.MapOf(names, rapid.Float64Range(0, 300))).Draw(t, "rtts")
		before := slices.Clone(regions)
		ranked := georoute.Rank(regions, policy, rtts)
		require.Equal(t, before, regions, "the input stays as it is")

		require.Equal(t, ranked, georoute.Rank(rapid.Permutation(regions).Draw(t, "shuffled"), policy, rtts))
		require.Len(t, slices.Compact(slices.Sorted(slices.Values(ranked))), len(ranked), "none twice")
		for _, region := range regions {
			allowed := len(policy) == 0 || slices.Contains(policy, region)
			require.Equal(t, allowed, slices.Contains(ranked, region))
		}
		for i := 1; i < len(ranked); i++ {
			require.LessOrEqual(t, worst(ranked[i-1], rtts), worst(ranked[i], rtts))
		}
	})
}

func worst(region string, rtts []map[string]float64) float64 {
	out := 0.0
	for _, measured := range rtts {
		if len(measured) == 0 {
			continue
		}
		rtt, ok := measured[region]
		if !ok {
			rtt = georoute.UnknownRTT
		}
		out = max(out, rtt)
	}
	return out
}
