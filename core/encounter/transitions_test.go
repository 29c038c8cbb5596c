package encounter_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
)

const grace = 30 * time.Second

var noon = time.Date(2026, 5, 6, 12, 0, 0, 0, time.UTC)

// join lets a participant in with a session of a kind on gateway gw-1.
func join(e *encounter.Encounter, participant string, role access.Role, session string, kind encounter.SessionKind) ([]string, error) {
	return e.Join(participant, role, session, encounter.Session{Kind: kind, Gateway: "gw-1"}, nil, nil, false)
}

func mustJoin(t *testing.T, e *encounter.Encounter, participant string, role access.Role, session string) {
	t.Helper()
	_, err := join(e, participant, role, session, encounter.Browser)
	require.NoError(t, err)
}

// lostFor is whether a session was lost for so long.
func lostFor(now time.Time, grace time.Duration) func(string, time.Time) bool {
	return func(_ string, lost time.Time) bool { return !now.Before(lost.Add(grace)) }
}

func state(e encounter.Encounter, participant string) encounter.State {
	return e.Participants[participant].State
}

func TestWhoWaitsAndWhoEnters(t *testing.T) {
	for role, want := range map[access.Role]encounter.State{
		access.Provider: encounter.Admitted, access.Supervisor: encounter.Admitted,
		access.Patient: encounter.Waiting, access.Interpreter: encounter.Waiting,
		access.Family: encounter.Waiting, access.Scribe: encounter.Waiting, "stranger": encounter.Waiting,
	} {
		var e encounter.Encounter
		mustJoin(t, &e, "p", role, "s")
		require.Equal(t, want, state(e, "p"), role)

		var auto encounter.Encounter
		_, err := auto.Join("p", role, "s", encounter.Session{Kind: encounter.Browser}, nil, nil, true)
		require.NoError(t, err)
		require.Equal(t, encounter.Admitted, state(auto, "p"), role)
	}
}

func TestNewestExclusiveSessionWins(t *testing.T) {
	var e encounter.Encounter
	for _, step := range []struct {
		session  string
		kind     encounter.SessionKind
		replaced []string
		left     []string
	}{
		{"b1", encounter.Browser, nil, []string{"b1"}},
		{"w1", encounter.WHEP, nil, []string{"b1", "w1"}},
		{"w2", encounter.WHEP, nil, []string{"b1", "w1", "w2"}},
		{"b2", encounter.Browser, []string{"b1"}, []string{"b2", "w1", "w2"}},
		{"i1", encounter.WHIP, []string{"b2"}, []string{"i1", "w1", "w2"}},
		{"i1", encounter.WHIP, nil, []string{"i1", "w1", "w2"}},
		{"b3", encounter.Browser, []string{"i1"}, []string{"b3", "w1", "w2"}},
	} {
		replaced, err := join(&e, "p", access.Patient, step.session, step.kind)
		require.NoError(t, err)
		require.Equal(t, step.replaced, replaced, step.session)
		var left []string
		for id := range e.Participants["p"].Sessions {
			left = append(left, id)
		}
		require.ElementsMatch(t, step.left, left, step.session)
	}
	require.Equal(t, encounter.Waiting, state(e, "p"), "joining again admits nobody")
}

func TestRoleIsThatOfWhoTakesPart(t *testing.T) {
	var e encounter.Encounter
	for _, step := range []struct {
		role, want access.Role
		session    string
		kind       encounter.SessionKind
	}{
		{access.Scribe, access.Scribe, "w1", encounter.WHEP},
		{access.Patient, access.Patient, "b1", encounter.Browser},
		{access.Scribe, access.Patient, "w2", encounter.WHEP},
		{access.Interpreter, access.Interpreter, "p1", encounter.WHIP},
		{access.Family, access.Interpreter, "w1", encounter.WHEP},
	} {
		_, err := join(&e, "p", step.role, step.session, step.kind)
		require.NoError(t, err)
		require.Equal(t, step.want, e.Participants["p"].Role, step.session)
	}
	e.Leave("p", "p1")
	_, err := join(&e, "p", access.Family, "w3", encounter.WHEP)
	require.NoError(t, err)
	require.Equal(t, access.Family, e.Participants["p"].Role)
}

func TestJoinOfOneParticipantLeavesOthersAlone(t *testing.T) {
	var e encounter.Encounter
	mustJoin(t, &e, "p1", access.Patient, "s1")
	mustJoin(t, &e, "p2", access.Patient, "s2")
	require.Contains(t, e.Participants["p1"].Sessions, "s1")
}

func TestJoinKeepsWhatALaterSessionDoesNotSay(t *testing.T) {
	var e encounter.Encounter
	rtt := map[string]float64{"eu": 10}
	_, err := e.Join("p", access.Patient, "s1", encounter.Session{Kind: encounter.Browser}, []byte("badge"), rtt, false)
	require.NoError(t, err)
	rtt["eu"] = 99
	_, err = join(&e, "p", access.Interpreter, "s2", encounter.WHIP)
	require.NoError(t, err)
	p := e.Participants["p"]
	require.Equal(t, []byte("badge"), p.Badge)
	require.Equal(t, map[string]float64{"eu": 10}, p.RTT)
	require.Equal(t, access.Interpreter, p.Role, "the role is that of the newest token that takes part")
}

func TestWhoMayNotJoin(t *testing.T) {
	setUp := func(t *testing.T) encounter.Encounter {
		t.Helper()
		var e encounter.Encounter
		for _, id := range []string{"admitted", "waiting", "left", "removed"} {
			mustJoin(t, &e, id, access.Patient, "first-"+id)
		}
		require.NoError(t, e.Admit("admitted"))
		e.Leave("left", "first-left")
		require.NoError(t, e.Remove("removed"))
		return e
	}
	for name, c := range map[string]struct {
		prepare func(*encounter.Encounter)
		want    map[string]error // by participant
	}{
		"open": {
			func(*encounter.Encounter) {},
			map[string]error{"removed": encounter.ErrRemoved, "new": nil, "left": nil},
		},
		"locked": {
			func(e *encounter.Encounter) { e.SetLocked(true) },
			map[string]error{
				"new": encounter.ErrLocked, "removed": encounter.ErrRemoved,
				"admitted": nil, "waiting": nil, "left": nil,
			},
		},
		"unlocked again": {
			func(e *encounter.Encounter) { e.SetLocked(true); e.SetLocked(false) },
			map[string]error{"new": nil},
		},
		"ended": {
			func(e *encounter.Encounter) { e.End(noon) },
			map[string]error{
				"new": encounter.ErrEnded, "admitted": encounter.ErrEnded, "waiting": encounter.ErrEnded,
				"left": encounter.ErrEnded, "removed": encounter.ErrEnded,
			},
		},
		"full": {
			func(e *encounter.Encounter) {
				for i := len(e.Participants); i < encounter.MaxParticipants; i++ {
					_, _ = join(e, fmt.Sprintf("extra-%d", i), access.Patient, "s", encounter.Browser)
				}
			},
			map[string]error{"new": encounter.ErrFull, "left": nil, "waiting": nil, "removed": encounter.ErrRemoved},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for participant, want := range c.want {
				e := setUp(t)
				c.prepare(&e)
				before := len(e.Participants[participant].Sessions)
				_, err := join(&e, participant, access.Patient, "again", encounter.Browser)
				require.Equal(t, want, err, participant)
				if want != nil {
					require.Len(t, e.Participants[participant].Sessions, before, "a refusal changes nothing")
				}
			}
		})
	}
}

func TestSessionsOfOneParticipantAreBounded(t *testing.T) {
	var e encounter.Encounter
	for i := range encounter.MaxSessions {
		_, err := join(&e, "p", access.Patient, fmt.Sprintf("w%d", i), encounter.WHEP)
		require.NoError(t, err)
	}
	_, err := join(&e, "p", access.Patient, "one-more", encounter.WHEP)
	require.ErrorIs(t, err, encounter.ErrFull)
	_, err = join(&e, "p", access.Patient, "w0", encounter.WHEP)
	require.NoError(t, err, "one that is there already is no further one")
}

func TestLostSessionResumesOrExpires(t *testing.T) {
	var e encounter.Encounter
	mustJoin(t, &e, "p", access.Provider, "s")
	e.Lose("p", "s", noon)
	e.Lose("p", "s", noon.Add(time.Hour))
	require.Equal(t, noon, e.Participants["p"].Sessions["s"].Lost, "the first loss counts")
	require.Equal(t, []string{"p"}, e.AdmittedIDs(), "nobody notices before the grace is over")
	require.False(t, e.Expire(lostFor(noon.Add(grace-time.Nanosecond), grace)))

	require.NoError(t, e.Resume("p", "s", "gw-2"))
	require.Equal(t, encounter.Session{Kind: encounter.Browser, Gateway: "gw-2"}, e.Participants["p"].Sessions["s"])
	require.False(t, e.Expire(lostFor(noon.Add(time.Hour), grace)))

	e.Lose("p", "s", noon)
	require.True(t, e.Expire(lostFor(noon.Add(grace), grace)))
	require.Equal(t, encounter.Left, state(e, "p"))
	require.Equal(t, encounter.ErrUnknownParticipant, e.Resume("p", "s", "gw-2"))
	require.False(t, e.Expire(lostFor(noon.Add(time.Hour), grace)))
}

func TestExpireLeavesTheOtherSessions(t *testing.T) {
	var e encounter.Encounter
	mustJoin(t, &e, "p", access.Provider, "b")
	_, err := join(&e, "p", access.Provider, "w", encounter.WHEP)
	require.NoError(t, err)
	e.Lose("p", "b", noon)
	require.True(t, e.Expire(lostFor(noon.Add(grace), grace)))
	require.Equal(t, encounter.Admitted, state(e, "p"))
	require.Contains(t, e.Participants["p"].Sessions, "w")
}

func TestResumeIsRefused(t *testing.T) {
	var e encounter.Encounter
	mustJoin(t, &e, "p", access.Patient, "s")
	require.Equal(t, encounter.ErrUnknownParticipant, e.Resume("nobody", "s", "gw"))
	require.Equal(t, encounter.ErrUnknownParticipant, e.Resume("p", "other", "gw"))
	ended := e
	ended.End(noon)
	require.Equal(t, encounter.ErrEnded, ended.Resume("p", "s", "gw"))
	require.NoError(t, e.Remove("p"))
	require.Equal(t, encounter.ErrRemoved, e.Resume("p", "s", "gw"))
}

func TestComingBackKeepsAnEarlierAdmission(t *testing.T) {
	var e encounter.Encounter
	mustJoin(t, &e, "p", access.Patient, "s1")
	e.Leave("p", "s1")
	require.Equal(t, encounter.Left, state(e, "p"))
	mustJoin(t, &e, "p", access.Patient, "s2")
	require.Equal(t, encounter.Waiting, state(e, "p"), "was never admitted")
	require.NoError(t, e.Admit("p"))
	e.Leave("p", "s2")
	require.Empty(t, e.AdmittedIDs())
	mustJoin(t, &e, "p", access.Patient, "s3")
	require.Equal(t, encounter.Admitted, state(e, "p"))
}

func TestAdmittingSomebodyWhoJustLeftSparesThemTheWait(t *testing.T) {
	var e encounter.Encounter
	mustJoin(t, &e, "p", access.Patient, "s1")
	e.Leave("p", "s1")
	require.NoError(t, e.Admit("p"))
	require.Equal(t, encounter.Left, state(e, "p"))
	mustJoin(t, &e, "p", access.Patient, "s2")
	require.Equal(t, encounter.Admitted, state(e, "p"))
}

func TestAdmitAndRemove(t *testing.T) {
	var e encounter.Encounter
	require.Equal(t, encounter.ErrUnknownParticipant, e.Admit("p"))
	require.Equal(t, encounter.ErrUnknownParticipant, e.Remove("p"))
	mustJoin(t, &e, "p", access.Patient, "s")
	require.Equal(t, []string{"p"}, e.WaitingIDs())
	require.NoError(t, e.Admit("p"))
	require.NoError(t, e.Admit("p"), "twice is once")
	require.Equal(t, []string{"p"}, e.AdmittedIDs())
	require.NoError(t, e.Remove("p"))
	require.NoError(t, e.Remove("p"), "twice is once")
	require.Empty(t, e.Participants["p"].Sessions)
	require.Equal(t, encounter.ErrRemoved, e.Admit("p"))
	e.Leave("p", "s")
	require.Equal(t, encounter.Removed, state(e, "p"))
	require.Empty(t, e.AdmittedIDs())
	require.Empty(t, e.WaitingIDs())
}

func TestIDsAreSorted(t *testing.T) {
	var e encounter.Encounter
	for _, id := range []string{"c", "a", "b"} {
		mustJoin(t, &e, id, access.Provider, "s")
		mustJoin(t, &e, "w"+id, access.Patient, "s")
	}
	require.Equal(t, []string{"a", "b", "c"}, e.AdmittedIDs())
	require.Equal(t, []string{"wa", "wb", "wc"}, e.WaitingIDs())
}

func TestEndedAcceptsOnlyFarewells(t *testing.T) {
	var e encounter.Encounter
	mustJoin(t, &e, "p1", access.Provider, "s1")
	mustJoin(t, &e, "p2", access.Provider, "s2")
	e.Lose("p2", "s2", noon)
	e.End(noon)
	e.End(noon.Add(time.Hour))
	require.Equal(t, noon, e.Ended, "the first end counts")
	require.Equal(t, encounter.ErrEnded, e.Admit("p1"))
	require.Equal(t, encounter.ErrEnded, e.Remove("p1"))
	require.Equal(t, encounter.ErrEnded, e.Place(encounter.Placement{SFU: "sfu", Epoch: 9}))
	e.SetLocked(true)
	require.False(t, e.Locked)
	e.Lose("p1", "s1", noon)
	require.Zero(t, e.Participants["p1"].Sessions["s1"].Lost)
	require.False(t, e.NeedsPlacement())

	require.True(t, e.Expire(lostFor(noon.Add(grace), grace)))
	e.Leave("p1", "s1")
	require.Equal(t, encounter.Left, state(e, "p1"))
	require.Equal(t, encounter.Left, state(e, "p2"))
}

func TestVacatedIsSinceEverybodyLeftUntilSomebodyJoins(t *testing.T) {
	var e encounter.Encounter
	e.Vacate(noon)
	require.Zero(t, e.Over(), "nobody has come yet")
	mustJoin(t, &e, "p1", access.Provider, "s1")
	e.Lose("p1", "s1", noon)
	e.Vacate(noon)
	require.Zero(t, e.Over(), "the session may be resumed")
	e.Leave("p1", "s1")
	e.Vacate(noon)
	e.Vacate(noon.Add(time.Hour))
	require.Equal(t, noon, e.Over())
	mustJoin(t, &e, "p1", access.Provider, "s2")
	require.Zero(t, e.Over())
	e.End(noon)
	require.Equal(t, noon, e.Over())
}

func TestPlacementOnlyGrows(t *testing.T) {
	held := encounter.Placement{Region: "eu", SFU: "sfu-1", Epoch: 5, Term: 2}
	for _, c := range []struct {
		name string
		p    encounter.Placement
		want error
	}{
		{"next epoch", encounter.Placement{Region: "eu", SFU: "sfu-2", Epoch: 6, Term: 2}, nil},
		{"next term", encounter.Placement{Region: "us", SFU: "sfu-2", Epoch: 5, Term: 3}, nil},
		{"both", encounter.Placement{Region: "us", SFU: "sfu-2", Epoch: 8, Term: 3}, nil},
		{"same", held, encounter.ErrStale},
		{"lower epoch", encounter.Placement{Region: "eu", SFU: "sfu-2", Epoch: 4, Term: 2}, encounter.ErrStale},
		{"lower epoch of a higher term", encounter.Placement{Region: "eu", SFU: "sfu-2", Epoch: 4, Term: 3}, encounter.ErrStale},
		{"higher epoch of a lower term", encounter.Placement{Region: "eu", SFU: "sfu-2", Epoch: 6, Term: 1}, encounter.ErrStale},
		{"forbidden region", encounter.Placement{Region: "asia", SFU: "sfu-2", Epoch: 6, Term: 2}, encounter.ErrRegion},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := encounter.Encounter{Regions: []string{"eu", "us"}, Placement: held}
			require.Equal(t, c.want, e.Place(c.p))
			if c.want != nil {
				require.Equal(t, held, e.Placement)
			} else {
				require.Equal(t, c.p, e.Placement)
			}
		})
	}
	var e encounter.Encounter
	require.ErrorContains(t, e.Place(encounter.Placement{Region: "eu", Epoch: 1}), "names no SFU")
	require.NoError(t, e.Place(encounter.Placement{Region: "anywhere", SFU: "sfu", Epoch: 1}), "no policy allows any region")
	require.True(t, e.Placement.Placed())
}

func TestWhenAnEncounterNeedsAnSFU(t *testing.T) {
	var e encounter.Encounter
	require.False(t, e.NeedsPlacement())
	mustJoin(t, &e, "doc", access.Provider, "s1")
	mustJoin(t, &e, "pat", access.Patient, "s2")
	require.False(t, e.NeedsPlacement(), "one is alone")
	require.NoError(t, e.Admit("pat"))
	require.True(t, e.NeedsPlacement())
	e.Lose("pat", "s2", noon)
	require.True(t, e.NeedsPlacement(), "a lost socket is no reason to go")
	e.Leave("pat", "s2")
	require.False(t, e.NeedsPlacement())

	for _, kind := range []encounter.SessionKind{encounter.WHIP, encounter.WHEP} {
		var e encounter.Encounter
		_, err := join(&e, "p", access.Patient, "s", kind)
		require.NoError(t, err)
		require.True(t, e.NeedsPlacement(), "%s needs its answer while it waits", kind)
	}
}
