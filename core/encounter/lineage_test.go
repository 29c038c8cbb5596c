package encounter_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
)

func TestTermsBelongToOneRegionEach(t *testing.T) {
	homes := []string{"east", "west", "onprem"}
	for _, c := range []struct {
		region string
		above  uint64
		want   uint64
	}{
		{"west", 0, 1},
		{"onprem", 0, 2},
		{"east", 0, 3},
		{"east", 1, 3},
		{"west", 1, 4},
		{"onprem", 1, 2},
		{"west", 2, 4},
		{"east", 3, 6},
		{"onprem", encounter.MaxTerm - 3, encounter.MaxTerm - 2},
	} {
		t.Run(fmt.Sprintf("%s above %d", c.region, c.above), func(t *testing.T) {
			term, ok := encounter.NextTerm(homes, c.region, c.above)
			require.True(t, ok)
			require.Equal(t, c.want, term)
			e := encounter.Encounter{Homes: homes, Term: term}
			require.Equal(t, c.region, e.Writer())
		})
	}
	_, ok := encounter.NextTerm(homes, "north", 0)
	require.False(t, ok, "not a home")
	_, ok = encounter.NextTerm(homes, "east", encounter.MaxTerm)
	require.False(t, ok, "no term is left")
	require.Empty(t, (&encounter.Encounter{}).Writer())
}

func TestRevisionsGrowWithTermAndVersion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) encounter.Stamp {
			return encounter.Stamp{
				Region: "east", Term: rapid.Uint64Range(0, encounter.MaxTerm).Draw(t, label+" term"),
				Version: rapid.Uint64Range(0, encounter.MaxVersion).Draw(t, label+" version"),
			}
		}
		a, b := draw("a"), draw("b")
		require.Less(t, a.Revision(), uint64(1)<<53, "browsers keep it exact")
		require.Equal(t, a.Compare(b) < 0, a.Revision() < b.Revision())
	})
}

func TestARecordKnowsWhatItDescendsFrom(t *testing.T) {
	e := encounter.Encounter{Homes: []string{"east", "west"}, Term: 3, Version: 9}
	e.Remember(
		encounter.Stamp{Region: "west", Term: 1, Version: 7}, encounter.Stamp{Region: "east", Term: 0, Version: 5},
		encounter.Stamp{Region: "east", Term: 0, Version: 4}, encounter.Stamp{Region: "west", Term: 3, Version: 8},
	)
	require.Len(t, e.Past, 2, "each line once, its own not at all")
	for _, c := range []struct {
		stamp encounter.Stamp
		knows bool
	}{
		{encounter.Stamp{Region: "west", Term: 3, Version: 9}, true},
		{encounter.Stamp{Region: "west", Term: 3, Version: 10}, false},
		{encounter.Stamp{Region: "west", Term: 1, Version: 7}, true},
		{encounter.Stamp{Region: "west", Term: 1, Version: 8}, false},
		{encounter.Stamp{Region: "east", Term: 0, Version: 5}, true},
		{encounter.Stamp{Region: "east", Term: 0, Version: 6}, false},
		{encounter.Stamp{Region: "east", Term: 2, Version: 1}, false},
		{encounter.Stamp{Region: "north", Term: 0, Version: 1}, false},
	} {
		require.Equal(t, c.knows, e.Knows(c.stamp), "%+v", c.stamp)
	}
}

func TestThePastIsBounded(t *testing.T) {
	e := encounter.Encounter{Homes: []string{"east", "west"}, Term: 1000, Version: 1000}
	for term := range uint64(100) {
		e.Remember(encounter.Stamp{Region: e.Homes[term%2], Term: term, Version: 1})
	}
	require.Len(t, e.Past, encounter.MaxPast)
	require.True(t, e.Knows(encounter.Stamp{Region: "west", Term: 99, Version: 1}))
	require.False(t, e.Knows(encounter.Stamp{Region: "west", Term: 99, Version: 2}))
	require.True(t, e.Knows(encounter.Stamp{Region: "east", Term: 2, Version: 77}), "older than all that is remembered")
}

func TestLineageFromOutsideIsChecked(t *testing.T) {
	many := strings.TrimSuffix(strings.Repeat(`"r%d",`, encounter.MaxHomes+1), ",")
	numbers := make([]any, encounter.MaxHomes+1)
	for i := range numbers {
		numbers[i] = i
	}
	for name, c := range map[string]struct {
		members string
		sound   bool
	}{
		"none":                {``, true},
		"all":                 {`,"homes":["east","west"],"term":3,"version":4,"past":[{"r":"east","t":0,"v":3}]`, true},
		"largest":             {`,"homes":["east"],"term":2097151,"version":4294967295`, true},
		"empty home":          {`,"homes":[""]`, false},
		"home with a path":    {`,"homes":["../east"]`, false},
		"home twice":          {`,"homes":["east","west","east"]`, false},
		"too many homes":      {`,"homes":[` + fmt.Sprintf(many, numbers...) + `]`, false},
		"term out of range":   {`,"homes":["east"],"term":2097152`, false},
		"negative term":       {`,"term":-1`, false},
		"version too large":   {`,"version":4294967296`, false},
		"past of the future":  {`,"homes":["east"],"term":1,"past":[{"r":"west","t":2,"v":1}]`, false},
		"past out of order":   {`,"term":5,"past":[{"r":"west","t":2,"v":1},{"r":"east","t":1,"v":1}]`, false},
		"past version beyond": {`,"term":5,"past":[{"r":"west","t":2,"v":4294967296}]`, false},
		"too long a past":     {`,"past":[` + strings.Repeat(`{},`, encounter.MaxPast) + `{}]`, false},
	} {
		t.Run(name, func(t *testing.T) {
			kv := discovery.NewMemory()
			_, err := kv.CompareAndSet(t.Context(), visitPath, []byte(`{"tenant":"clinic","id":"visit-1"`+c.members+`}`), 0)
			require.NoError(t, err)
			e, err := encounter.NewKVStore(kv).Get(t.Context(), visit)
			if !c.sound {
				require.ErrorIs(t, err, encounter.ErrDamaged)
				return
			}
			require.NoError(t, err)
			_ = e.Stamp()
		})
	}
}

func TestACloneSharesNothing(t *testing.T) {
	e := half(3, map[string]encounter.Participant{
		"p": admitted(map[string]encounter.Session{"s": {Kind: encounter.Browser}}),
	})
	e.Past = []encounter.Stamp{{Region: "west", Term: 1, Version: 1}}
	e.Regions = []string{"east"}
	before, err := json.Marshal(e)
	require.NoError(t, err)
	c := e.Clone()
	require.Equal(t, e, c)
	c.Homes[0], c.Regions[0], c.Past[0].Version = "x", "x", 9
	c.Participants["p"].Sessions["t"] = encounter.Session{}
	c.Participants["p"].RTT["east"] = 99
	c.Participants["p"].Badge[0] = 99
	c.Participants["q"] = encounter.Participant{}
	after, err := json.Marshal(e)
	require.NoError(t, err)
	require.JSONEq(t, string(before), string(after))
}
