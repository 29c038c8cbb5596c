package jobs_test

import (
	"path/filepath"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// functions are those of Nomad's that conditions of variables use.
var functions = map[string]function.Function{
	"can": tryfunc.CanFunc, "contains": stdlib.ContainsFunc, "formatdate": stdlib.FormatDateFunc, "parseint": stdlib.ParseIntFunc,
	"split": stdlib.SplitFunc, "substr": stdlib.SubstrFunc, "timeadd": stdlib.TimeAddFunc, "try": tryfunc.TryFunc,
}

// variables are the variable blocks of a job file by name.
func variables(t *testing.T, file string) map[string]*hclsyntax.Body {
	t.Helper()
	parsed, diagnostics := hclparse.NewParser().ParseHCLFile(file)
	require.False(t, diagnostics.HasErrors(), diagnostics)
	body, ok := parsed.Body.(*hclsyntax.Body)
	require.True(t, ok)
	found := make(map[string]*hclsyntax.Body)
	for _, block := range body.Blocks {
		if block.Type == "variable" {
			found[block.Labels[0]] = block.Body
		}
	}
	return found
}

// accepted reports whether a variable may have the value.
func accepted(t *testing.T, name string, variable *hclsyntax.Body, value cty.Value) bool {
	t.Helper()
	context := &hcl.EvalContext{
		Functions: functions, Variables: map[string]cty.Value{"var": cty.ObjectVal(map[string]cty.Value{name: value})},
	}
	for _, block := range variable.Blocks {
		holds, diagnostics := block.Body.Attributes["condition"].Expr.Value(context)
		require.False(t, diagnostics.HasErrors(), "%s: %v", name, diagnostics)
		if holds.False() {
			return false
		}
	}
	return true
}

func TestVariablesAreDescribedAndTheirDefaultsAccepted(t *testing.T) {
	files, err := filepath.Glob("*.nomad.hcl")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		for name, variable := range variables(t, file) {
			require.Contains(t, variable.Attributes, "type", "%s: %s", file, name)
			require.Contains(t, variable.Attributes, "description", "%s: %s", file, name)
			if given := variable.Attributes["default"]; given != nil {
				value, diagnostics := given.Expr.Value(nil)
				require.False(t, diagnostics.HasErrors(), diagnostics)
				require.True(t, accepted(t, name, variable, value), "%s: %s", file, name)
			}
		}
	}
}

// TestWhatNoComponentWouldStartWithIsRefusedBefore is of values that Nomad takes: the rotation would fail every night, the
// backup every hour, and an update would stop a server that works.
func TestWhatNoComponentWouldStartWithIsRefusedBefore(t *testing.T) {
	text, number := cty.StringVal, cty.NumberIntVal
	for _, test := range []struct {
		variable  string
		jobs      []string
		good, bad []cty.Value
	}{
		{"checksum", []string{"sfu", "turn", "gateway", "rotator", "backup"}, []cty.Value{text("sha256:00")}, []cty.Value{text("00")}},
		{"log_level", []string{"sfu", "turn", "gateway"}, []cty.Value{text("debug")}, []cty.Value{text("loud"), text("")}},
		{
			"vault",
			[]string{"sfu", "turn", "gateway"},
			[]cty.Value{text(""), text("https://10.1.0.10:8200"), text("${meta.vault}")},
			[]cty.Value{text("http://10.1.0.10:8200"), text("10.1.0.10:8200")},
		},
		{
			"vault",
			[]string{"rotator", "backup"},
			[]cty.Value{text("https://10.1.0.10:8200"), text("${meta.vault}")},
			[]cty.Value{text(""), text("vault:8200")},
		},
		{
			"drain_timeout",
			[]string{"sfu", "turn"},
			[]cty.Value{text("90s"), text("1h30m"), text("0")},
			[]cty.Value{text("60"), text(""), text("1 h"), text("1d")},
		},
		{"max_encounters", []string{"gateway"}, []cty.Value{number(1)}, []cty.Value{number(0)}},
		{"capacity", []string{"sfu"}, []cty.Value{number(1)}, []cty.Value{number(0)}},
		{"relay_ports", []string{"turn"}, []cty.Value{text("50000-60000")}, []cty.Value{text("50000"), text("60000-50000"), text("a-b")}},
		{"token_age", []string{"rotator"}, []cty.Value{text("25h"), text("1500m")}, []cty.Value{text("24h59m"), text("30d"), text("")}},
		{"turn_age", []string{"rotator"}, []cty.Value{text("168h")}, []cty.Value{text("24h"), text("7d")}},
		{"roster_age", []string{"rotator"}, []cty.Value{text("9000h")}, []cty.Value{text("1h"), text("month")}},
		{"keep", []string{"backup"}, []cty.Value{number(1)}, []cty.Value{number(0)}},
		{"folder", []string{"backup"}, []cty.Value{text("/srv/vault")}, []cty.Value{text(""), text("vault")}},
	} {
		for _, job := range test.jobs {
			variable := variables(t, job+".nomad.hcl")[test.variable]
			require.NotNil(t, variable, "%s: %s", job, test.variable)
			for _, value := range test.good {
				require.True(t, accepted(t, test.variable, variable, value), "%s: %s = %#v", job, test.variable, value)
			}
			for _, value := range test.bad {
				require.False(t, accepted(t, test.variable, variable, value), "%s: %s = %#v", job, test.variable, value)
			}
		}
	}
}
