package gateway

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway/sfulink"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// inCall is a settled situation: one admitted browser with an open leg on an SFU that answers.
func inCall() situation {
	e := encounter.Encounter{
		Key: encounter.Key{Tenant: "clinic", ID: "visit"}, Revision: 7,
		Placement: encounter.Placement{Region: "here", SFU: "sfu-1", Epoch: 1},
		Participants: map[string]encounter.Participant{"doctor": {
			Role: access.Provider, State: encounter.Admitted,
			Sessions: map[string]encounter.Session{"s-1": {Kind: encounter.Browser, Gateway: "gw-1"}},
		}},
	}
	roster := rosterOf(nil, e, nil)
	return situation{
		Self: "gw-1", Now: noon, GraceEnds: halfAMinute, AttachTimeout: 2 * time.Second, Record: e, Everybody: roster,
		Sessions: []session{{
			ID: "s-1", Participant: "doctor", Kind: encounter.Browser, Role: access.Provider, Connected: true, Told: roster, ToldAt: noon,
			Leg: leg{Route: signaling.Route{Leg: 1, Epoch: 1}, SFU: "sfu-1", Phase: legOpen, Link: 3},
		}},
		Links:   map[string]sfulink.State{"sfu-1": {Phase: sfulink.Up, Generation: 3}},
		Members: membershipMark{SFU: "sfu-1", Generation: 3, Revision: 7},
	}
}

func halfAMinute(_ string, lost time.Time) time.Time { return lost.Add(30 * time.Second) }

// crowdOf is the roster of so many people.
func crowdOf(count int) *signaling.Roster {
	return &signaling.Roster{Revision: uint64(count), Members: make([]signaling.Member, count)}
}

// setSession changes the record's entry of the one session.
func setSession(s *situation, held encounter.Session) {
	s.Record.Participants["doctor"].Sessions["s-1"] = held
}

// setLeg gives the one session's leg a phase it has been in for some seconds.
func setLeg(s *situation, phase legPhase, seconds int) {
	s.Sessions[0].Leg.Phase = phase
	s.Sessions[0].Leg.Since = noon.Add(-time.Duration(seconds) * time.Second)
}

// waiting is the one session's leg attached once more.
func waiting(failures int) leg {
	l := inCall().Sessions[0].Leg
	l.Phase, l.Since, l.Failures = legOpening, noon, failures
	return l
}

// drain makes the SFU of the placement drain.
func drain(s *situation) {
	s.Links["sfu-1"] = sfulink.State{Phase: sfulink.Up, Generation: 3, Draining: noon.Add(-time.Minute)}
}

func TestDecide(t *testing.T) {
	moved := leg{
		Route: signaling.Route{Leg: 2, Epoch: 2}, SFU: "sfu-2", Region: "here", Link: 1, Phase: legOpening,
		Reason: reasonMove, Since: noon,
	}
	abrupt := moved
	abrupt.Reason, abrupt.Abrupt = reasonFailover, true
	toSFU2 := func(s *situation, old sfulink.Phase) {
		s.Record.Placement.SFU, s.Record.Placement.Epoch = "sfu-2", 2
		s.Links["sfu-1"] = sfulink.State{Phase: old, Generation: 3}
		s.Links["sfu-2"] = sfulink.State{Phase: sfulink.Up, Generation: 1}
		s.Members = membershipMark{SFU: "sfu-2", Generation: 1, Revision: 7}
	}
	for name, test := range map[string]struct {
		change func(*situation)
		want   []action
	}{
		"settled":      {func(*situation) {}, nil},
		"no record":    {func(s *situation) { s.Record.Revision = 0 }, nil},
		"ended":        {func(s *situation) { s.Record.Ended = noon }, []action{end{"s-1", signaling.Bye{Code: "ended"}, true}}},
		"new revision": {func(s *situation) { s.Record.Revision = 8 }, []action{sendMembership{membershipMark{"sfu-1", 3, 8}}}},
		"resumed at another gateway": {
			func(s *situation) { setSession(s, encounter.Session{Kind: encounter.Browser, Gateway: "gw-2"}) },
			[]action{end{"s-1", signaling.Bye{Code: "replaced"}, false}},
		},
		"taken for lost": {
			func(s *situation) {
				setSession(s, encounter.Session{Kind: encounter.Browser, Gateway: "gw-1", Lost: noon})
				s.Everybody = s.Sessions[0].Told
			},
			[]action{reclaim{"doctor", "s-1"}, wake{noon.Add(30 * time.Second)}},
		},
		"socket lost": {func(s *situation) { s.Sessions[0].Connected = false }, []action{lose{"doctor", "s-1"}}},
		"grace over": {
			func(s *situation) {
				setSession(s, encounter.Session{Kind: encounter.Browser, Gateway: "gw-1", Lost: noon.Add(-30 * time.Second)})
				s.Sessions[0].Connected = false
			},
			[]action{expire{}},
		},
		"one more in a crowd, soon after the last": {
			func(s *situation) { s.Sessions[0].Told, s.Everybody = crowdOf(40), crowdOf(41) },
			[]action{wake{noon.Add(crowdEvery)}},
		},
		"one more in a crowd, later": {
			func(s *situation) {
				s.Sessions[0].Told, s.Sessions[0].ToldAt, s.Everybody = crowdOf(40), noon.Add(-crowdEvery), crowdOf(41)
			},
			[]action{tell{"s-1", crowdOf(41)}},
		},
		"one more in a crowd of many, for who lets nobody in": {
			func(s *situation) {
				s.Sessions[0].Told, s.Sessions[0].ToldAt, s.Everybody = crowdOf(199), noon.Add(-crowdEvery), crowdOf(200)
				s.Sessions[0].Role = access.Patient
			},
			[]action{wake{noon.Add(2 * time.Second)}},
		},
		"let in to a crowd": {
			func(s *situation) { s.Sessions[0].Told, s.Everybody = crowdOf(1), crowdOf(41) }, []action{tell{"s-1", crowdOf(41)}},
		},
		"channel not dialed": {
			func(s *situation) { s.Links["sfu-1"] = sfulink.State{Phase: sfulink.Idle} }, []action{dial{"sfu-1"}},
		},
		"channel being dialed": {
			func(s *situation) { s.Links["sfu-1"] = sfulink.State{Phase: sfulink.Dialing, Generation: 3} }, nil,
		},
		"SFU dead": {
			func(s *situation) { s.Links["sfu-1"] = sfulink.State{Phase: sfulink.Dead, Generation: 3} },
			[]action{replace{encounter.Placement{Region: "here", SFU: "sfu-1", Epoch: 1}}},
		},
		"SFU dead, being replaced": {
			func(s *situation) { s.Links["sfu-1"] = sfulink.State{Phase: sfulink.Dead}; s.Placing = true }, nil,
		},
		"SFU dead, none found": {
			func(s *situation) {
				s.Links["sfu-1"], s.PlaceAfter = sfulink.State{Phase: sfulink.Dead}, noon.Add(time.Second)
			},
			[]action{wake{noon.Add(time.Second)}},
		},
		"SFU drains": {
			func(s *situation) { drain(s) }, []action{move{encounter.Placement{Region: "here", SFU: "sfu-1", Epoch: 1}}},
		},
		"SFU drains, nobody else took it": {
			func(s *situation) { drain(s); s.MoveAfter = noon.Add(5 * time.Second) }, []action{wake{noon.Add(5 * time.Second)}},
		},
		"SFU drains, being moved": {func(s *situation) { drain(s); s.Placing = true }, nil},
		"SFU drains, with a WHEP session": {
			func(s *situation) {
				drain(s)
				s.Record.Participants["wall"] = encounter.Participant{
					State: encounter.Admitted, Sessions: map[string]encounter.Session{"s-2": {Kind: encounter.WHEP, Gateway: "gw-2"}},
				}
			}, nil,
		},
		"SFU died while it drained and nobody had taken it": {
			func(s *situation) {
				s.Links["sfu-1"] = sfulink.State{Phase: sfulink.Dead, Generation: 3, Draining: noon}
				s.MoveAfter = noon.Add(5 * time.Second)
			},
			[]action{replace{encounter.Placement{Region: "here", SFU: "sfu-1", Epoch: 1}}},
		},
		"SFU drains, channel being dialed": {
			func(s *situation) {
				s.Links["sfu-1"] = sfulink.State{Phase: sfulink.Dialing, Generation: 3, Draining: noon}
			}, nil,
		},
		"older leg waits for the client": {
			func(s *situation) { setLeg(s, legOpen, 10); s.Sessions[0].Older = []leg{{SFU: "sfu-0"}} },
			[]action{wake{noon.Add(20 * time.Second)}},
		},
		"older leg waited long enough": {
			func(s *situation) { setLeg(s, legOpen, 30); s.Sessions[0].Older = []leg{{SFU: "sfu-0"}} }, []action{retire{"s-1"}},
		},
		"older leg is all there is": {
			func(s *situation) { setLeg(s, legOpening, 1); s.Sessions[0].Older = []leg{{SFU: "sfu-0"}} },
			[]action{wake{noon.Add(time.Second)}},
		},
		"placed elsewhere, old SFU dead":  {func(s *situation) { toSFU2(s, sfulink.Dead) }, []action{attach{"s-1", abrupt, false}}},
		"placed elsewhere, old SFU alive": {func(s *situation) { toSFU2(s, sfulink.Up) }, []action{attach{"s-1", moved, true}}},
		"WHIP, placed elsewhere": {
			func(s *situation) { toSFU2(s, sfulink.Dead); s.Sessions[0].Kind = encounter.WHIP }, []action{leave{"doctor", "s-1"}},
		},
		"lost socket opens no leg": {
			func(s *situation) { toSFU2(s, sfulink.Dead); s.Sessions[0].Connected = false }, []action{lose{"doctor", "s-1"}},
		},
		"who waits opens no leg": {
			func(s *situation) {
				toSFU2(s, sfulink.Dead)
				p := s.Record.Participants["doctor"]
				p.State = encounter.Waiting
				s.Record.Participants["doctor"] = p
			}, nil,
		},
		"attach refused a moment ago": {
			func(s *situation) {
				s.Sessions[0].Leg.Phase, s.Sessions[0].Leg.RetryAt = legRefused, noon.Add(time.Second)
			},
			[]action{wake{noon.Add(time.Second)}},
		},
		"attach not answered yet": {
			func(s *situation) { setLeg(s, legOpening, 1) }, []action{wake{noon.Add(time.Second)}},
		},
		"attach not answered": {
			func(s *situation) { setLeg(s, legOpening, 2) }, []action{attach{"s-1", waiting(1), false}},
		},
		"attach not answered again": {
			func(s *situation) { setLeg(s, legOpening, 2); s.Sessions[0].Leg.Failures = 1 },
			[]action{replace{encounter.Placement{Region: "here", SFU: "sfu-1", Epoch: 1}}, attach{"s-1", waiting(2), false}},
		},
		"open leg was attached long ago": {func(s *situation) { setLeg(s, legOpen, 60) }, nil},
		"WHIP, ended by the media server": {
			func(s *situation) { s.Sessions[0].Leg.Phase, s.Sessions[0].Kind = legEnded, encounter.WHIP },
			[]action{leave{"doctor", "s-1"}},
		},
		"WHIP take-over not answered": {
			func(s *situation) {
				setLeg(s, legRetaking, 2)
				s.Sessions[0].Leg.Failures, s.Sessions[0].Kind = 5, encounter.WHIP
			},
			[]action{attach{"s-1", func() leg { l := waiting(6); l.Phase = legRetaking; return l }(), false}},
		},
		"WHIP offer not answered, placed elsewhere": {
			func(s *situation) {
				toSFU2(s, sfulink.Up)
				setLeg(s, legOpening, 4)
				s.Sessions[0].Kind, s.Sessions[0].Offering = encounter.WHIP, true
			},
			[]action{attach{"s-1", func() leg { l := moved; l.Reason = ""; return l }(), true}},
		},
		"second one admitted, not placed": {
			func(s *situation) {
				s.Record.Placement, s.Sessions[0].Leg = encounter.Placement{}, leg{}
				s.Record.Participants["patient"] = encounter.Participant{
					State: encounter.Admitted, Sessions: map[string]encounter.Session{"s-2": {Kind: encounter.Browser, Gateway: "gw-2"}},
				}
			},
			[]action{place{}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := inCall()
			test.change(&s)
			require.Equal(t, test.want, decide(s))
		})
	}
}

func TestMovesOfADrainAreSpread(t *testing.T) {
	s := inCall()
	s.MoveSpread = 2 * time.Second
	tenths := make(map[int]int)
	for i := range 1000 {
		s.Record.ID = fmt.Sprintf("visit-%d", i)
		turn := s.turn()
		require.GreaterOrEqual(t, turn, time.Duration(0))
		require.LessOrEqual(t, turn, s.MoveSpread)
		tenths[int(turn*10/(s.MoveSpread+1))]++
	}
	require.Len(t, tenths, 10)
	for tenth, visits := range tenths {
		require.InDelta(t, 100, visits, 60, "tenth %d", tenth)
	}
	s.Links["sfu-1"] = sfulink.State{Phase: sfulink.Up, Generation: 3, Draining: noon.Add(-s.turn() + time.Millisecond)}
	require.Equal(t, []action{wake{noon.Add(time.Millisecond)}}, decide(s))
	s.Now = noon.Add(time.Millisecond)
	require.Equal(t, []action{move{s.Record.Placement}}, decide(s))
}

func TestAuthorizeCoversTheVocabulary(t *testing.T) {
	for _, m := range []signaling.Message{
		signaling.Welcome{}, signaling.Attach{}, signaling.Peers{}, signaling.Detach{}, signaling.Join{}, signaling.Membership{},
	} {
		require.ErrorIs(t, authorize(access.Provider, m), errDirection, m.Type())
	}
	offer := func(pc signaling.PeerConnection, sources ...signaling.Source) signaling.Offer {
		m := signaling.Offer{PC: pc}
		for _, source := range sources {
			m.Tracks = append(m.Tracks, signaling.Track{Source: source})
		}
		return m
	}
	answer := signaling.Answer{PC: signaling.Subscribe}
	for _, test := range []struct {
		role access.Role
		m    signaling.Message
		want error
	}{
		{access.Patient, offer(signaling.Publish, signaling.Screen), nil},
		{access.Interpreter, offer(signaling.Publish, signaling.Screen), errNotAllowed},
		{access.Interpreter, offer(signaling.Publish, signaling.Camera, signaling.Microphone), nil},
		{access.Scribe, offer(signaling.Publish, signaling.Camera), errNotAllowed},
		{access.Scribe, offer(signaling.Publish), errNotAllowed},
		{access.Patient, offer(signaling.Publish), nil},
		{access.Patient, offer(signaling.Subscribe), errDirection},
		{access.Scribe, answer, nil},
		{access.Scribe, signaling.RestartICE{}, nil},
		{"nobody", answer, errNotAllowed},
		{"nobody", signaling.RestartICE{}, errNotAllowed},
		{access.Patient, signaling.Answer{PC: signaling.Publish}, errDirection},
	} {
		require.ErrorIs(t, authorize(test.role, test.m), test.want, "%s %+v", test.role, test.m)
	}
}

func TestOnlyProvidersDecideAboutOthers(t *testing.T) {
	for _, role := range access.Roles() {
		for _, m := range []signaling.Message{
			signaling.Admit{}, signaling.Remove{}, signaling.MuteRequest{}, signaling.Lock{}, signaling.End{},
		} {
			if role == access.Provider {
				require.NoError(t, authorize(role, m), m.Type())
				continue
			}
			require.ErrorIs(t, authorize(role, m), errNotAllowed, "%s %s", role, m.Type())
		}
	}
}

func TestMediaStateClaimsOnlyWhatTheRoleCanSend(t *testing.T) {
	all := signaling.MediaState{Audio: true, Video: true, Screen: true}
	require.Equal(t, all, claimed(access.Patient, all))
	require.Equal(t, signaling.MediaState{Audio: true, Video: true}, claimed(access.Interpreter, all))
	require.Equal(t, signaling.MediaState{}, claimed(access.Scribe, all))
	require.Equal(t, signaling.MediaState{}, claimed(access.Patient, signaling.MediaState{}))
}

func TestLastWordOfWhoIsNoLongerIn(t *testing.T) {
	e := inCall().Record
	require.NoError(t, mayStillAct(&e, "doctor", "s-1"))
	require.ErrorIs(t, mayStillAct(&e, "doctor", "s-2"), errNotAllowed)
	require.ErrorIs(t, mayStillAct(&e, "nobody", "s-1"), errNotAllowed)
	require.NoError(t, e.Remove("doctor"))
	require.ErrorIs(t, mayStillAct(&e, "doctor", "s-1"), encounter.ErrRemoved)
}
