package encounter_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
)

// half is one side's copy of a record that was written apart from version 5 of term 0 on.
func half(term uint64, people map[string]encounter.Participant) encounter.Encounter {
	e := encounter.Encounter{
		Key: visit, Created: noon, Homes: []string{"east", "west", "onprem"}, Term: term, Version: 7, Participants: people,
	}
	if term > 0 {
		e.Remember(encounter.Stamp{Region: "east", Term: 0, Version: 5})
	}
	return e
}

func admitted(sessions map[string]encounter.Session) encounter.Participant {
	return encounter.Participant{
		Role: access.Provider, State: encounter.Admitted, Cleared: true, Sessions: sessions,
		Badge: []byte("badge"), RTT: map[string]float64{"east": 1},
	}
}

func waiting(sessions map[string]encounter.Session) encounter.Participant {
	return encounter.Participant{Role: access.Patient, State: encounter.Waiting, Sessions: sessions}
}

type sessions = map[string]encounter.Session

var (
	browser     = encounter.Session{Kind: encounter.Browser, Gateway: "gw"}
	lostBrowser = encounter.Session{Kind: encounter.Browser, Gateway: "gw", Lost: noon}
	whip        = encounter.Session{Kind: encounter.WHIP, Gateway: "gw"}
	whep        = encounter.Session{Kind: encounter.WHEP, Gateway: "gw"}
	elsewhere   = encounter.Session{Kind: encounter.Browser, Gateway: "gw-2"}
)

// announced is a browser session with a public key.
func announced(s encounter.Session) encounter.Session {
	s.Key = "key"
	return s
}

func TestMergingAdmitsByTheRoleThatHolds(t *testing.T) {
	of := func(role access.Role, state encounter.State, s sessions) map[string]encounter.Participant {
		return map[string]encounter.Participant{"p": {Role: role, State: state, Sessions: s}}
	}
	for name, c := range map[string]struct {
		winner, loser map[string]encounter.Participant
		want          encounter.State
	}{
		"a provider who is there": {
			of(access.Provider, encounter.Admitted, sessions{"a": browser}), of(access.Patient, encounter.Waiting, sessions{"b": browser}),
			encounter.Admitted,
		},
		"a provider who was there": {
			of(access.Provider, encounter.Admitted, sessions{"a": lostBrowser}),
			of(access.Patient, encounter.Waiting, sessions{"b": browser}), encounter.Waiting,
		},
		"a provider who left": {
			of(access.Provider, encounter.Left, nil), of(access.Patient, encounter.Waiting, sessions{"b": whep}), encounter.Waiting,
		},
	} {
		require.Equal(t, c.want, encounter.Merge(half(1, c.winner), half(0, c.loser)).Participants["p"].State, name)
	}
}

func TestMergingAParticipantOfBothHalves(t *testing.T) {
	left, removed := encounter.Participant{State: encounter.Left, Cleared: true}, encounter.Participant{State: encounter.Removed}
	for name, c := range map[string]struct {
		winner, loser encounter.Participant
		state         encounter.State
		sessions      sessions
	}{
		"sessions of both stay": {
			winner: admitted(sessions{"a": browser}), loser: admitted(sessions{"b": whep}),
			state: encounter.Admitted, sessions: sessions{"a": browser, "b": whep},
		},
		"the winner's exclusive session": {
			winner: admitted(sessions{"b": browser}), loser: admitted(sessions{"a": whip}),
			state: encounter.Admitted, sessions: sessions{"b": browser},
		},
		"a connected one beats a lost": {
			winner: admitted(sessions{"a": lostBrowser}), loser: admitted(sessions{"b": browser}),
			state: encounter.Admitted, sessions: sessions{"b": browser},
		},
		"a lost one is better than none": {
			winner: left, loser: admitted(sessions{"b": lostBrowser}),
			state: encounter.Admitted, sessions: sessions{"b": lostBrowser},
		},
		"one session, connected at one": {
			winner: admitted(sessions{"a": lostBrowser}), loser: admitted(sessions{"a": elsewhere}),
			state: encounter.Admitted, sessions: sessions{"a": elsewhere},
		},
		"one session, two gateways": {
			winner: admitted(sessions{"a": browser}), loser: admitted(sessions{"a": elsewhere}),
			state: encounter.Admitted, sessions: sessions{"a": browser},
		},
		"a key announced to one half": {
			winner: admitted(sessions{"a": announced(lostBrowser)}), loser: admitted(sessions{"a": browser}),
			state: encounter.Admitted, sessions: sessions{"a": announced(browser)},
		},
		"admitted beats waiting": {
			winner: waiting(sessions{"a": browser}), loser: admitted(sessions{"b": whep}),
			state: encounter.Admitted, sessions: sessions{"a": browser, "b": whep},
		},
		"waiting stays waiting": {
			winner: waiting(sessions{"a": browser}), loser: waiting(sessions{"b": whep}),
			state: encounter.Waiting, sessions: sessions{"a": browser, "b": whep},
		},
		"cleared while away": {
			winner: waiting(sessions{"a": browser}), loser: left,
			state: encounter.Admitted, sessions: sessions{"a": browser},
		},
		"left both": {
			winner: left, loser: left,
			state: encounter.Left, sessions: nil,
		},
		"removed by the winner's half": {
			winner: removed, loser: admitted(sessions{"a": browser}),
			state: encounter.Removed, sessions: nil,
		},
		"removed by the loser's half": {
			winner: admitted(sessions{"a": browser}), loser: removed,
			state: encounter.Removed, sessions: nil,
		},
		"left one half, still in another": {
			winner: left, loser: admitted(sessions{"a": browser}),
			state: encounter.Admitted, sessions: sessions{"a": browser},
		},
	} {
		t.Run(name, func(t *testing.T) {
			merged := encounter.Merge(
				half(1, map[string]encounter.Participant{"p": c.winner}), half(0, map[string]encounter.Participant{"p": c.loser}))
			p := merged.Participants["p"]
			require.Equal(t, c.state, p.State)
			require.Equal(t, c.sessions, p.Sessions)
			require.Equal(t, c.state != encounter.Removed && (c.winner.Cleared || c.loser.Cleared), p.Cleared)
		})
	}
}

func TestMergingPlacements(t *testing.T) {
	at := func(sfu string, epoch, term uint64) encounter.Placement {
		return encounter.Placement{Region: "east", SFU: sfu, Epoch: epoch, Term: term}
	}
	west := func(epoch, term uint64) encounter.Placement {
		return encounter.Placement{Region: "west", SFU: "a", Epoch: epoch, Term: term}
	}
	for name, c := range map[string]struct{ winner, loser, want encounter.Placement }{
		"none":                           {},
		"only the winner's":              {winner: at("a", 2, 4), want: at("a", 2, 4)},
		"only the loser's":               {loser: at("a", 2, 0), want: at("a", 2, 0)},
		"the same":                       {at("a", 2, 0), at("a", 2, 0), at("a", 2, 0)},
		"the same SFU, a later epoch":    {at("a", 2, 0), at("a", 5, 3), at("a", 5, 3)},
		"another SFU, an earlier epoch":  {at("a", 5, 4), at("b", 4, 3), at("a", 5, 4)},
		"another SFU, the same epoch":    {at("a", 5, 0), at("b", 5, 3), at("a", 6, 4)},
		"another SFU, a later epoch":     {at("a", 2, 4), at("b", 9, 3), at("a", 10, 4)},
		"an epoch above, a later term":   {at("a", 5, 0), at("b", 4, 3), at("a", 5, 3)},
		"the same name in two regions":   {west(2, 0), at("a", 2, 0), west(3, 4)},
		"the winner's is not placed yet": {encounter.Placement{}, at("b", 9, 3), at("b", 9, 3)},
	} {
		t.Run(name, func(t *testing.T) {
			winner, loser := half(4, nil), half(3, nil)
			winner.Placement, loser.Placement = c.winner, c.loser
			require.Equal(t, c.want, encounter.Merge(winner, loser).Placement)
		})
	}
}

func TestMergingTheRest(t *testing.T) {
	winner := half(1, map[string]encounter.Participant{"w": admitted(sessions{"a": browser})})
	loser := half(0, map[string]encounter.Participant{"l": waiting(sessions{"b": browser}), "gone": {State: encounter.Left}})
	loser.Locked = true
	loser.Ended = noon.Add(time.Minute)
	merged := encounter.Merge(loser, winner)
	require.Equal(t, winner.Stamp(), merged.Stamp(), "the order of arguments does not matter")
	require.Len(t, merged.Participants, 3)
	require.Equal(t, loser.Participants["l"], merged.Participants["l"])
	require.True(t, merged.Locked)
	require.Equal(t, loser.Ended, merged.Ended)
	require.True(t, merged.Knows(loser.Stamp()))

	winner.Ended = noon.Add(time.Hour)
	require.Equal(t, loser.Ended, encounter.Merge(winner, loser).Ended, "the first end counts")
	loser.Ended = time.Time{}
	require.Equal(t, winner.Ended, encounter.Merge(winner, loser).Ended)

	winner.Vacated = noon
	require.Zero(t, encounter.Merge(winner, loser).Vacated, "somebody is in the other half")
	loser.Vacated = noon.Add(time.Minute)
	require.Equal(t, loser.Vacated, encounter.Merge(winner, loser).Vacated)
	winner.Vacated, loser.Vacated = loser.Vacated, winner.Vacated
	require.Equal(t, winner.Vacated, encounter.Merge(winner, loser).Vacated)
	winner.Vacated = time.Time{}
	require.Zero(t, encounter.Merge(winner, loser).Vacated)

	loser.Gone = true
	require.False(t, encounter.Merge(winner, loser).Gone, "what one side did not know of may go on")
	winner.Gone = true
	require.True(t, encounter.Merge(winner, loser).Gone)
}

func TestRoleOfTheSessionThatWasKeptHolds(t *testing.T) {
	as := func(role access.Role, s sessions) map[string]encounter.Participant {
		p := admitted(s)
		p.Role = role
		return map[string]encounter.Participant{"p": p}
	}
	for name, c := range map[string]struct {
		winner, loser sessions
		want          access.Role
	}{
		"the winner's":                      {sessions{"a": browser}, sessions{"b": browser}, access.Provider},
		"that of the one that is there":     {sessions{"a": lostBrowser}, sessions{"b": browser}, access.Scribe},
		"the winner's, known to both":       {sessions{"a": browser}, sessions{"a": browser}, access.Provider},
		"the loser's, where nobody else is": {sessions{"a": whep}, sessions{"b": browser}, access.Scribe},
		"the winner's, watched by others":   {sessions{"a": browser}, sessions{"b": whep}, access.Provider},
	} {
		merged := encounter.Merge(half(1, as(access.Provider, c.winner)), half(0, as(access.Scribe, c.loser)))
		require.Equal(t, c.want, merged.Participants["p"].Role, name)
	}
}

func TestACopyThatIsKnownAddsNothing(t *testing.T) {
	winner := half(1, nil)
	loser := half(0, map[string]encounter.Participant{"left long ago": admitted(sessions{"a": browser})})
	loser.Version = 5
	require.Equal(t, winner, encounter.Merge(winner, loser), "the winner's line began after it")
	loser.Version = 6
	require.Len(t, encounter.Merge(winner, loser).Participants, 1)
}

func TestAMergedRecordIsBounded(t *testing.T) {
	people := func(prefix string, count int, p encounter.Participant) map[string]encounter.Participant {
		all := make(map[string]encounter.Participant)
		for i := range count {
			all[fmt.Sprintf("%s%04d", prefix, i)] = p
		}
		return all
	}
	winner := half(1, people("w", encounter.MaxParticipants-10, admitted(sessions{"a": browser})))
	loser := half(0, people("l", 100, encounter.Participant{State: encounter.Left}))
	loser.Participants["here"] = waiting(sessions{"b": browser})
	merged := encounter.Merge(winner, loser)
	require.Len(t, merged.Participants, encounter.MaxParticipants)
	require.Contains(t, merged.Participants, "here", "who left is forgotten before who is there")

	many := func(prefix string) sessions {
		all := make(sessions)
		for i := range encounter.MaxSessions {
			all[fmt.Sprintf("%s%02d", prefix, i)] = whep
		}
		return all
	}
	mine := many("z")
	mine["mine"] = browser
	merged = encounter.Merge(
		half(1, map[string]encounter.Participant{"p": admitted(mine)}), half(0, map[string]encounter.Participant{"p": admitted(many("a"))}))
	require.Len(t, merged.Participants["p"].Sessions, encounter.MaxSessions)
	require.Contains(t, merged.Participants["p"].Sessions, "mine", "publishing goes before watching")
}

func drawHalf(t *rapid.T, label string, term uint64) encounter.Encounter {
	l := &life{e: half(term, nil), now: noon, removed: make(map[string]bool)}
	for range rapid.IntRange(0, 15).Draw(t, label) {
		switch rapid.IntRange(0, 6).Draw(t, label+" does") {
		case 0:
			l.Remove(t)
		case 1:
			l.Admit(t)
		case 2:
			l.Lose(t)
		case 3:
			l.Leave(t)
		case 4:
			l.e.Placement.Epoch += rapid.Uint64Range(0, 3).Draw(t, "epochs")
			l.e.Placement.SFU = rapid.SampledFrom([]string{"a", "b"}).Draw(t, "sfu")
		default:
			l.Join(t)
		}
	}
	return l.e
}

func TestMergedRecordsKeepTheInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawHalf(t, "a", rapid.Uint64Range(0, 4).Draw(t, "term"))
		b := drawHalf(t, "b", 5)
		merged := encounter.Merge(a, b)
		require.Equal(t, merged, encounter.Merge(b, a))
		require.Equal(t, merged, encounter.Merge(merged, a), "merging again adds nothing")
		require.Equal(t, merged, encounter.Merge(merged, b))
		for _, half := range []encounter.Encounter{a, b} {
			require.True(t, merged.Knows(half.Stamp()))
			require.GreaterOrEqual(t, merged.Placement.Epoch, half.Placement.Epoch)
			if half.Placement.Placed() && half.Placement.SFU != merged.Placement.SFU {
				require.Greater(t, merged.Placement.Epoch, half.Placement.Epoch)
			}
			for id, p := range half.Participants {
				now := merged.Participants[id]
				require.True(t, now.State == encounter.Removed || p.State != encounter.Removed, "%s came back", id)
				require.True(t, now.State == encounter.Removed || len(p.Sessions) == 0 || len(now.Sessions) > 0, "%s is stranded", id)
			}
		}
		removed := make(map[string]bool)
		for id, p := range merged.Participants {
			removed[id] = p.State == encounter.Removed
		}
		(&life{e: merged, removed: removed, placement: b.Placement}).Check(t)
	})
}

func FuzzMerge(f *testing.F) {
	f.Add([]byte(`{"tenant":"t","id":"e"}`), []byte(`{"tenant":"t","id":"e"}`))
	for _, term := range []uint64{0, 1} {
		e := half(term, map[string]encounter.Participant{"p": admitted(sessions{"a": browser})})
		e.Placement = encounter.Placement{Region: "east", SFU: "a", Epoch: 1}
		record, err := json.Marshal(e)
		require.NoError(f, err)
		f.Add(record, []byte(`{"homes":["east","west"],"term":2,"participants":{"p":{"sessions":{"b":{"kind":"browser"}}}}}`))
	}
	f.Fuzz(func(t *testing.T, left, right []byte) {
		var a, b encounter.Encounter
		if json.Unmarshal(left, &a) != nil || json.Unmarshal(right, &b) != nil {
			t.Skip("no records")
		}
		merged := encounter.Merge(a, b)
		require.LessOrEqual(t, len(merged.Past), max(encounter.MaxPast, len(a.Past), len(b.Past)))
		require.LessOrEqual(t, len(merged.Participants), max(encounter.MaxParticipants, len(a.Participants)+len(b.Participants)))
	})
}
