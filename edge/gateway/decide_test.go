package gateway

import (
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
		Self: "gw-1", Now: noon, Grace: 30 * time.Second, Record: e, Everybody: roster,
		Sessions: []session{{
			ID: "s-1", Participant: "doctor", Kind: encounter.Browser, Role: access.Provider, Connected: true, Told: roster,
			Leg: leg{Route: signaling.Route{Leg: 1, Epoch: 1}, SFU: "sfu-1", Phase: legOpen, Link: 3},
		}},
		Links:   map[string]sfulink.State{"sfu-1": {Phase: sfulink.Up, Generation: 3}},
		Members: membershipMark{SFU: "sfu-1", Generation: 3, Revision: 7},
	}
}

// setSession changes the record's entry of the one session.
func setSession(s *situation, held encounter.Session) {
	s.Record.Participants["doctor"].Sessions["s-1"] = held
}

func TestDecide(t *testing.T) {
	moved := leg{
		Route: signaling.Route{Leg: 2, Epoch: 2}, SFU: "sfu-2", Region: "here", Link: 1, Phase: legOpening,
		Reason: reasonMove,
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
		"grace over": {
			func(s *situation) {
				setSession(s, encounter.Session{Kind: encounter.Browser, Gateway: "gw-1", Lost: noon.Add(-30 * time.Second)})
				s.Sessions[0].Connected = false
			},
			[]action{expire{}},
		},
		"channel not dialed": {
			func(s *situation) { s.Links["sfu-1"] = sfulink.State{Phase: sfulink.Idle} }, []action{dial{"sfu-1"}},
		},
		"channel being dialed": {
			func(s *situation) { s.Links["sfu-1"] = sfulink.State{Phase: sfulink.Dialing, Generation: 3} }, nil,
		},
		"SFU dead": {
			func(s *situation) { s.Links["sfu-1"] = sfulink.State{Phase: sfulink.Dead, Generation: 3} },
			[]action{replace{encounter.Placement{Region: "here", SFU: "sfu-1", Epoch: 1}}, dial{"sfu-1"}},
		},
		"SFU dead, being replaced": {
			func(s *situation) { s.Links["sfu-1"] = sfulink.State{Phase: sfulink.Dead}; s.Placing = true }, []action{dial{"sfu-1"}},
		},
		"SFU dead, none found": {
			func(s *situation) {
				s.Links["sfu-1"], s.PlaceAfter = sfulink.State{Phase: sfulink.Dead}, noon.Add(time.Second)
			},
			[]action{wake{noon.Add(time.Second)}, dial{"sfu-1"}},
		},
		"placed elsewhere, old SFU dead":  {func(s *situation) { toSFU2(s, sfulink.Dead) }, []action{attach{"s-1", abrupt, false}}},
		"placed elsewhere, old SFU alive": {func(s *situation) { toSFU2(s, sfulink.Up) }, []action{attach{"s-1", moved, true}}},
		"WHIP, placed elsewhere": {
			func(s *situation) { toSFU2(s, sfulink.Dead); s.Sessions[0].Kind = encounter.WHIP }, []action{leave{"doctor", "s-1"}},
		},
		"lost socket opens no leg": {
			func(s *situation) { toSFU2(s, sfulink.Dead); s.Sessions[0].Connected = false }, nil,
		},
		"attach refused a moment ago": {
			func(s *situation) {
				s.Sessions[0].Leg.Phase, s.Sessions[0].Leg.RetryAt = legRefused, noon.Add(time.Second)
			},
			[]action{wake{noon.Add(time.Second)}},
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

func TestAuthorizeCoversTheVocabulary(t *testing.T) {
	for _, m := range []signaling.Message{
		signaling.Welcome{}, signaling.Attach{}, signaling.Peers{}, signaling.Detach{}, signaling.Join{}, signaling.Membership{},
	} {
		require.ErrorIs(t, authorize(access.Provider, m), errDirection, m.Type())
	}
	screen := signaling.Offer{Tracks: []signaling.Track{{Source: signaling.Screen}}}
	require.NoError(t, authorize(access.Patient, screen))
	require.ErrorIs(t, authorize(access.Interpreter, screen), errNotAllowed)
	require.ErrorIs(t, authorize("nobody", signaling.Answer{}), errNotAllowed)
}
