package scenario_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/edge/drill/scenario"
)

// whole uses everything a scenario may hold.
const whole = `drill "whole" {
  description = "everything"
  baseline    = "4s"
  hold        = "7s"
  settle      = "2s"
  visit "v" {
    count   = 2
    regions = ["east", "west"]
    rtt     = { east = 5, west = 30 }
    participant "clinician" {
      role    = "provider"
      at      = "west-guest-1"
      gateway = "west"
    }
    participant "patient" {
      role  = "patient"
      relay = true
    }
    participant "family" {
      role  = "family"
      joins = "outage"
    }
  }
  visit "new" {
    participant "clinician" {
      role  = "provider"
      joins = "outage"
    }
    participant "patient" {
      role  = "patient"
      joins = "outage"
    }
  }
  inject {
    verb    = "kill"
    target  = visit.v-1.sfu.node
    process = "sfu"
    after   = "2s"
  }
  inject {
    verb   = "cut"
    target = "${visit.v-1.participant.patient.relay.region}-server"
    peer   = visit.v-2.home
  }
  targets {
    longest_gap      = "300ms"
    recovered_within = "10s"
    joined_within    = "9s"
    rejoined_within  = "8s"
    whole_within     = "1m"
    lost             = 1
    signaling        = true
    resumed_on       = "another sfu"
  }
  control "other-targets" {
    description = "must fail"
    targets {
      longest_gap = "1ms"
    }
  }
  control "other-injection" {
    inject {
      verb   = "power-off"
      target = "east"
    }
  }
}
`

func TestAWholeScenario(t *testing.T) {
	t.Parallel()
	file, err := scenario.Parse("whole.hcl", []byte(whole))
	require.NoError(t, err)
	require.Len(t, file.SHA256, 64)
	require.Len(t, file.Drills, 1)
	d := file.Drills[0]
	require.Equal(t, "whole", d.Name)
	require.Equal(t, 4*time.Second, d.Baseline)
	require.Equal(t, 7*time.Second, d.Hold)
	require.Equal(t, 2*time.Second, d.Settle)

	require.Len(t, d.Visits, 3, "two of v and one new")
	v := d.Visits[0]
	require.Equal(t, "v-1", v.Name)
	require.Equal(t, "east", v.Home())
	require.False(t, v.InOutage())
	require.Equal(t, map[string]int{"east": 5, "west": 30}, v.RTT)
	require.Equal(
		t,
		scenario.Participant{Name: "clinician", Role: "provider", At: "west-guest-1", Gateway: "west", Joins: scenario.Before},
		v.Participants[0],
	)
	require.True(t, v.Participants[1].Relay)
	require.Equal(t, scenario.Outage, v.Participants[2].Joins)
	require.True(t, d.Visits[2].InOutage())
	require.Empty(t, d.Visits[2].Home())

	require.Equal(t, "cut", d.Injections[0].Verb.Name, "ordered by time")
	require.Equal(t, "kill visit.v-1.sfu.node sfu", d.Injections[1].Text)
	require.Equal(t, 2*time.Second, d.Injections[1].After)
	require.Equal(t, 300*time.Millisecond, *d.Targets.LongestGap)
	require.Equal(t, 9*time.Second, *d.Targets.JoinedWithin)
	require.Equal(t, 8*time.Second, *d.Targets.RejoinedWithin)
	require.Equal(t, time.Minute, d.Targets.WholeWithin)
	require.Equal(t, 1, d.Targets.Lost)
	require.True(t, d.Targets.Signaling)
	require.Equal(t, scenario.AnotherSFU, d.Targets.ResumedOn)

	control := d.Controls[0].AsDrill(d)
	require.Equal(t, time.Millisecond, *control.Targets.LongestGap)
	require.Equal(t, 10*time.Second, control.Targets.RecoveredWithin, "the drill's own where the control says nothing")
	require.Len(t, control.Injections, 2)
	require.Equal(t, "must fail", control.Description)
	require.Equal(t, "power-off east", d.Controls[1].AsDrill(d).Injections[0].Text)
}

func TestDrillsHaveTheTimesOfTheirFile(t *testing.T) {
	t.Parallel()
	text := "baseline = \"1s\"\nhold = \"9s\"\nsettle = \"500ms\"\n" + whole + strings.Replace(strings.NewReplacer(
		`"whole"`, `"other"`, `baseline    = "4s"`, "", `settle      = "2s"`, "").Replace(whole), `hold        = "7s"`, "", 1)
	file, err := scenario.Parse("whole.hcl", []byte(text))
	require.NoError(t, err)
	own, others := file.Drills[0], file.Drills[1]
	require.Equal(t, []time.Duration{4 * time.Second, 7 * time.Second, 2 * time.Second},
		[]time.Duration{own.Baseline, own.Hold, own.Settle})
	require.Equal(t, []time.Duration{time.Second, 9 * time.Second, 500 * time.Millisecond},
		[]time.Duration{others.Baseline, others.Hold, others.Settle})
}

func TestInjectionsAreAboutWhereTheVisitsAre(t *testing.T) {
	t.Parallel()
	file, err := scenario.Parse("whole.hcl", []byte(whole))
	require.NoError(t, err)
	d := file.Drills[0]
	media := scenario.Server{ID: "m", Node: "east-media-1", Region: "east"}
	relay := scenario.Server{ID: "r", Node: "west-relay-1", Region: "west"}
	facts := scenario.Facts{Visits: map[string]scenario.VisitFacts{
		"v-1": {SFU: media, Home: "east", Participants: map[string]scenario.ParticipantFacts{"patient": {Relay: relay}}},
		"v-2": {SFU: media, Home: "east"},
	}}
	cut, err := d.Injections[0].Resolve(facts)
	require.NoError(t, err)
	require.Equal(t, "cut west-server east", cut.String())
	kill, err := d.Injections[1].Resolve(facts)
	require.NoError(t, err)
	require.Equal(t, "kill east-media-1 sfu", kill.String())
	require.Equal(t, "sfu", kill.Object())

	delete(facts.Visits, "v-2")
	_, err = d.Injections[0].Resolve(facts)
	require.ErrorIs(t, err, scenario.ErrInvalid)
	facts.Visits["v-1"] = scenario.VisitFacts{}
	_, err = d.Injections[1].Resolve(facts)
	require.ErrorIs(t, err, scenario.ErrInvalid)
	require.ErrorContains(t, err, "whole.hcl:36")
	require.ErrorContains(t, err, "no such server")
}

// minimal is a scenario whose parts the next test replaces.
const minimal = `drill "d" {
  visit "v" {
    participant "a" {
      role = "provider"
    }
    participant "b" {
      role = "patient"
    }
  }
  inject {
    verb   = "power-off"
    target = "east"
  }
}
`

func TestMistakesAreToldWithTheirPlace(t *testing.T) {
	t.Parallel()
	_, err := scenario.Parse("minimal.hcl", []byte(minimal))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		old, new string
		says     []string
	}{
		"syntax":              {`"east"`, `"east`, []string{"x.hcl:12"}},
		"no drill":            {minimal, ``, []string{"x.hcl:1", "no drill"}},
		"unknown key":         {`role = "patient"`, "role = \"patient\"\n relai = true", []string{"x.hcl:8", `"relai"`, `"relay"`}},
		"unknown block":       {`inject {`, "broken {}\n inject {", []string{"x.hcl:10", `"broken"`}},
		"unknown verb":        {`"power-off"`, `"explode"`, []string{"x.hcl:11", `"explode"`, "kill, pause, cut"}},
		"unknown role":        {`"patient"`, `"nurse"`, []string{"x.hcl:7", `"nurse"`, "provider, patient"}},
		"unknown participant": {`"east"`, `visit.v.participant.c.gateway.node`, []string{"x.hcl:12", `"c"`}},
		"unknown visit":       {`"east"`, `visit.w.sfu.node`, []string{"x.hcl:12", `"w"`}},
		"unknown variable":    {`"east"`, `east`, []string{"x.hcl:12", "east"}},
		"target no name":      {`"east"`, `"east west"`, []string{"x.hcl:12", "one name"}},
		"target no string":    {`"east"`, `["east"]`, []string{"x.hcl:12", "one name"}},
		"needs a process":     {`"power-off"`, `"kill"`, []string{"x.hcl:10", "kill needs process"}},
		"takes no process":    {`"east"`, "\"east\"\n process = \"sfu\"", []string{"x.hcl:13", "power-off takes no process"}},
		"takes no peer":       {`"east"`, "\"east\"\n peer = \"west\"", []string{"x.hcl:13", "takes no peer"}},
		"no injection": {
			"inject {\n    verb   = \"power-off\"\n    target = \"east\"\n  }", "", []string{"x.hcl:1", "breaks nothing"},
		},
		"no provider":       {`"provider"`, `"family"`, []string{"x.hcl:2", "nobody who lets patients in"}},
		"provider too late": {`role = "provider"`, "role = \"provider\"\n joins = \"outage\"", []string{"x.hcl:2", "joins first"}},
		"nobody notices":    {`role = "patient"`, "role = \"patient\"\n joins = \"outage\"", nil},
		"joins when": {
			`role = "patient"`, "role = \"patient\"\n joins = \"later\"", []string{"x.hcl:8", `"later"`, "before, outage"},
		},
		"relay no boolean":  {`role = "patient"`, "role = \"patient\"\n relay = \"yes\"", []string{"x.hcl:8", "true or false"}},
		"at no name":        {`role = "patient"`, "role = \"patient\"\n at = \"a b\"", []string{"x.hcl:8", `"a b"`}},
		"gateway plain":     {`role = "patient"`, "role = \"patient\"\n gateway = \"http://x\"", []string{"x.hcl:8", "https://"}},
		"role no string":    {`role = "patient"`, `role = 5`, []string{"x.hcl:7", "must be a string"}},
		"role null":         {`role = "patient"`, `role = null`, []string{"x.hcl:7", "must have a value"}},
		"alone":             {"participant \"b\" {\n      role = \"patient\"\n    }", "", []string{"x.hcl:2", "media needs two"}},
		"same participant":  {`participant "b"`, `participant "a"`, []string{"x.hcl:6", "unique"}},
		"bad name":          {`participant "b"`, `participant "b b"`, []string{"x.hcl:6", `"b b"`}},
		"count zero":        {`visit "v" {`, "visit \"v\" {\n count = 0", []string{"x.hcl:3", "1 to 100"}},
		"count half":        {`visit "v" {`, "visit \"v\" {\n count = 1.5", []string{"x.hcl:3", "whole number"}},
		"too many":          {`visit "v" {`, "visit \"v\" {\n count = 51", []string{"x.hcl:1", "102 participants"}},
		"regions no list":   {`visit "v" {`, "visit \"v\" {\n regions = \"east\"", []string{"x.hcl:3", "list"}},
		"regions twice":     {`visit "v" {`, "visit \"v\" {\n regions = [\"e\", \"e\"]", []string{"x.hcl:3", "each once"}},
		"rtt no object":     {`visit "v" {`, "visit \"v\" {\n rtt = 5", []string{"x.hcl:3", "by name"}},
		"rtt negative":      {`visit "v" {`, "visit \"v\" {\n rtt = { east = -1 }", []string{"x.hcl:3", `"east"`, "10000"}},
		"duration":          {`inject {`, "baseline = \"5 minutes\"\n inject {", []string{"x.hcl:10", `"5 minutes"`, "300ms"}},
		"duration negative": {`inject {`, "baseline = \"-1s\"\n inject {", []string{"x.hcl:10", `"-1s"`}},
		"duration long":     {`inject {`, "baseline = \"2h\"\n inject {", []string{"x.hcl:10", "1h0m0s"}},
		"duration number":   {`inject {`, "baseline = 5\n inject {", []string{"x.hcl:10", "must be a string"}},
		"duration empty":    {`inject {`, "baseline = \"\"\n inject {", []string{"x.hcl:10", `""`}},
		"hold short":        {`inject {`, "hold = \"1s\"\n inject {", []string{"x.hcl:10", "2s or more"}},
		"two targets":       {`inject {`, "targets {}\n targets {}\n inject {", []string{"x.hcl:11", "one is allowed"}},
		"placement": {
			`inject {`, "targets {\n resumed_on = \"mars\"\n}\n inject {", []string{"x.hcl:11", `"mars"`, "another sfu"},
		},
		"empty control": {`inject {`, "control \"c\" {}\n inject {", []string{"x.hcl:10", "the drill itself"}},
		"same drill":    {minimal, minimal + minimal, []string{"x.hcl:15", "a second drill"}},
		"same visit":    {`inject {`, "visit \"v\" {}\n inject {", []string{"x.hcl:10", "a second visit"}},
		"same control": {
			`inject {`, "control \"c\" {\n targets {}\n}\n control \"c\" {\n targets {}\n}\n inject {",
			[]string{"x.hcl:13", "a second control"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := strings.Replace(minimal, c.old, c.new, 1)
			require.NotEqual(t, minimal, text)
			_, err := scenario.Parse("x.hcl", []byte(text))
			if c.says == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, scenario.ErrInvalid)
			for _, part := range c.says {
				require.ErrorContains(t, err, part)
			}
		})
	}
}

func TestAVisitThatNobodyIsInBeforeNoticesNothing(t *testing.T) {
	t.Parallel()
	text := strings.ReplaceAll(minimal, "role =", "joins = \"outage\"\n role =")
	_, err := scenario.Parse("x.hcl", []byte(text))
	require.ErrorContains(t, err, "nobody who can notice")
}

func TestAFilesVisitsAreThoseOfItsDrills(t *testing.T) {
	people := func(name string) string {
		return `visit "` + name + `" {
  participant "clinician" { role = "provider" }
  participant "patient" { role = "patient" }
}
`
	}
	const inject = `inject {
  verb   = "kill"
  target = visit.v.sfu.node
  process = "sfu"
}
`
	file, err := scenario.Parse("x.hcl", []byte(people("v")+people("w")+
		"drill \"theirs\" {\n"+inject+"}\n"+
		"drill \"own\" {\n"+strings.Replace(people("w"), `visit "w" {`, "visit \"w\" {\ncount = 2", 1)+people("x")+inject+"}\n"))
	require.NoError(t, err)
	names := func(d scenario.Drill) (names []string) {
		for _, v := range d.Visits {
			names = append(names, v.Name)
		}
		return names
	}
	require.Equal(t, []string{"v", "w"}, names(file.Drills[0]))
	require.Equal(t, []string{"v", "w-1", "w-2", "x"}, names(file.Drills[1]), "one of the same name is replaced")
}

func TestFilesAreLoaded(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "d.hcl")
	_, err := scenario.Load(name)
	require.ErrorIs(t, err, scenario.ErrInvalid)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(name, []byte(minimal), 0o600))
	file, err := scenario.Load(name)
	require.NoError(t, err)
	require.Equal(t, name, file.Name)
	require.NoError(t, os.WriteFile(name, make([]byte, scenario.MaxBytes+1), 0o600))
	_, err = scenario.Load(name)
	require.ErrorContains(t, err, "at most")
	_, err = scenario.Parse(name, make([]byte, scenario.MaxBytes+1))
	require.ErrorIs(t, err, scenario.ErrInvalid)
}

func TestTheProductsOwnScenariosAreValid(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("../../../test/drills/*.hcl")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	controls := 0
	for _, name := range names {
		file, err := scenario.Load(name)
		require.NoError(t, err)
		for _, d := range file.Drills {
			require.NotEmpty(t, d.Description, d.Name)
			controls += len(d.Controls)
		}
	}
	require.Positive(t, controls, "a drill that cannot fail shows nothing")
}

func TestVerbsSayWhatTheyDo(t *testing.T) {
	t.Parallel()
	for _, v := range scenario.Verbs() {
		require.Contains(t, v.Does, "TARGET", v.Name)
		found, ok := scenario.FindVerb(v.Name)
		require.True(t, ok)
		require.Equal(t, v, found)
	}
	_, ok := scenario.FindVerb("explode")
	require.False(t, ok)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte(minimal))
	f.Add([]byte(`drill "a" { visit "v" { count = 1e99 regions = [null] rtt = { "" = null } } }`))
	f.Add([]byte(`drill "${x}" { inject { verb = "kill" target = visit["v"][*] } }`))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := scenario.Parse("fuzz.hcl", text)
		if err != nil {
			require.ErrorIs(t, err, scenario.ErrInvalid)
			require.Empty(t, file.Drills)
			return
		}
		for _, d := range file.Drills {
			for _, i := range d.Injections {
				_, _ = i.Resolve(scenario.Facts{})
			}
		}
	})
}
