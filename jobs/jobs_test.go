// Package jobs_test evaluates what the job files make of their variables. Nomad itself runs them in test/stack.
package jobs_test

import (
	"testing"

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

func TestLinksLeadToThePortThatGatewaysListenOn(t *testing.T) {
	for given, want := range map[string]string{
		"": "https://${attr.unique.network.ip-address}:443", "https://visits.example": "https://visits.example",
	} {
		vars := map[string]cty.Value{"http_port": cty.NumberIntVal(443), "public_url": cty.StringVal(given)}
		require.Equal(t, want, evaluate(t, "gateway", vars, "public_url", "locals").AsString())
	}
}
