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

// applyEnvironment sets every flag that was not given on the command line from its twin.
func applyEnvironment(flags *pflag.FlagSet, lookup func(string) (string, bool)) error {
	var errs []error
	flags.VisitAll(func(flag *pflag.Flag) {
		value, ok := lookup(environmentName(flag.Name))
		if flag.Changed || !ok {
			return
		}
		if err := flags.Set(flag.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("%s=%q: %w", environmentName(flag.Name), value, err))
		}
	})
	return errors.Join(errs...)
}
