package encounter_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
)

func TestEnteringByRoleIsNoAdmission(t *testing.T) {
	back := map[string]func(e *encounter.Encounter){
		"in the place of the other session": func(*encounter.Encounter) {},
		"after leaving":                     func(e *encounter.Encounter) { e.Leave("p", "s1") },
		"after being lost": func(e *encounter.Encounter) {
			e.Lose("p", "s1", noon)
			e.Expire(lostFor(noon.Add(grace), grace))
		},
	}
	for _, first := range []access.Role{access.Provider, access.Supervisor} {
		for _, kind := range []encounter.SessionKind{encounter.Browser, encounter.WHIP} {
			for name, before := range back {
				var e encounter.Encounter
				mustJoin(t, &e, "p", first, "s1")
				before(&e)
				_, err := join(&e, "p", access.Patient, "s2", kind)
				require.NoError(t, err)
				require.Equal(t, encounter.Waiting, state(e, "p"), "%s %s", first, name)
				require.NoError(t, e.Admit("p"))
				mustJoin(t, &e, "p", first, "s3")
				mustJoin(t, &e, "p", access.Patient, "s4")
				require.Equal(t, encounter.Admitted, state(e, "p"), "somebody let them in")
			}
		}
	}
}

func TestPlayerLetsNobodyIn(t *testing.T) {
	var e encounter.Encounter
	mustJoin(t, &e, "p", access.Patient, "browser")
	_, err := join(&e, "p", access.Provider, "player", encounter.WHEP)
	require.NoError(t, err)
	require.Equal(t, encounter.Waiting, state(e, "p"))
	mustJoin(t, &e, "q", access.Provider, "browser")
	_, err = join(&e, "q", access.Patient, "player", encounter.WHEP)
	require.NoError(t, err)
	require.Equal(t, encounter.Admitted, state(e, "q"))
}
