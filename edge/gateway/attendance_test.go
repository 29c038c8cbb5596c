package gateway

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
)

func TestAttendance(t *testing.T) {
	fresh, stale, gone := []discovery.Service{{ID: "gw-2"}}, []discovery.Service{{ID: "gw-2", Stale: true}}, []discovery.Service(nil)
	for name, test := range map[string]struct {
		sweeps [][]discovery.Service // 5 s apart
		want   whereabouts
	}{
		"there":                      {[][]discovery.Service{fresh, fresh, fresh, fresh, fresh}, here},
		"missed once":                {[][]discovery.Service{fresh, gone}, here},
		"missed twice":               {[][]discovery.Service{fresh, gone, gone}, vanished},
		"back":                       {[][]discovery.Service{gone, gone, fresh}, here},
		"region silent for 10 s":     {[][]discovery.Service{fresh, stale, stale, stale}, here},
		"region silent for 15 s":     {[][]discovery.Service{fresh, stale, stale, stale, stale}, unreachable},
		"region answers again":       {[][]discovery.Service{stale, stale, stale, stale, fresh}, here},
		"region silent now and then": {[][]discovery.Service{stale, stale, stale, fresh, stale, stale, stale}, here},
		"region answers, the gateway is not there": {[][]discovery.Service{stale, stale, stale, stale, gone, gone}, vanished},
	} {
		t.Run(name, func(t *testing.T) {
			a, now := newAttendance("gw-1"), noon
			for i, services := range test.sweeps {
				now = noon.Add(time.Duration(i) * 5 * time.Second)
				a.take(services, map[string]bool{"gw-1": true, "gw-2": true}, now)
			}
			require.Equal(t, test.want, a.of("gw-2", now))
			require.Equal(t, here, a.of("gw-1", now), "oneself is never missing")
			a.take(nil, nil, now)
			require.Empty(t, a.missed, "what no record names is forgotten")
			require.Empty(t, a.stale)
		})
	}
}

func TestOrphans(t *testing.T) {
	e := encounter.Encounter{Participants: map[string]encounter.Participant{"p": {Sessions: map[string]encounter.Session{
		"browser": {Kind: encounter.Browser}, "whip": {Kind: encounter.WHIP}, "whep": {Kind: encounter.WHEP},
		"lost": {Kind: encounter.Browser, Lost: noon},
	}}}}
	for name, test := range map[string]struct {
		where       whereabouts
		lose, adopt map[string]string
	}{
		"here":        {here, map[string]string{}, map[string]string{}},
		"unreachable": {unreachable, map[string]string{"browser": "p"}, map[string]string{}},
		"vanished":    {vanished, map[string]string{"browser": "p"}, map[string]string{"whip": "p", "whep": "p"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := orphans(e, func(string, encounter.Session) whereabouts { return test.where }, func(session string, lost time.Time) bool {
				return noon.After(halfAMinute(session, lost))
			})
			require.Equal(t, tending{Lose: test.lose, Adopt: test.adopt}, got)
		})
	}
}
