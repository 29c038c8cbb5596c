package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// environmentPrefix starts the name of every flag's environment twin.
const environmentPrefix = "WARDLINE_"

// environmentName is the twin of a flag: log-level becomes WARDLINE_LOG_LEVEL.
func environmentName(flag string) string {
	return environmentPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// alternatives are flags of which a command takes one.
var alternatives = [][]string{{"out", "dir"}, {"jwks-url", "jwt-key-file"}, {"vault-token-file", "vault-jwt-file"}}

// consent is the flag without a twin: a variable that was set for one question would answer every other.
const consent = "yes"

// decided are the flags that the command line leaves nothing to say about: those given, and the alternatives to them.
func decided(flags *pflag.FlagSet) map[string]bool {
	names := make(map[string]bool)
	for _, group := range alternatives {
		for _, name := range group {
			if flags.Changed(name) {
				for _, other := range group {
					names[other] = true
				}
			}
		}
	}
	flags.Visit(func(flag *pflag.Flag) { names[flag.Name] = true })
	return names
}

// applyEnvironment sets every flag from its twin that the command line has not decided, consent aside.
func applyEnvironment(flags *pflag.FlagSet, lookup func(string) (string, bool)) error {
	var errs []error
	given := decided(flags)
	flags.VisitAll(func(flag *pflag.Flag) {
		value, ok := lookup(environmentName(flag.Name))
		if given[flag.Name] || !ok || flag.Name == consent {
			return
		}
		if err := flags.Set(flag.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("%s=%q: %w", environmentName(flag.Name), value, err))
		}
	})
	return errors.Join(errs...)
}
