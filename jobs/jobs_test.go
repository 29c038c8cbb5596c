// Package jobs_test evaluates what the job files make of their variables. Nomad itself runs them in test/stack.
package jobs_test

import (
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"
)

// evaluate returns an attribute of a job file, inside the blocks of the path, with these variables.
func evaluate(t *testing.T, job string, vars map[string]cty.Value, attribute string, path ...string) cty.Value {
	t.Helper()
	file, diagnostics := hclparse.NewParser().ParseHCLFile(job + ".nomad.hcl")
	require.False(t, diagnostics.HasErrors(), diagnostics)
	body, ok := file.Body.(*hclsyntax.Body)
	require.True(t, ok)
	for _, name := range path {
		var inner *hclsyntax.Body
		for _, block := range body.Blocks {
			if block.Type == name {
				inner = block.Body
			}
		}
		require.NotNil(t, inner, "%s has no block %s", job, name)
		body = inner
	}
	found := body.Attributes[attribute]
	require.NotNil(t, found, "%s: no %s in %v", job, attribute, path)
	value, diagnostics := found.Expr.Value(&hcl.EvalContext{Variables: map[string]cty.Value{"var": cty.ObjectVal(vars)}})
	require.False(t, diagnostics.HasErrors(), diagnostics)
	return value
}

// TestUpdatesWithoutCanaries is of what Nomad refuses: promoting canaries where there are none.
func TestUpdatesWithoutCanaries(t *testing.T) {
	for _, job := range []string{"sfu", "turn", "gateway"} {
		for canary, promote := range map[int64]bool{0: false, 25: true} {
			vars := map[string]cty.Value{"canary": cty.NumberIntVal(canary)}
			require.Equal(t, promote, evaluate(t, job, vars, "auto_promote", "job", "update").True(), "%s with canary=%d", job, canary)
		}
	}
}

// TestNomadWaitsForDrains is of a kill_timeout below drain_timeout, which would cut calls.
func TestNomadWaitsForDrains(t *testing.T) {
	for _, job := range []string{"sfu", "turn"} {
		for _, given := range []string{"1h", "3h", "1h30m", "90s", "0.5h", "0"} {
			vars := map[string]cty.Value{"drain_timeout": cty.StringVal(given)}
			waits, err := time.ParseDuration(evaluate(t, job, vars, "kill_timeout", "job", "group", "task").AsString())
			require.NoError(t, err, "%s with drain_timeout=%s", job, given)
			drains, err := time.ParseDuration(given)
			require.NoError(t, err)
			require.Equal(t, drains+time.Minute, waits, "%s with drain_timeout=%s", job, given)
		}
	}
}

func TestLinksLeadToThePortThatGatewaysListenOn(t *testing.T) {
	for given, want := range map[string]string{
		"": "https://${attr.unique.network.ip-address}:443", "https://visits.example": "https://visits.example",
	} {
		vars := map[string]cty.Value{"http_port": cty.NumberIntVal(443), "public_url": cty.StringVal(given)}
		require.Equal(t, want, evaluate(t, "gateway", vars, "public_url", "locals").AsString())
	}
}
