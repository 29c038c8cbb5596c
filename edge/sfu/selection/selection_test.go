package selection_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/sfu/selection"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const three = 3

var start = time.Unix(1000, 0)

// microphones are people who are silent, but for those with a level, who speak now.
func microphones(now time.Time, speaking map[string]float64, silent ...string) []selection.Microphone {
	var all []selection.Microphone
	for id, level := range speaking {
		all = append(all, selection.Microphone{Participant: id, Level: level, Spoke: now})
	}
	for _, id := range silent {
		all = append(all, selection.Microphone{Participant: id})
	}
	return all
}

func TestWhoSpeaksIsHeard(t *testing.T) {
	var v selection.Voices
	silent := []string{"a", "b", "c", "d", "e", "f"}
	require.Equal(t, []string{"a", "b", "c", "d"}, v.Choose(start, three, microphones(start, nil, silent...)), "nobody has spoken")
	heard := v.Choose(start, three, microphones(start, map[string]float64{"f": 80}, silent[:5]...))
	require.Contains(t, heard[:three], "f")

	all := map[string]float64{"f": 80, "e": 70, "d": 75}
	heard = slices.Clone(v.Choose(start, three, microphones(start, all, "a", "b", "c")))
	require.ElementsMatch(t, []string{"d", "e", "f"}, heard[:three])
	all["a"] = 75
	again := v.Choose(start, three, microphones(start, all, "b", "c"))
	require.Equal(t, heard[:three], again[:three], "a fourth who is as loud waits for a pause")
	require.Equal(t, "a", again[three], "those who are heard hear the fourth")
	all["a"] = 77
	again = v.Choose(start, three, microphones(start, all, "b", "c"))
	require.ElementsMatch(t, []string{"a", "d", "f"}, again[:three], "the softest makes room for who is much louder")
}

func TestAPauseCostsNobodyTheirPlace(t *testing.T) {
	var v selection.Voices
	people := func(now, paused time.Time) []selection.Microphone {
		return []selection.Microphone{
			{Participant: "a", Level: 40, Spoke: paused},
			{Participant: "b", Level: 70, Spoke: now},
			{Participant: "c", Level: 70, Spoke: now},
			{Participant: "d", Level: 44, Spoke: now},
		}
	}
	v.Choose(start, three, people(start, start)[:three])
	for _, step := range []struct {
		after time.Duration
		heard string
	}{{0, "a"}, {900 * time.Millisecond, "a"}, {1100 * time.Millisecond, "d"}} {
		now := start.Add(step.after)
		require.Contains(t, v.Choose(now, three, people(now, start))[:three], step.heard, step.after)
	}
}

// conversation draws people and what they say, and calls look with each choice.
func conversation(r *rapid.T, look func(now time.Time, limit int, among []selection.Microphone, before, after []string)) {
	var v selection.Voices
	limit := rapid.IntRange(1, 5).Draw(r, "limit")
	spoke, now := map[string]time.Time{}, start
	var before []string
	for range rapid.IntRange(1, 40).Draw(r, "ticks") {
		now = now.Add(100 * time.Millisecond)
		var among []selection.Microphone
		for i := range rapid.IntRange(0, 12).Draw(r, "people") {
			id := fmt.Sprintf("p%d", i)
			level := rapid.Float64Range(0, 127).Draw(r, "level")
			if rapid.Bool().Draw(r, "speaks") {
				spoke[id] = now
			}
			among = append(among, selection.Microphone{Participant: id, Level: level, Spoke: spoke[id]})
		}
		after := slices.Clone(v.Choose(now, limit, among))
		look(now, limit, among, before, after)
		require.Equal(r, after, v.Choose(now, limit, among), "the same again changes nothing")
		before = after
	}
}

func TestChoicesAreSound(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		conversation(r, func(now time.Time, limit int, among []selection.Microphone, before, after []string) {
			require.Len(r, after, min(limit+1, len(among)), "no place is free while there is somebody")
			known := map[string]selection.Microphone{}
			for _, m := range among {
				known[m.Participant] = m
			}
			seen := map[string]bool{}
			for _, id := range after {
				require.Contains(r, known, id)
				require.False(r, seen[id], "twice")
				seen[id] = true
			}
			main := after[:min(limit, len(after))]
			speaking := func(m selection.Microphone) bool { return now.Sub(m.Spoke) <= 250*time.Millisecond }
			holding := func(m selection.Microphone) bool { return now.Sub(m.Spoke) <= time.Second }
			softest := 127.0
			for _, id := range main {
				softest = min(softest, known[id].Level)
			}
			for _, m := range among {
				in := slices.Contains(main, m.Participant)
				was := slices.Contains(before[:min(limit, len(before))], m.Participant)
				if !in && speaking(m) {
					for _, id := range main {
						require.True(r, holding(known[id]), "%s is silent and keeps out %s, who speaks", id, m.Participant)
					}
					require.LessOrEqual(r, m.Level, softest+6, "%s is much louder than one who is heard", m.Participant)
				}
				if was && !in && holding(m) {
					louder := func(id string) bool { return known[id].Level > m.Level+6 && !slices.Contains(before, id) }
					promoted := func(id string) bool { return known[id].Level > m.Level+6 }
					require.True(r, slices.ContainsFunc(main, louder) || slices.ContainsFunc(main, promoted),
						"%s was cut off by nobody louder", m.Participant)
				}
			}
		})
	})
}

func TestWhoIsHeardKeepsTheirPlace(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		conversation(r, func(_ time.Time, limit int, among []selection.Microphone, before, after []string) {
			here := func(id string) bool {
				return slices.ContainsFunc(among, func(m selection.Microphone) bool { return m.Participant == id })
			}
			if slices.ContainsFunc(before, func(id string) bool { return !here(id) }) || len(before) == 0 {
				return // who leaves makes the others move up
			}
			for i, id := range after[:min(limit, len(after))] {
				if at := slices.Index(before[:min(limit, len(before))], id); at >= 0 {
					require.Equal(r, at, i, "%s moved", id)
				}
			}
		})
	})
}

func TestTheFloorIsOrderedByWhoSpokeLast(t *testing.T) {
	var f selection.Floor
	all := []string{"a", "b", "c", "d"}
	require.Equal(t, all, f.Order("", all))
	require.Equal(t, []string{"c", "a", "b", "d"}, f.Order("c", all))
	require.Equal(t, []string{"d", "c", "a", "b"}, f.Order("d", all))
	require.Equal(t, []string{"d", "c", "a", "b"}, f.Order("", all), "silence changes nothing")
	require.Equal(t, []string{"c", "a", "b", "e"}, f.Order("gone", []string{"e", "a", "b", "c"}))
	rapid.Check(t, func(r *rapid.T) {
		var f selection.Floor
		for range rapid.IntRange(1, 10).Draw(r, "changes") {
			present := rapid.SliceOfDistinct(rapid.StringMatching(`[a-f]`), func(s string) string { return s }).Draw(r, "present")
			speaker := rapid.StringMatching(`[a-f]?`).Draw(r, "speaker")
			order := slices.Clone(f.Order(speaker, present))
			require.ElementsMatch(r, present, order)
			if slices.Contains(present, speaker) {
				require.Equal(r, speaker, order[0])
			}
		}
	})
}

type view map[selection.Video]selection.Attention

func camera(of string) selection.Video {
	return selection.Video{Participant: of, Source: signaling.Camera}
}

func TestVideos(t *testing.T) {
	screen := selection.Video{Participant: "e", Source: signaling.Screen}
	among := []selection.Video{camera("a"), camera("b"), camera("c"), camera("d"), screen}
	for name, test := range map[string]struct {
		limit int
		view  view
		want  []selection.Video
	}{
		"who says nothing":       {9, nil, []selection.Video{screen, camera("a")}},
		"what is seen":           {9, view{camera("c"): selection.Seen}, []selection.Video{screen, camera("a"), camera("c")}},
		"the speaker is hidden":  {9, view{camera("a"): selection.Hidden}, []selection.Video{screen, camera("b")}},
		"the screen is hidden":   {9, view{screen: selection.Hidden}, []selection.Video{camera("a")}},
		"pinned":                 {1, view{camera("d"): selection.Pinned}, []selection.Video{camera("d")}},
		"screens before cameras": {1, nil, []selection.Video{screen}},
		"no more than there are places for": {
			3, view{
				camera("a"): selection.Seen, camera("b"): selection.Seen, camera("c"): selection.Seen, camera("d"): selection.Seen,
			}, []selection.Video{screen, camera("a"), camera("b")},
		},
		"none": {0, nil, []selection.Video{}},
	} {
		t.Run(name, func(t *testing.T) {
			got := selection.Videos(test.limit, among, func(v selection.Video) selection.Attention { return test.view[v] })
			require.Equal(t, test.want, got)
		})
	}
}

func TestVideosAreSound(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		among := rapid.SliceOfDistinct(rapid.Custom(func(r *rapid.T) selection.Video {
			source := rapid.SampledFrom([]signaling.Source{signaling.Camera, signaling.Screen}).Draw(r, "source")
			return selection.Video{Participant: rapid.StringMatching(`[a-j]`).Draw(r, "of"), Source: source}
		}), func(v selection.Video) selection.Video { return v }).Draw(r, "among")
		looks := view{}
		for _, v := range among {
			looks[v] = selection.Attention(rapid.IntRange(0, 3).Draw(r, "attention"))
		}
		limit := rapid.IntRange(0, 12).Draw(r, "limit")
		chosen := selection.Videos(limit, among, func(v selection.Video) selection.Attention { return looks[v] })
		require.LessOrEqual(r, len(chosen), limit)
		seen := map[selection.Video]bool{}
		for _, v := range chosen {
			require.Contains(r, among, v)
			require.NotEqual(r, selection.Hidden, looks[v])
			require.False(r, seen[v], "twice")
			seen[v] = true
		}
		for _, v := range among {
			if len(chosen) < limit && looks[v] >= selection.Seen {
				require.True(r, seen[v], "there was a place for %v", v)
			}
			if looks[v] == selection.Pinned && !seen[v] {
				for other := range seen {
					require.Equal(r, selection.Pinned, looks[other], "%v took a pinned one's place", other)
				}
			}
		}
	})
}
