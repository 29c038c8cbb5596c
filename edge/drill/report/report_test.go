package report_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/edge/drill"
	"github.com/wardline/wardline/edge/drill/report"
	"github.com/wardline/wardline/edge/drill/scenario"
	"github.com/wardline/wardline/edge/drill/timeline"
)

var update = flag.Bool("update", false, "write the golden page anew")

var zero = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }

func within(d time.Duration) *time.Duration { return &d }

// visit has two participants, and one who joins in the outage where asked for.
func visit(name string, joiner bool) scenario.Visit {
	v := scenario.Visit{Name: name, Regions: []string{"east", "west"}, Participants: []scenario.Participant{
		{Name: "clinician", Role: access.Provider, Joins: scenario.Before}, {Name: "patient", Role: access.Patient, Joins: scenario.Before},
	}}
	if joiner {
		v.Participants = append(v.Participants, scenario.Participant{Name: "family", Role: access.Family, Joins: scenario.Outage})
	}
	return v
}

// pair is what two participants notice of a media server's death that takes gap milliseconds; 0 for nothing.
func pair(visit string, gap int) []timeline.Event {
	var events []timeline.Event
	for i, who := range []string{"clinician", "patient"} {
		other := []string{"patient", "clinician"}[i]
		add := func(ms int, e timeline.Event) {
			e.At, e.Visit, e.Participant = at(ms), visit, who
			events = append(events, e)
		}
		add(-9000+i, timeline.Event{Kind: timeline.Started})
		add(-8600+i, timeline.Event{Kind: timeline.Connected, Gateway: "east-gateway-1", Text: "admitted"})
		add(-8200+i, timeline.Event{Kind: timeline.Placed, SFU: "east-media-1", Region: "east", Epoch: 1, Text: "admitted"})
		add(-7900+i, timeline.Event{Kind: timeline.MediaOn, From: other})
		if gap == 0 {
			continue
		}
		add(1015+i*3, timeline.Event{Kind: timeline.MediaOff, From: other, Since: at(12 + i)})
		add(gap/2+120*i, timeline.Event{Kind: timeline.Placed, SFU: "west-media-2", Region: "west", Epoch: 2, Text: "failover"})
		add(gap+180*i, timeline.Event{Kind: timeline.MediaOn, From: other})
	}
	return events
}

func marks(whole bool, action string) []timeline.Event {
	events := []timeline.Event{
		{At: at(0), Kind: timeline.Inject, Text: action},
		{At: at(30), Kind: timeline.Injected, Text: action},
		{At: at(10000), Kind: timeline.Heal},
		{At: at(10400), Kind: timeline.Healed},
		{At: at(28000), Kind: timeline.End},
	}
	if whole {
		events = append(events, timeline.Event{At: at(24000), Kind: timeline.Whole})
	}
	return events
}

func outcome(t *testing.T, d scenario.Drill, control, action string, events []timeline.Event) drill.Outcome {
	t.Helper()
	result, err := timeline.Judge(d, events)
	require.NoError(t, err)
	return drill.Outcome{
		Drill: d.Name, Control: control, Description: d.Description, Begin: at(-10000), Finish: at(29000), Actions: []string{action},
		Events: events, Result: &result, Passed: result.Met == (control == ""),
	}
}

// example is a report with everything that can be in one.
func example(t *testing.T) report.Report {
	t.Helper()
	killed := scenario.Drill{
		Name: "sfu-killed", Description: "A media server is killed (SIGKILL)",
		Visits: []scenario.Visit{visit("v-1", false), visit("v-2", false)},
		Targets: scenario.Targets{
			LongestGap: within(3 * time.Second), RecoveredWithin: 10 * time.Second, WholeWithin: time.Minute,
			ResumedOn: scenario.Anywhere, Signaling: true,
		},
	}
	kill := slices.Concat(pair("v-1", 2100), pair("v-2", 0), marks(true, "kill east-media-1 sfu"))
	strict := killed
	strict.Description, strict.Targets.LongestGap = "Negative control: a gap that no failover can be shorter than", within(time.Millisecond)

	joined := scenario.Drill{
		Name: "gateway-killed", Description: "A gateway process is killed", Visits: []scenario.Visit{visit("v", true)},
		Targets: scenario.Targets{
			LongestGap: within(300 * time.Millisecond), RecoveredWithin: 10 * time.Second, WholeWithin: 5 * time.Second,
			JoinedWithin: within(5 * time.Second), ResumedOn: scenario.SameSFU,
		},
	}
	quiet := slices.Concat(pair("v", 0), marks(true, "kill east-gateway-1 gateway"))
	for ms, e := range map[int]timeline.Event{
		700: {Kind: timeline.Started}, 1100: {Kind: timeline.Connected, Gateway: "east-gateway-2"},
		1300: {Kind: timeline.Placed, SFU: "east-media-1", Region: "east", Epoch: 1}, 1650: {Kind: timeline.MediaOn, From: "patient"},
	} {
		e.At, e.Visit, e.Participant = at(ms), "v", "family"
		quiet = append(quiet, e)
	}
	for ms, e := range map[int]timeline.Event{
		150: {Kind: timeline.Disconnected, Text: "closed"}, 420: {Kind: timeline.Connected, Gateway: "east-gateway-2", Text: "resumed"},
	} {
		e.At, e.Visit, e.Participant = at(ms), "v", "clinician"
		quiet = append(quiet, e)
	}
	slices.SortStableFunc(quiet, func(a, b timeline.Event) int { return a.At.Compare(b.At) })

	lost := killed
	lost.Name, lost.Description, lost.Visits = "region-lost", "The home region loses power", []scenario.Visit{visit("v", false)}
	gone := slices.Concat(pair("v", 2100)[:13], marks(false, "power-off east"))

	r := report.Report{
		Begin: at(-60000), Finish: at(200000), Versions: map[string]string{
			"wardline": "1.0.0", "consul": "1.22.5", "nomad": "1.11.3", "go": "1.26",
		},
		Host:      report.Host{OS: "linux", Arch: "amd64", CPUs: 2, Kernel: "6.12.1", MemoryBytes: 8 << 30},
		Scenarios: []report.Scenario{{File: "failure-table.hcl", SHA256: strings.Repeat("0a", 32)}},
		Runs: []drill.Outcome{
			outcome(t, killed, "", "kill east-media-1 sfu", kill),
			outcome(t, strict, "one-millisecond", "kill east-media-1 sfu", kill),
			outcome(t, joined, "", "kill east-gateway-1 gateway", quiet),
			outcome(t, lost, "", "power-off east", gone),
			{Drill: "relay-killed", Begin: at(0), Finish: at(1), Error: "the visits did not come about: <b>no gateway</b>"},
		},
	}
	r.Complete()
	return r
}

func TestThePageIsAsItWasReviewed(t *testing.T) {
	t.Parallel()
	var page bytes.Buffer
	require.NoError(t, example(t).HTML(&page))
	golden := filepath.Join("testdata", "report.html")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o750))
		require.NoError(t, os.WriteFile(golden, page.Bytes(), 0o600))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), page.String(), "look at the page, then: go test ./edge/drill/report -update")
}

func TestThePageIsCompleteInItself(t *testing.T) {
	t.Parallel()
	var page bytes.Buffer
	require.NoError(t, example(t).HTML(&page))
	text := page.String()
	for _, outside := range []string{"<script", "<link", "<img", "src=", "@import", "url(", "http:", "https:"} {
		require.NotContains(t, text, outside)
	}
	require.Contains(t, text, "&lt;b&gt;no gateway", "what others said is escaped")
	require.NotContains(t, text, "ZgotmplZ")
	ids := regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(text, -1)
	seen := map[string]bool{}
	for _, id := range ids {
		require.False(t, seen[id[1]], id[1])
		seen[id[1]] = true
	}
	for _, link := range regexp.MustCompile(`href="#([^"]*)"`).FindAllStringSubmatch(text, -1) {
		require.True(t, seen[link[1]], link[1])
	}
	require.Equal(t, strings.Count(text, "<table>"), strings.Count(text, "<thead>"))
}

func TestFilesAreWritten(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "report")
	r := example(t)
	require.NoError(t, r.Write(dir))
	text, err := os.ReadFile(filepath.Join(dir, report.JSONFile))
	require.NoError(t, err)
	var back report.Report
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, r, back, "JSON loses nothing")
	var raw map[string]any
	require.NoError(t, json.Unmarshal(text, &raw))
	require.Equal(t, report.Schema, raw["schema"])
	require.FileExists(t, filepath.Join(dir, report.HTMLFile))
	require.NoError(t, r.Write(dir), "an older report is replaced")
	file := filepath.Join(dir, report.JSONFile)
	require.Error(t, r.Write(file), "a file is no folder")
}

func TestVerdictOfAReport(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		report report.Report
		want   bool
	}{
		{report.Report{}, false},
		{report.Report{Runs: []drill.Outcome{{Passed: true}}}, true},
		{report.Report{Runs: []drill.Outcome{{Passed: true}, {}}}, false},
		{report.Report{Runs: []drill.Outcome{{Passed: true}}, Interrupted: true}, false},
	} {
		c.report.Complete()
		require.Equal(t, c.want, c.report.Passed, fmt.Sprint(c.report))
	}
	require.Positive(t, report.ThisHost().CPUs)
}
