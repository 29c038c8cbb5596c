// Command wardline is every component of Wardline in one binary.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes of every subcommand.
const (
	exitOK      = 0
	exitFailure = 1 // something went wrong while running
	exitUsage   = 2 // the command line, the environment or a configuration value is wrong
)

func main() {
	if err := forbidCoreDumps(); err != nil {
		fmt.Fprintf(os.Stderr, "wardline: core dumps cannot be forbidden: %v\n", err)
		os.Exit(exitFailure)
	}
	// Who reads the log or the output may go away, which must not end calls or leave broken what a drill broke: with a
	// handler the write fails instead, and without one Go ends the process.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	release := context.CancelFunc(func() {})
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		// A lost terminal is no reason to leave broken what a drill broke; kernel and shell both tell of it.
		ctx, release = signal.NotifyContext(ctx, syscall.SIGHUP)
	}
	context.AfterFunc(ctx, stop) // a second signal but SIGHUP ends the process as if there were no handler
	code := execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	release()
	os.Exit(code)
}

// execute runs one command line and turns its error into a line, or one for each of several, and an exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.InitDefaultCompletionCmd() // now, since cobra's own shows its help for any shell it does not know
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		completion.Args, completion.RunE = onlyOthers, showHelp
	}
	root.InitDefaultHelpCmd()
	if help, _, err := root.Find([]string{"help"}); err == nil {
		help.RunE = showHelpOn
	}
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	_, _ = fmt.Fprintf(stderr, "wardline: %s\n", strings.ReplaceAll(err.Error(), "\n", "\nwardline: "))
	if failure, ok := errors.AsType[*runError](err); ok && failure != nil {
		return exitFailure
	}
	return exitUsage
}

// runError marks an error that happened after the command line was understood.
type runError struct{ err error }

func (e *runError) Error() string { return e.err.Error() }
func (e *runError) Unwrap() error { return e.err }

func failed(err error) error {
	if err == nil {
		return nil
	}
	return &runError{err}
}

// unlessStopped is err, or nil where all it says is that a server was told to end, as every server is one day. A command
// that was to get something done has not done it then, and keeps the error.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// showHelp runs a command that only has others, which with onlyOthers refuses those it does not have: one that runs
// nothing would show its help for any mistyped name, and exit as if that had been done.
func showHelp(cmd *cobra.Command, _ []string) error { return failed(cmd.Help()) }

// showHelpOn is cobra's own help, which for a mistyped command would show another one's and exit as if it had been found.
func showHelpOn(cmd *cobra.Command, args []string) error {
	found, rest, err := cmd.Root().Find(args)
	if err == nil {
		err = onlyOthers(found, rest)
	}
	if err != nil {
		return err
	}
	found.InitDefaultHelpFlag() // what runs has it, and help shows it
	return showHelp(found, nil)
}

// typos is how many letters a name may be off that is still taken for what was meant; it is cobra's default.
const typos = 2

// onlyOthers refuses a command that cmd does not have and names those that were probably meant.
func onlyOthers(cmd *cobra.Command, args []string) error {
	err := cobra.NoArgs(cmd, args)
	if err == nil {
		return nil
	}
	cmd.SuggestionsMinimumDistance = typos
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		err = fmt.Errorf("%w: did you mean %s?", err, strings.Join(near, " or "))
	}
	return err
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "wardline",
		Short: "Telehealth video at the edge",
		Long: `Wardline runs telehealth video visits on servers near the patient.

Start with "wardline dev": everything in one process, with links to open in a browser.

Every flag but --yes has an environment twin: --log-level is WARDLINE_LOG_LEVEL. A flag given on the command
line wins. Exit codes: 0 success, 1 failure while running, 2 wrong usage or configuration.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return applyEnvironment(cmd.Flags(), os.LookupEnv)
		},
	}
	root.AddCommand(newDev(), newGateway(), newSFU(), newTURN(), newToken(), newSecrets(), newTenant(),
		newParticipant(), newDrill(), newLoad(), newVersion())
	completeFlags(root)
	return root
}
