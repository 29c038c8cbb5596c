package gateway

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/revocation"
)

func TestWhatAChangeOfTheRecordRevokes(t *testing.T) {
	key := encounter.Key{Tenant: "clinic", ID: "visit"}
	with := func(participants map[string]encounter.Participant) encounter.Encounter {
		return encounter.Encounter{Key: key, Participants: participants}
	}
	in := func(sessions ...string) encounter.Participant {
		p := encounter.Participant{State: encounter.Admitted, Sessions: make(map[string]encounter.Session)}
		for _, id := range sessions {
			kind := encounter.Browser
			if id == "screen" {
				kind = encounter.WHEP
			}
			p.Sessions[id] = encounter.Session{Kind: kind, Gateway: "gw-1"}
		}
		return p
	}
	removed, left := encounter.Participant{State: encounter.Removed}, encounter.Participant{State: encounter.Left}
	ended := with(map[string]encounter.Participant{"p": in("s"), "gone": removed})
	ended.Ended = time.Unix(1, 0)
	visit := revocation.Visit(key.Tenant, key.ID)
	participant := revocation.Participant(key.Tenant, key.ID, "p")
	people := func(p encounter.Participant) encounter.Encounter {
		return with(map[string]encounter.Participant{"p": p, "other": in("o")})
	}
	for name, c := range map[string]struct {
		before, after encounter.Encounter
		want          []string
	}{
		"nothing happens":         {people(in("s")), people(in("s")), nil},
		"removed":                 {people(in("s")), people(removed), []string{participant}},
		"removed long ago":        {people(removed), people(removed), nil},
		"removed before we knew":  {encounter.Encounter{}, people(removed), []string{participant}},
		"replaced":                {people(in("s")), people(in("s2")), []string{credentialID(key, "p", "s")}},
		"a second session":        {people(in("s")), people(in("s", "screen")), nil},
		"a second session closed": {people(in("s", "screen")), people(in("s")), nil},
		"left":                    {people(in("s")), people(left), nil},
		"ended":                   {people(in("s")), ended, []string{visit}},
		"ended before we knew":    {encounter.Encounter{}, ended, []string{visit}},
		"ended long ago":          {ended, ended, nil},
		"moved to another gateway": {people(in("s")), people(encounter.Participant{
			State: encounter.Admitted, Sessions: map[string]encounter.Session{"s": {Kind: encounter.Browser, Gateway: "gw-2"}},
		}), nil},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, revoked(c.before, c.after)) })
	}
}
