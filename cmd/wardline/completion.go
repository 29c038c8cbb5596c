package main

import (
	"github.com/spf13/cobra"

	"github.com/wardline/wardline/core/access"
)

// choices are the flags that take one of a few values, in whichever command they are.
func choices() map[string][]string {
	roles := make([]string, 0, len(access.Roles()))
	for _, role := range access.Roles() {
		roles = append(roles, string(role))
	}
	return map[string][]string{
		"format":    {"token", "link", "json"},
		"log-level": {"debug", "info", "warn", "error"},
		"progress":  {"text", "json", "none"},
		"role":      roles,
	}
}

// completeFlags has shells complete the values of flags, which otherwise get names of files.
func completeFlags(cmd *cobra.Command) {
	for name, values := range choices() {
		if cmd.Flags().Lookup(name) != nil {
			cobra.CheckErr(cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)))
		}
	}
	for _, folder := range []string{"data", "dir", "report"} {
		if flags := cmd.LocalFlags(); flags.Lookup(folder) != nil {
			cobra.CheckErr(flags.SetAnnotation(folder, cobra.BashCompSubdirsInDir, nil))
		}
	}
	for _, child := range cmd.Commands() {
		completeFlags(child)
	}
}
