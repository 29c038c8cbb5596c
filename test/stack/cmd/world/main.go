//go:build linux

// Command world starts a world of regions on this machine, breaks it on demand and ends it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	stack "github.com/wardline/wardline/test/stack"
	"github.com/wardline/wardline/test/stack/control"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := root().ExecuteContext(ctx)
	stop()
	if code, ok := errors.AsType[exitError](err); ok {
		os.Exit(max(int(code), 1)) // the command on the node has said what there is to say
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "world:", err)
		os.Exit(1)
	}
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use: "world", SilenceUsage: true, SilenceErrors: true,
		Short: "A world of regions on this machine: real Consul, Nomad and Vault servers on nodes that can be broken",
		Long:  "Verbs on a running world:\n  " + strings.Join(stack.Verbs(), "\n  "),
	}
	cmd.AddCommand(up(), supervise(), down(), status(), env(), run())
	for _, usage := range stack.Verbs() {
		name, _, _ := strings.Cut(usage, " ")
		form, short, _ := strings.Cut(usage, ": ")
		cmd.AddCommand(&cobra.Command{
			Use: form, Short: short, Args: cobra.RangeArgs(1, 2),
			RunE: func(cmd *cobra.Command, args []string) error {
				return ask(cmd.Context(), control.Request{Verb: name, Args: args})
			},
		})
	}
	return cmd
}

// exitError is how a command on a node ended; negative where a signal did it.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("the command ended with %d", int(e)) }

// errDown says that the command found no world.
var errDown = errors.New("no world is up: start one with `make stack`")

func ask(ctx context.Context, request control.Request) error {
	if stack.Owner(stack.DefaultDir()) == 0 {
		return errDown
	}
	text, err := control.Ask(ctx, stack.DefaultDir(), request)
	if err != nil {
		return err
	}
	fmt.Print(text)
	return nil
}

func status() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the nodes, what is broken, and the links", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return ask(cmd.Context(), control.Request{Verb: "status"}) },
	}
}

func env() *cobra.Command {
	return &cobra.Command{
		Use: "env REGION", Short: "Print the environment of the consul, nomad and vault commands: eval \"$(world env east)\"",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(cmd.Context(), control.Request{Verb: "env", Args: args})
		},
	}
}

func run() *cobra.Command {
	return &cobra.Command{
		Use: "run NODE -- COMMAND [ARG...]", Short: "Run a command on a node, on this one's standard streams; it ends with this one",
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if stack.Owner(stack.DefaultDir()) == 0 {
				return errDown
			}
			code, err := control.Run(cmd.Context(), stack.DefaultDir(), args, control.Streams{os.Stdin, os.Stdout, os.Stderr})
			if err == nil && code != 0 {
				err = exitError(code)
			}
			return err
		},
	}
}

func down() *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "End the world and remove everything of it, also after a crash", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			begun := time.Now()
			pid := stack.Owner(stack.DefaultDir())
			if pid != 0 {
				if err := end(cmd.Context(), pid); err != nil {
					return err
				}
			}
			stack.Clean(os.Stdout)
			if pid == 0 {
				fmt.Println("no world was up")
				return nil
			}
			fmt.Printf("the world is down (%.1f s)\n", time.Since(begun).Seconds())
			return nil
		},
	}
}

// Times a world is given to end by itself, and then to be ended.
const (
	endGrace = 30 * time.Second
	endPoll  = 50 * time.Millisecond
)

// end asks the world's process to end, and ends it if it does not: the kernel then takes the world with it.
func end(ctx context.Context, pid int) error {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("end the world's process %d: %w", pid, err)
		}
		if ended(ctx, pid) {
			return nil
		}
	}
	return fmt.Errorf("the world's process %d does not end", pid)
}

// ended waits for the world's process, which removes the world's folder last: the next world may be made in its place.
func ended(ctx context.Context, pid int) bool {
	patience, cancel := context.WithTimeout(ctx, endGrace)
	defer cancel()
	ticker := time.NewTicker(endPoll)
	defer ticker.Stop()
	for stack.Alive(pid) {
		select {
		case <-patience.Done():
			return false
		case <-ticker.C:
		}
	}
	return true
}
