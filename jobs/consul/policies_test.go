package consul_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/jobs/consul"
)

func TestEveryPolicyIsAComponentsOrAPersons(t *testing.T) {
	components, err := consul.Policies()
	require.NoError(t, err)
	people, err := consul.PeoplesPolicies()
	require.NoError(t, err)
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	files := 0
	for _, entry := range entries {
		name, found := strings.CutSuffix(entry.Name(), ".hcl")
		if !found {
			continue
		}
		files++
		_, component := components[name]
		_, person := people[name]
		require.NotEqual(t, component, person, "%s is one or the other", name)
	}
	require.Len(t, components, files-len(people))
	require.Contains(t, people, "operator", "a Nomad job of this name must not get the role")
}

func TestWhatIsWrittenAtHomeIsNotWrittenElsewhere(t *testing.T) {
	components, err := consul.Policies()
	require.NoError(t, err)
	home, err := consul.HomePolicies()
	require.NoError(t, err)
	entries, err := os.ReadDir("home")
	require.NoError(t, err)
	require.Len(t, home, len(entries))
	for name, rules := range home {
		require.NotContains(t, rules, "_prefix \"\"", "%s: keys of Wardline alone", name)
		for line := range strings.Lines(rules) {
			if strings.HasPrefix(line, "key") {
				require.NotContains(t, components[name], line, name)
			}
		}
	}
}

func TestOnlyOperatorsAndTheAutoscalerSwitchMaintenance(t *testing.T) {
	components, err := consul.Policies()
	require.NoError(t, err)
	const nodeWrite = "node_prefix \"\" {\n  policy = \"write\""
	for name, rules := range components {
		require.Equal(t, name == "autoscaler", strings.Contains(rules, nodeWrite), name)
		require.NotContains(t, rules, "acl", name)
		require.NotContains(t, rules, "operator =", name)
	}
}
