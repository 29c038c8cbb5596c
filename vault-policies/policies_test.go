package vaultpolicies_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	vaultpolicies "github.com/wardline/wardline/vault-policies"
)

func TestPoliciesSayWhatTheTableSays(t *testing.T) {
	table := vaultpolicies.Table()
	for _, component := range vaultpolicies.Components() {
		policy, err := vaultpolicies.Policy(component)
		require.NoError(t, err)
		require.Equal(t, vaultpolicies.Render(component, table), policy, "run go generate ./vault-policies")
	}
	listed, err := os.ReadDir("policies")
	require.NoError(t, err)
	require.Len(t, listed, len(vaultpolicies.Components()), "a policy that belongs to no component")
}

// markdown writes the table for people.
func markdown(table []vaultpolicies.Group) string {
	var b strings.Builder
	b.WriteString("| |")
	for _, c := range vaultpolicies.Components() {
		fmt.Fprintf(&b, " %s |", c)
	}
	b.WriteString("\n| --- |" + strings.Repeat(" :-: |", len(vaultpolicies.Components())) + "\n")
	for _, group := range table {
		fmt.Fprintf(&b, "| %s |", group.Name)
		for _, c := range vaultpolicies.Components() {
			if group.Allows(c) {
				b.WriteString(" yes |")
			} else {
				b.WriteString(" |")
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestSecurityPageHoldsTheTable(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "security.md"))
	require.NoError(t, err)
	table := markdown(vaultpolicies.Table())
	require.Contains(t, string(page), table, "docs/security.md must hold:\n%s", table)
}

func TestTableIsWhole(t *testing.T) {
	names := map[string]bool{}
	for _, group := range vaultpolicies.Table() {
		require.False(t, names[group.Name], "%q twice", group.Name)
		names[group.Name] = true
		require.NotEmpty(t, group.Probes, "%q is not tried", group.Name)
		require.Equal(t, len(group.Who) > 0, len(group.Rules) > 0, "%q: rules and who they are for belong together", group.Name)
		for _, rule := range group.Rules {
			// A glob at the end would also cover what later versions of an engine add.
			require.NotContains(t, rule.Path, "*", group.Name)
			require.NotEmpty(t, rule.Capabilities, group.Name)
			require.True(t, tried(group, rule), "%q: nothing tries %s", group.Name, rule.Path)
		}
	}
}

// tried reports whether a probe of the group is for the rule.
func tried(group vaultpolicies.Group, rule vaultpolicies.Rule) bool {
	pattern := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(rule.Path), `\+`, "[^/]+") + "$")
	for _, probe := range group.Probes {
		if pattern.MatchString(probe.Path) {
			return true
		}
	}
	return false
}

func TestNobodyReadsSecretsAndOperates(t *testing.T) {
	for _, group := range vaultpolicies.Table() {
		for _, rule := range group.Rules {
			secret := strings.Contains(rule.Path, "/data/") || strings.Contains(rule.Path, "/decrypt/") ||
				strings.Contains(rule.Path, "/sign/") || strings.Contains(rule.Path, "/datakey/")
			if !secret || strings.Join(rule.Capabilities, ",") == "create,update" {
				continue
			}
			require.False(t, group.Allows(vaultpolicies.Operator), "%s: %s", group.Name, rule.Path)
			require.False(t, group.Allows(vaultpolicies.Auditor), "%s: %s", group.Name, rule.Path)
		}
	}
}
