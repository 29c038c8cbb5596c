package timeline_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/edge/drill/scenario"
	"github.com/wardline/wardline/edge/drill/timeline"
)

var zero = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// at is a time in milliseconds after the injection.
func at(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }

func TestParticipantsLinesBecomeEvents(t *testing.T) {
	t.Parallel()
	who := timeline.Person{Visit: "v", Participant: "a"}
	stamp := zero.Format(time.RFC3339Nano)
	for line, want := range map[string][]timeline.Event{
		`"event":"joined","gateway":"https://g","gateway_id":"east-gateway-1","state":"waiting"`: {
			{Kind: timeline.Connected, Gateway: "east-gateway-1", Text: "waiting"},
		},
		`"event":"joined","gateway":"https://g","state":"admitted","resumed":true`: {
			{Kind: timeline.Connected, Gateway: "https://g", Text: "resumed"},
		},
		`"event":"lost","gateway":"https://g","error":"silence"`: {{Kind: timeline.Disconnected, Text: "silence"}},
		`"event":"placed","sfu":"m","region":"east","epoch":2,"leg":2,"reason":"failover"`: {
			{Kind: timeline.Placed, SFU: "m", Region: "east", Epoch: 2, Text: "failover"},
		},
		`"event":"media","from":"b","source":"microphone","leg":1`: {{Kind: timeline.MediaOn, From: "b"}},
		`"event":"media","from":"b","source":"camera","leg":1`:     nil,
		`"event":"silent","from":"b","since":"2026-11-22T11:59:59Z"`: {
			{Kind: timeline.MediaOff, From: "b", Since: zero.Add(-time.Second)},
		},
		`"event":"silent","from":"b"`: nil,
		`"event":"gap","from":"b","start":"2026-11-22T11:59:59Z","end":"2026-11-22T12:00:00Z","ms":1000`: {
			{Kind: timeline.MediaOff, From: "b", Since: zero.Add(-time.Second)}, {Kind: timeline.MediaOn, From: "b"},
		},
		`"event":"gap","from":"b","start":"2026-11-22T12:00:00Z","end":"2026-11-22T12:00:00Z"`: nil,
		`"event":"stats","from":"b","packets":50,"path":"relay","relay":"192.0.2.4"`:           {{Kind: timeline.Note, Relay: "192.0.2.4"}},
		`"event":"stats","from":"b","packets":50,"path":"host"`:                                nil,
		`"event":"bye","code":"shutdown"`: {
			{Kind: timeline.Note, Text: "bye shutdown"},
		},
		`"event":"admitted"`:                   {{Kind: timeline.Note, Text: "admitted"}},
		`"event":"ended","code":"left"`:        {{Kind: timeline.Ended, Text: "left"}},
		`"event":"news","of":["the","future"]`: nil,
	} {
		got, err := timeline.Decode(who, []byte(`{"t":"`+stamp+`",`+line+`}`))
		require.NoError(t, err, line)
		for i := range want {
			want[i].At, want[i].Visit, want[i].Participant = zero, "v", "a"
		}
		require.Equal(t, want, got, line)
	}
	for _, line := range []string{
		``, `panic: x`, `[]`, `{}`, `{"t":"` + stamp + `"}`, `{"event":"media"}`, `{"t":5,"event":"media"}`,
		strings.Repeat(" ", timeline.MaxLine+1),
	} {
		_, err := timeline.Decode(who, []byte(line))
		require.ErrorIs(t, err, timeline.ErrEvent, line)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"t":"2026-11-22T12:00:00Z","event":"gap","from":"b","start":"2026-11-22T11:59:59Z","end":"2026-11-22T12:00:00Z"}`))
	f.Add([]byte(`{"t":"2026-11-22T12:00:00Z","event":"media","from":"b","source":"microphone"}`))
	f.Add([]byte(`{"t":"9999-12-31T23:59:59Z","event":"silent","from":"b","since":"0001-01-01T00:00:01Z"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		events, err := timeline.Decode(timeline.Person{Visit: "v", Participant: "a"}, line)
		if err != nil {
			require.ErrorIs(t, err, timeline.ErrEvent)
			return
		}
		events = append(events, events...)
		for _, v := range timeline.Views(events) {
			for _, g := range v.Gaps() {
				require.GreaterOrEqual(t, g.Length(g.From), time.Duration(0))
			}
		}
	})
}

// story makes events of short words: "300 a off b 100" is at 300 ms, a no longer hears b, whose last media came at 100 ms.
func story(t *testing.T, lines ...string) []timeline.Event {
	t.Helper()
	events := make([]timeline.Event, 0, len(lines))
	for _, line := range lines {
		words := strings.Fields(line)
		var ms, n int
		_, err := fmt.Sscan(words[0], &ms)
		require.NoError(t, err, line)
		e := timeline.Event{At: at(ms)}
		switch words[1] {
		case "inject", "injected", "heal", "healed", "whole", "end":
			e.Kind = timeline.Kind(words[1])
			events = append(events, e)
			continue
		}
		e.Visit, e.Participant = "v", words[1]
		switch words[2] {
		case "started":
			e.Kind = timeline.Started
		case "connected":
			e.Kind, e.Gateway = timeline.Connected, words[3]
		case "lost":
			e.Kind = timeline.Disconnected
		case "ended":
			e.Kind, e.Text = timeline.Ended, "crash"
		case "placed":
			_, err = fmt.Sscan(words[4], &n)
			require.NoError(t, err, line)
			e.Kind, e.SFU, e.Epoch, e.Region = timeline.Placed, words[3], uint64(n), words[3][:1]
		case "on":
			e.Kind, e.From = timeline.MediaOn, words[3]
		case "off":
			_, err = fmt.Sscan(words[4], &n)
			require.NoError(t, err, line)
			e.Kind, e.From, e.Since = timeline.MediaOff, words[3], at(n)
		default:
			require.Fail(t, line)
		}
		events = append(events, e)
	}
	return events
}

// calm is a visit of a and b on the SFU e1 before anything is broken.
var calm = []string{
	"-9000 a started", "-9000 b started", "-8000 a connected g1", "-8000 b connected g1",
	"-8000 a placed e1 1", "-8000 b placed e1 1", "-7000 a on b", "-7000 b on a",
	"0 inject", "50 injected",
}

func drillOf(targets scenario.Targets, joiners ...string) scenario.Drill {
	visit := scenario.Visit{Name: "v", Participants: []scenario.Participant{
		{Name: "a", Role: access.Provider, Joins: scenario.Before}, {Name: "b", Role: access.Patient, Joins: scenario.Before},
	}}
	for _, name := range joiners {
		visit.Participants = append(visit.Participants, scenario.Participant{Name: name, Role: access.Family, Joins: scenario.Outage})
	}
	if targets.RecoveredWithin == 0 {
		targets.RecoveredWithin = 10 * time.Second
	}
	if targets.WholeWithin == 0 {
		targets.WholeWithin = time.Minute
	}
	if targets.ResumedOn == "" {
		targets.ResumedOn = scenario.Anywhere
	}
	return scenario.Drill{Name: "d", Visits: []scenario.Visit{visit}, Targets: targets}
}

func span(ms int) *timeline.Span {
	s := timeline.Span(time.Duration(ms) * time.Millisecond)
	return &s
}

func within(d time.Duration) *time.Duration { return &d }

func TestVerdicts(t *testing.T) {
	t.Parallel()
	end := []string{"15000 heal", "15500 healed", "20000 whole", "25000 end"}
	failover := []string{
		"1100 a off b 10", "1200 b off a 20", "1500 a placed w1 2", "1600 b placed w1 2", "2000 a on b", "2500 b on a",
	}
	for _, c := range []struct {
		name    string
		targets scenario.Targets
		joiners []string
		after   []string
		end     []string
		missed  []string
		lost    int
		resumed int
	}{
		{name: "nobody notices", targets: scenario.Targets{LongestGap: within(0), ResumedOn: scenario.SameSFU, Signaling: true}},
		{
			name: "failover in time", after: failover, resumed: 1,
			targets: scenario.Targets{LongestGap: within(3 * time.Second), ResumedOn: scenario.AnotherSFU},
		},
		{name: "another region", after: failover, resumed: 1, targets: scenario.Targets{ResumedOn: scenario.AnotherRegion}},
		{
			name: "not where it should be", after: failover, resumed: 1, targets: scenario.Targets{ResumedOn: scenario.SameSFU},
			missed: []string{"resumed on same sfu"},
		},
		{
			name: "gap too long", after: failover, resumed: 1, targets: scenario.Targets{LongestGap: within(time.Second)},
			missed: []string{"longest media gap"},
		},
		{
			name: "media too late", after: failover, targets: scenario.Targets{RecoveredWithin: 2200 * time.Millisecond},
			lost: 1, missed: []string{"visits lost", "media again"},
		},
		{name: "never again", after: failover[:5], lost: 1, missed: []string{"visits lost", "media again"}},
		{name: "losing one is allowed", after: failover[:5], lost: 1, targets: scenario.Targets{Lost: 1}, missed: []string{"media again"}},
		{name: "a client ends", after: []string{"3000 b ended"}, lost: 1, missed: []string{"visits lost", "media again"}},
		{
			name: "gateway lost and resumed", after: []string{"100 a lost", "900 a connected g2"}, resumed: 1,
			targets: scenario.Targets{LongestGap: within(0), Signaling: true},
		},
		{
			name: "gateway lost for good", after: []string{"100 a lost"}, resumed: 1,
			targets: scenario.Targets{Signaling: true}, missed: []string{"signaling before healing"},
		},
		{
			name: "gap while healing", after: []string{"17000 a off b 15600", "18000 a on b"}, resumed: 1,
			targets: scenario.Targets{LongestGap: within(time.Second)}, missed: []string{"longest media gap"},
		},
		{
			name: "blips of a busy machine", resumed: 1, targets: scenario.Targets{LongestGap: within(300 * time.Millisecond)},
			after: []string{"4000 a off b 3800", "4000 a on b", "10150 b off a 9950", "10150 b on a"},
		},
		{name: "not whole", end: []string{"15000 heal", "15500 healed", "99000 end"}, missed: []string{"cluster healthy after healing"}},
		{
			name: "whole too late", end: []string{"15000 heal", "15500 healed", "90000 whole", "99000 end"},
			missed: []string{"cluster healthy after healing"},
		},
		{name: "together all the time", targets: scenario.Targets{RejoinedWithin: within(0)}},
		{
			name: "apart and together again", resumed: 1, targets: scenario.Targets{
				RejoinedWithin: within(3 * time.Second), LongestGap: within(time.Hour),
			},
			after: append([]string{"1500 a placed w1 2", "17000 a placed e1 3"}, "1100 a off b 10", "9000 a on b"),
		},
		{
			name: "together too late", resumed: 1, targets: scenario.Targets{RejoinedWithin: within(time.Second)},
			after: []string{"1500 a placed w1 2", "17000 a placed e1 3"}, missed: []string{"joined again after healing"},
		},
		{
			name: "apart for good", resumed: 1, targets: scenario.Targets{RejoinedWithin: within(time.Second)},
			after: []string{"1500 a placed w1 2"}, missed: []string{"joined again after healing"},
		},
		{
			name: "a joiner in time", joiners: []string{"c"}, targets: scenario.Targets{JoinedWithin: within(2 * time.Second)},
			after: []string{"300 c started", "700 c connected g1", "900 c placed e1 1", "1300 c on a"},
		},
		{
			name: "a joiner too late", joiners: []string{"c"}, targets: scenario.Targets{JoinedWithin: within(900 * time.Millisecond)},
			after: []string{
				"300 c started", "700 c connected g1", "900 c placed e1 1", "1300 c on a",
			}, missed: []string{"joined in the outage"},
		},
		{
			name: "a joiner without media", joiners: []string{"c"}, targets: scenario.Targets{JoinedWithin: within(time.Second)}, lost: 1,
			after: []string{"300 c started", "900 c ended"}, missed: []string{"visits lost", "joined in the outage"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			last := end
			if c.end != nil {
				last = c.end
			}
			lines := append(append(append([]string{}, calm...), c.after...), last...)
			r, err := timeline.Judge(drillOf(c.targets, c.joiners...), story(t, lines...))
			require.NoError(t, err)
			var missed []string
			for _, check := range r.Checks {
				if !check.Met {
					missed = append(missed, check.Name)
				}
			}
			require.Equal(t, c.missed, missed, "%+v", r.Checks)
			require.Equal(t, c.missed == nil, r.Met)
			require.Equal(t, c.lost, r.Lost)
			require.Equal(t, c.resumed, r.Resumed)
		})
	}
}

func TestFiguresOfAFailover(t *testing.T) {
	t.Parallel()
	r, err := timeline.Judge(drillOf(scenario.Targets{}), story(t, append(append([]string{}, calm...),
		"1100 a off b 10", "1200 b off a -20", "1500 a placed w1 2", "1600 b placed w1 2", "2000 a on b", "2500 b on a",
		"15000 heal", "15500 healed", "20000 whole", "25000 end")...))
	require.NoError(t, err)
	require.Equal(t, zero, r.InjectAt)
	require.Equal(t, span(50), r.Injected)
	require.Equal(t, span(1100), r.Detect, "the first sign at anybody")
	require.Equal(t, span(1500), r.Decide)
	require.Equal(t, timeline.Spread{N: 2, P50: *span(1500), P95: *span(1600), Max: *span(1600)}, r.Replaced)
	require.Equal(t, timeline.Spread{N: 2, P50: *span(2000), P95: *span(2500), Max: *span(2500)}, r.FirstMedia)
	require.Equal(t, *span(2500), r.LongestGap.Max, "counted from the injection where the last packet came before")
	require.Equal(t, []timeline.GapResult{{From: *span(10), To: *span(2000)}}, r.People[0].Gaps)
	require.Equal(t, "e1", r.People[0].Before.SFU)
	require.Equal(t, "w1", r.People[0].Outage.SFU)
	require.Equal(t, span(20000), r.WholeAfter)
	require.Equal(t, *span(25000), r.Observed)
}

func TestAGapIsATimeWithoutMediaFromAnybody(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lines []string
		want  []timeline.Gap
	}{
		"no media yet":  {[]string{"0 a started"}, nil},
		"never without": {[]string{"0 a on b"}, nil},
		"one goes":      {[]string{"0 a on b", "0 a on c", "500 a off b 100"}, nil},
		"both go": {
			[]string{"0 a on b", "0 a on c", "500 a off b 100", "600 a off c 200", "900 a on c"},
			[]timeline.Gap{{From: at(200), To: at(900)}},
		},
		"one comes late":  {[]string{"0 a on b", "500 a off b 100", "700 a on c"}, []timeline.Gap{{From: at(100), To: at(700)}}},
		"one after other": {[]string{"0 a on b", "0 a on c", "500 a off b 100", "600 a on b", "900 a off c 700"}, nil},
		"short ones": {
			[]string{"0 a on b", "0 a on c", "400 a off b 100", "400 a on b", "400 a off c 200", "400 a on c"},
			[]timeline.Gap{{From: at(200), To: at(400)}},
		},
		"goes on": {[]string{"0 a on b", "500 a off b 100"}, []timeline.Gap{{From: at(100)}}},
		"ended":   {[]string{"0 a on b", "500 a ended"}, []timeline.Gap{{From: at(500)}}},
		"told twice": {
			[]string{"0 a on b", "500 a off b 100", "800 a on b", "800 a off b 100", "800 a on b"},
			[]timeline.Gap{{From: at(100), To: at(800)}},
		},
		"again right away": {
			[]string{"0 a on b", "500 a off b 100", "800 a on b", "900 a off b 50", "950 a on b"},
			[]timeline.Gap{{From: at(100), To: at(800)}, {From: at(800), To: at(950)}},
		},
		"off unheard": {[]string{"0 a on b", "500 a off c 100"}, nil},
	} {
		views := timeline.Views(story(t, c.lines...))
		require.Equal(t, c.want, views[timeline.Person{Visit: "v", Participant: "a"}].Gaps(), name)
	}
}

func TestNothingToJudge(t *testing.T) {
	t.Parallel()
	_, err := timeline.Judge(drillOf(scenario.Targets{}), nil)
	require.ErrorIs(t, err, timeline.ErrNothingBroken)
	r, err := timeline.Judge(drillOf(scenario.Targets{}), story(t, "0 inject"))
	require.NoError(t, err)
	require.False(t, r.Met, "nobody ever had media")
	require.Equal(t, 1, r.Lost)
}

func TestSpansAreMillisecondsInJSON(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(span(1500))
	require.NoError(t, err)
	require.Equal(t, "1500", string(text))
	text, err = json.Marshal(timeline.Span(1234567))
	require.NoError(t, err)
	require.Equal(t, "1.234", string(text))
	var back timeline.Span
	require.NoError(t, json.Unmarshal([]byte("1500.5"), &back))
	require.Equal(t, timeline.Span(1500500*time.Microsecond), back)
	require.Error(t, json.Unmarshal([]byte(`"x"`), &back))
	require.Equal(t, "999 ms", span(999).String())
	require.Equal(t, "12.35 s", span(12345).String())
}
