// Package vaultpolicies is how a region's Vault is set up for Wardline: mounts, keys, roles and one least-privilege
// policy a component, as files beside this one, and the step that brings a Vault to that state.
package vaultpolicies

import (
	"embed"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

//go:embed mounts.hcl keys.hcl pki.hcl jwt.hcl policies/*.hcl
var files embed.FS

// Policy returns the policy of a component as its file in policies/ has it.
func Policy(c Component) (string, error) {
	text, err := files.ReadFile("policies/" + string(c) + ".hcl")
	if err != nil {
		return "", fmt.Errorf("policy of %s: %w", c, err)
	}
	return string(text), nil
}

// Render writes the policy of a component as the table has it. The files in policies/ hold the result.
func Render(c Component, table []Group) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# What %s may do in Vault. Written from the table in table.go: go generate ./vault-policies\n", c)
	for _, stanza := range stanzas(c, table) {
		b.WriteString("\n")
		for _, why := range stanza.whys {
			fmt.Fprintf(&b, "# To %s.\n", why)
		}
		fmt.Fprintf(&b, "path %q {\n  capabilities = %s\n", stanza.rule.Path, list(stanza.rule.Capabilities))
		if stanza.rule.Parameters != nil {
			b.WriteString("  allowed_parameters = {\n")
			for _, name := range slices.Sorted(maps.Keys(stanza.rule.Parameters)) {
				fmt.Fprintf(&b, "    %q = %s\n", name, list(stanza.rule.Parameters[name]))
			}
			b.WriteString("  }\n")
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// stanza is a rule with the reasons for it.
type stanza struct {
	rule Rule
	whys []string
}

// stanzas joins rules for the same path, in the order of the table.
func stanzas(c Component, table []Group) []*stanza {
	var all []*stanza
	byPath := map[string]*stanza{}
	for _, group := range table {
		if !group.Allows(c) {
			continue
		}
		for _, rule := range group.Rules {
			known := byPath[rule.Path]
			if known == nil {
				known = &stanza{rule: Rule{Path: rule.Path}}
				byPath[rule.Path] = known
				all = append(all, known)
			}
			known.whys = append(known.whys, group.Why)
			known.rule.Capabilities = union(known.rule.Capabilities, rule.Capabilities)
			if rule.Parameters != nil {
				known.rule.Parameters = rule.Parameters
			}
		}
	}
	return all
}

func union(a, b []string) []string {
	joined := slices.Concat(a, b)
	slices.Sort(joined)
	return slices.Compact(joined)
}

func list(values []string) string {
	quoted := make([]string, len(values))
	for i, value := range values {
		quoted[i] = strconv.Quote(value)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
