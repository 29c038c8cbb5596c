package drill_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/edge/drill"
	"github.com/wardline/wardline/edge/drill/scenario"
	"github.com/wardline/wardline/edge/drill/timeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// text is a scenario whose targets and controls a test fills in.
const text = `drill "sfu" {
  description = "a media server is killed"
  visit "v" {
    regions = ["east", "west"]
    participant "a" {
      role = "provider"
    }
    participant "b" {
      role    = "patient"
      gateway = "west"
      relay   = true
    }
    MORE
  }
  inject {
    verb    = "kill"
    target  = visit.v.sfu.node
    process = "sfu"
  }
  inject {
    verb   = "cut"
    target = visit.v.participant.a.gateway.node
    peer   = visit.v.participant.b.relay.node
    after  = "1s"
  }
  targets {
    longest_gap      = "3s"
    recovered_within = "10s"
    signaling        = true
    whole_within     = "30s"
    TARGETS
  }
  CONTROL
}`

func parsed(t *testing.T, replace ...string) scenario.Drill {
	t.Helper()
	for _, name := range []string{"MORE", "TARGETS", "CONTROL"} {
		replace = append(replace, name, "")
	}
	file, err := scenario.Parse("test.hcl", []byte(strings.NewReplacer(replace...).Replace(text)))
	require.NoError(t, err)
	return file.Drills[0]
}

// run runs a drill in a bubble of its own time.
func run(t *testing.T, d scenario.Drill, f *fake, judge func(*testing.T, []drill.Outcome, error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		outcomes, err := f.runner().Run(t.Context(), d)
		judge(t, outcomes, err)
	})
}

// failOver lets both clients feel the death of a media server and recover.
func failOver(f *fake) {
	for _, name := range []string{"a", "b"} {
		c := f.client(name)
		time.Sleep(time.Second)
		c.silent(others[name][0])
		c.say("placed", "sfu", "west-media-1", "region", "west", "epoch", 2)
		time.Sleep(500 * time.Millisecond)
		c.say("media", "from", others[name][0], "source", "microphone")
	}
}

func TestADrillThatMeetsItsTargets(t *testing.T) {
	f := newFake()
	f.breaks = func(a scenario.Action) error {
		if a.Verb.Name == scenario.Kill {
			f.setSick(errors.New("east-media-1 is gone"))
			go failOver(f)
		}
		return nil
	}
	f.heals = func(scenario.Action) error {
		time.AfterFunc(5*time.Second, func() { f.setSick(nil) })
		return nil
	}
	run(t, parsed(t, "TARGETS", `resumed_on = "another region"`), f, func(t *testing.T, outcomes []drill.Outcome, err error) {
		t.Helper()
		require.NoError(t, err)
		require.Len(t, outcomes, 1)
		o := outcomes[0]
		require.Empty(t, o.Error)
		require.True(t, o.Passed, "%+v", o.Result)
		require.Equal(t, "passed", o.Verdict())
		require.Equal(t, []string{"kill east-media-1 sfu", "cut east-gateway-1 east-relay-1"}, o.Actions)
		require.Equal(t, "east-relay-1", o.Result.People[1].Before.Relay)
		require.NotNil(t, o.Result.WholeAfter)
		require.InDelta(t, 5, time.Duration(*o.Result.WholeAfter-*o.Result.HealBegan).Seconds(), 1.1)
		require.Equal(t, 1, o.Result.Resumed)
		require.Equal(t, []string{
			"create v at https://east", "start a with token-a at https://east", "start b with token-b at https://west",
			"inject kill east-media-1 sfu", "inject cut east-gateway-1 east-relay-1",
			"heal cut east-gateway-1 east-relay-1", "heal kill east-media-1 sfu", "end id-v",
		}, f.asked(), "the last broken is healed first")
		notes := 0
		for _, e := range o.Events {
			if e.Relay != "" {
				notes++
			}
		}
		require.Equal(t, 1, notes, "what says nothing new is left out")
	})
}

func TestTargetsThatAreMissed(t *testing.T) {
	f := newFake()
	f.breaks = func(a scenario.Action) error {
		if a.Verb.Name == scenario.Kill {
			go f.client("b").silent("a")
		}
		return nil
	}
	run(t, parsed(t), f, func(t *testing.T, outcomes []drill.Outcome, err error) {
		t.Helper()
		require.NoError(t, err)
		require.False(t, outcomes[0].Passed)
		require.Equal(t, "failed", outcomes[0].Verdict())
		require.Equal(t, 1, outcomes[0].Result.Lost)
		require.GreaterOrEqual(t, time.Duration(*outcomes[0].Result.HealBegan), 10*time.Second, "it waits for recovery before it heals")
	})
}

func TestControlsMustFail(t *testing.T) {
	control := `control "strict" {
	  targets {
	    longest_gap = "1ms"
	  }
	}`
	for name, feel := range map[string]bool{"it fails": true, "it passes": false} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			f.breaks = func(a scenario.Action) error {
				if feel && a.Verb.Name == scenario.Kill {
					go failOver(f)
				}
				return nil
			}
			run(t, parsed(t, "CONTROL", control), f, func(t *testing.T, outcomes []drill.Outcome, err error) {
				t.Helper()
				require.NoError(t, err)
				require.Len(t, outcomes, 2)
				require.True(t, outcomes[0].Passed)
				require.Equal(t, "strict", outcomes[1].Control)
				require.Equal(t, feel, outcomes[1].Passed)
				require.Equal(t, map[bool]string{true: "failed as it should", false: "passed, but must fail"}[feel], outcomes[1].Verdict())
			})
		})
	}
}

func TestAClientThatDiesIsALostVisit(t *testing.T) {
	f := newFake()
	f.breaks = func(a scenario.Action) error {
		if a.Verb.Name == scenario.Kill {
			f.client("b").crash()
		}
		return nil
	}
	run(t, parsed(t), f, func(t *testing.T, outcomes []drill.Outcome, err error) {
		t.Helper()
		require.NoError(t, err)
		require.False(t, outcomes[0].Passed)
		require.True(t, outcomes[0].Result.People[1].Lost)
		require.Contains(t, outcomes[0].Result.People[1].Why, "process ended")
	})
}

func TestJoinersComeInTheOutage(t *testing.T) {
	f := newFake()
	joiner := `participant "c" {
	  role  = "family"
	  joins = "outage"
	}`
	run(t, parsed(t, "MORE", joiner, "TARGETS", `joined_within = "5s"`), f, func(t *testing.T, outcomes []drill.Outcome, err error) {
		t.Helper()
		require.NoError(t, err)
		require.Empty(t, outcomes[0].Error)
		require.True(t, outcomes[0].Passed, "%+v", outcomes[0].Result)
		require.True(t, outcomes[0].Result.People[2].Joiner)
		asked := f.asked()
		require.Equal(t, "start c with token-c at https://east", asked[5], "%v", asked)
	})
}

func TestHalvesJoinAgain(t *testing.T) {
	f := newFake()
	f.breaks = func(a scenario.Action) error {
		if a.Verb.Name == scenario.Kill {
			go f.client("b").say("placed", "sfu", "west-media-1", "region", "west", "epoch", 2)
		}
		return nil
	}
	f.heals = func(a scenario.Action) error {
		if a.Verb.Name == scenario.Kill {
			go func() {
				time.Sleep(3 * time.Second)
				f.client("a").say("placed", "sfu", "west-media-1", "region", "west", "epoch", 2)
			}()
		}
		return nil
	}
	run(t, parsed(t, "TARGETS", `rejoined_within = "20s"`), f, func(t *testing.T, outcomes []drill.Outcome, err error) {
		t.Helper()
		require.NoError(t, err)
		require.True(t, outcomes[0].Passed, "%+v", outcomes[0].Result)
		require.InDelta(t, 3, time.Duration(*outcomes[0].Result.Visits[0].Rejoined).Seconds(), 0.1)
	})
}

func TestRunsThatCannotBeJudged(t *testing.T) {
	cause := errors.New("the cause")
	for name, c := range map[string]struct {
		arrange func(*fake)
		is      error
		says    string
		asked   []string
	}{
		"unhealthy": {func(f *fake) { f.sick = cause }, drill.ErrNotReady, "the cause", []string{}},
		"no visit":  {func(f *fake) { f.refuse = cause }, drill.ErrVisits, "create visit v: the cause", []string{}},
		"no client": {
			func(f *fake) { f.start = cause }, drill.ErrVisits, "start a of v: the cause",
			[]string{"create v at https://east", "end id-v"},
		},
		"no media": {
			func(f *fake) { f.quiet = true }, drill.ErrVisits, "a of v has no media of b: was not sent to a media server", nil,
		},
		"injection": {
			func(f *fake) { f.breaks = func(scenario.Action) error { return cause } }, drill.ErrInjection,
			"kill east-media-1 sfu: the cause", nil,
		},
		"healing": {
			func(f *fake) { f.heals = func(scenario.Action) error { return cause } }, drill.ErrInjection,
			"heal kill east-media-1 sfu: the cause", nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			c.arrange(f)
			run(t, parsed(t), f, func(t *testing.T, outcomes []drill.Outcome, err error) {
				t.Helper()
				require.NoError(t, err)
				require.False(t, outcomes[0].Passed)
				require.Equal(t, "not judged", outcomes[0].Verdict())
				require.Nil(t, outcomes[0].Result)
				require.Contains(t, outcomes[0].Error, c.says)
				require.Contains(t, outcomes[0].Error, c.is.Error())
				if c.asked != nil {
					require.Equal(t, c.asked, f.asked())
				}
			})
		})
	}
}

func TestAVisitThatCannotBeEndedIsAFailure(t *testing.T) {
	f := newFake()
	f.end = errors.New("the cause")
	run(t, parsed(t), f, func(t *testing.T, outcomes []drill.Outcome, err error) {
		t.Helper()
		require.NoError(t, err)
		require.False(t, outcomes[0].Passed)
		require.True(t, outcomes[0].Result.Met, "what was measured is kept")
		require.Equal(t, "not cleaned up", outcomes[0].Verdict())
		require.Contains(t, outcomes[0].Error, "end visit v: the cause")
	})
}

func TestAClusterThatIsStillHealingIsWaitedFor(t *testing.T) {
	f := newFake()
	f.sick = errors.New("east-media-1 is gone")
	synctest.Test(t, func(t *testing.T) {
		time.AfterFunc(20*time.Second, func() { f.setSick(nil) })
		outcomes, err := f.runner().Run(t.Context(), parsed(t))
		require.NoError(t, err)
		require.True(t, outcomes[0].Passed, outcomes[0].Error)
	})
}

func TestASecondInjectionThatFailsHealsTheFirst(t *testing.T) {
	f := newFake()
	f.breaks = func(a scenario.Action) error {
		if a.Verb.Name == scenario.Cut {
			return errors.New("no such node")
		}
		return nil
	}
	run(t, parsed(t), f, func(t *testing.T, outcomes []drill.Outcome, _ error) {
		t.Helper()
		require.Contains(t, outcomes[0].Error, "no such node")
		require.Contains(t, f.asked(), "heal kill east-media-1 sfu")
		require.Contains(t, f.asked(), "end id-v")
	})
}

func TestAnInterruptionHealsAndEndsEverything(t *testing.T) {
	for _, phase := range []drill.Phase{
		drill.Preparing, drill.Joining, drill.Stable, drill.Breaking, drill.Recovering, drill.Healing, drill.Settling,
	} {
		t.Run(string(phase), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.heals = func(scenario.Action) error { return nil }
				runner := f.runner()
				ctx, cancel := context.WithCancelCause(t.Context())
				interrupted := errors.New("Ctrl-C")
				var said []string
				runner.Progress = func(p drill.Progress) {
					said = append(said, p.Text)
					if p.Phase == phase {
						cancel(interrupted)
					}
				}
				d := parsed(t, "CONTROL", "control \"c\" {\n targets {\n longest_gap = \"1ms\"\n }\n }")
				outcomes, err := runner.Run(ctx, d)
				require.ErrorIs(t, err, interrupted)
				require.Len(t, outcomes, 1, "the control is not begun")
				require.False(t, outcomes[0].Passed)
				asked := strings.Join(f.asked(), "\n")
				require.Equal(t, strings.Count(asked, "inject "), strings.Count(asked, "heal "), asked)
				require.Equal(t, strings.Count(asked, "create "), strings.Count(asked, "end "), asked)
				require.Contains(t, strings.Join(said, "\n"), "interrupted")
			})
		})
	}
}

func TestADisturbedBaselineBeginsAnew(t *testing.T) {
	f := newFake()
	synctest.Test(t, func(t *testing.T) {
		runner := f.runner()
		stable := 0
		runner.Progress = func(p drill.Progress) {
			if p.Phase != drill.Stable {
				return
			}
			stable++
			if stable == 1 {
				go func() {
					f.client("a").silent("b")
					synctest.Wait() // the silence is seen before it ends
					f.client("a").say("media", "from", "b", "source", "microphone")
				}()
			}
		}
		outcomes, err := runner.Run(t.Context(), parsed(t))
		require.NoError(t, err)
		require.True(t, outcomes[0].Passed, "%+v", outcomes[0])
		require.Equal(t, 2, stable)
	})
}

func TestNonsenseOfAClientIsTold(t *testing.T) {
	f := newFake()
	f.quiet = true
	synctest.Test(t, func(t *testing.T) {
		runner := f.runner()
		runner.Progress = func(p drill.Progress) {
			if p.Phase == drill.Joining {
				go func() {
					_, _ = f.client("a").writer.Write([]byte("panic: oh\n"))
					_, _ = f.client("b").writer.Write([]byte(strings.Repeat("x", 2*timeline.MaxLine)))
				}()
			}
		}
		outcomes, err := runner.Run(t.Context(), parsed(t))
		require.NoError(t, err)
		require.Contains(t, outcomes[0].Error, "not a participant's event")
	})
}

func TestARunnerKnowsWhatItCannotBreak(t *testing.T) {
	d := parsed(t, "CONTROL", "control \"c\" {\n inject {\n verb = \"drain\"\n target = \"x\"\n }\n }")
	require.ErrorContains(t, newFake().runner().Check(d), "drain breaks a cluster")
	require.NoError(t, newFake().runner().Check(parsed(t)))
	runner := newFake().runner()
	runner.Injectors = nil
	require.ErrorContains(t, runner.Check(parsed(t)), "kill")
}

func TestWhereParticipantsConnect(t *testing.T) {
	f := newFake()
	participant := `participant "c" {
	  role    = "family"
	  gateway = "mars"
	}`
	run(t, parsed(t, "MORE", participant), f, func(t *testing.T, outcomes []drill.Outcome, _ error) {
		t.Helper()
		require.Contains(t, outcomes[0].Error, `no gateway "mars"`)
	})
	f = newFake()
	elsewhere := strings.Replace(participant, "mars", "https://elsewhere", 1)
	run(t, parsed(t, "MORE", elsewhere), f, func(t *testing.T, _ []drill.Outcome, _ error) {
		t.Helper()
		require.Contains(t, f.asked(), "start c with token-c at https://elsewhere")
	})
}
