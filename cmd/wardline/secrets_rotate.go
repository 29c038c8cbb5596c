package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/secrets"
)

const (
	// tokenSecret is what the token key is called beside the shared secrets.
	tokenSecret = "token"
	// leastAge keeps a schedule from retiring keys whose tokens are still valid: a day, and some time in which the
	// version before is still signed with.
	leastAge = access.MaxTokenTTL + time.Hour
)

func rotatable() []string { return []string{tokenSecret, secrets.TURNSecret, secrets.RosterSecret} }

func newSecretsRotate(vault *operatorVault) *cobra.Command {
	ages, job := ages{}, jobLogin{}
	cmd := &cobra.Command{
		Use:   "rotate token|turn|roster...",
		Short: "Make a new token key, TURN secret or roster secret",
		Long: `Make a new token key, TURN secret or roster secret. The previous one stays good until the next
rotation, and components take the new one up after 90 s, when everybody knows it: leave at least
as long as the longest token or credential lives between two rotations.

With --if-older only what is older is rotated, so that a run too many does no harm and one that was
missed is made up for by the next: that is how the job "rotator" runs it every day. Each secret is
tried; the exit code is 0 if none of them is older than its age afterwards.`,
		Example: `  wardline secrets rotate turn
  wardline secrets rotate --if-older 720h token turn roster
  wardline secrets rotate --if-older 720h,turn=168h token turn roster`,
		Args:      cobra.MatchAll(cobra.MinimumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: rotatable(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := ages.check(args); err != nil {
				return err
			}
			return job.keeper(vault, cmd, func(_ secrets.VaultConfig, keeper *secrets.Vault) error {
				var err error
				for _, name := range slices.Compact(slices.Sorted(slices.Values(args))) {
					err = errors.Join(err, rotateOne(cmd, keeper, name, ages))
				}
				return err
			})
		},
	}
	cmd.Flags().Var(ages, "if-older", "rotate only what is older: an age such as 720h, or SECRET=AGE for one of them; repeatable")
	job.bind(cmd, secrets.RotatorRole)
	return cmd
}

// rotateOne rotates one secret, if it is old where that was asked for, and says what became of it.
func rotateOne(cmd *cobra.Command, keeper *secrets.Vault, name string, ages ages) error {
	age, conditional := ages.of(name)
	if !conditional {
		if err := rotateNow(cmd.Context(), keeper, name); err != nil {
			return err
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "rotated %s\n", name)
		return err
	}
	found, err := rotateIfOlder(cmd.Context(), keeper, name, age)
	if err != nil {
		return err
	}
	was := "there was none"
	if found.Age > 0 {
		was = "it was " + short(found.Age) + " old"
	}
	if found.Done {
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "rotated %s: %s\n", name, was)
	} else {
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "kept %s: it is %s old, rotated when older than %s\n",
			name, short(found.Age), short(age))
	}
	return err
}

// short writes an age to the second without zeros at its end: 720h, not 720h0m0s.
func short(age time.Duration) string {
	text := age.Round(time.Second).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func rotateNow(ctx context.Context, keeper *secrets.Vault, name string) error {
	if name == tokenSecret {
		return keeper.RotateTokenKey(ctx)
	}
	return keeper.RotateShared(ctx, name)
}

func rotateIfOlder(ctx context.Context, keeper *secrets.Vault, name string, age time.Duration) (secrets.Rotation, error) {
	if name == tokenSecret {
		return keeper.RotateTokenKeyIfOlder(ctx, age)
	}
	return keeper.RotateSharedIfOlder(ctx, name, age)
}

// ages are from which age on secrets are rotated, by name; "" is for those not named. It is a flag's value.
type ages map[string]time.Duration

func (a ages) of(name string) (time.Duration, bool) {
	if age, ok := a[name]; ok {
		return age, true
	}
	age, ok := a[""]
	return age, ok
}

// check refuses an age of what is not to be rotated, and a secret without one beside those that have one: it would be
// rotated by every run.
func (a ages) check(args []string) error {
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if name != "" && !slices.Contains(args, name) {
			return fmt.Errorf("--if-older %s=%s: %s is not among what is to be rotated", name, a[name], name)
		}
	}
	for _, name := range args {
		if _, ok := a.of(name); len(a) > 0 && !ok {
			return fmt.Errorf("--if-older: no age for %s", name)
		}
	}
	return nil
}

// Set implements pflag.Value.
func (a ages) Set(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		name, value, named := strings.Cut(part, "=")
		if !named {
			name, value = "", part
		}
		if named && !slices.Contains(rotatable(), name) {
			return fmt.Errorf("%.40q: must be one of %s", name, strings.Join(rotatable(), ", "))
		}
		age, err := time.ParseDuration(value)
		if err != nil || age < leastAge {
			return fmt.Errorf("age %.40q: must be a duration such as 720h, at least %s, since tokens live up to %s",
				value, short(leastAge), short(access.MaxTokenTTL))
		}
		a[name] = age
	}
	return nil
}

// String implements pflag.Value.
func (a ages) String() string {
	parts := make([]string, 0, len(a))
	for _, name := range slices.Sorted(maps.Keys(a)) {
		part := short(a[name])
		if name != "" {
			part = name + "=" + part
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ",")
}

// Type implements pflag.Value.
func (a ages) Type() string { return "age" }
