//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	stack "github.com/wardline/wardline/test/stack"
	"github.com/wardline/wardline/test/stack/control"
)

// upLine is what the supervisor says last; nothing it says follows.
const upLine = "UP"

// worldFlags are the flags of up, which the supervisor gets as they are.
func worldFlags(cmd *cobra.Command, o *stack.Options) {
	flags := cmd.Flags()
	flags.StringSliceVar(&o.Regions, "regions", []string{"east", "west", "onprem"}, "regions to start, the primary first")
	flags.DurationVar(&o.Delay, "delay", 0, "one-way delay between regions, such as 20ms")
	flags.StringVar(&o.Artifacts, "artifacts", "", "folder to serve to the nodes over HTTP")
	flags.StringVar(&o.Consul, "consul", os.Getenv("WARDLINE_CONSUL"), "consul binary; found or built if empty")
	flags.StringVar(&o.Nomad, "nomad", os.Getenv("WARDLINE_NOMAD"), "nomad binary; found or built if empty")
	flags.StringVar(&o.Dir, "dir", stack.DefaultDir(), "the world's folder")
	_ = flags.MarkHidden("dir") // the other commands look in the default one
	flags.DurationVar(&o.Timeout, "timeout", stack.DefaultTimeout, "longest time to come up in, building servers aside")
}

func up() *cobra.Command {
	cmd := &cobra.Command{
		Use: "up", Short: "Start a world and leave it running", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if pid := stack.Owner(stack.DefaultDir()); pid != 0 {
				return fmt.Errorf("a world is up already (process %d): end it with `make stack-down`", pid)
			}
			return launch(cmd.Context(), append([]string{"supervise", "--dir", stack.DefaultDir()}, os.Args[2:]...))
		},
	}
	worldFlags(cmd, &stack.Options{})
	return cmd
}

// launch starts the supervisor in a session of its own, shows what it says until the world is up, and leaves it.
func launch(ctx context.Context, args []string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this command: %w", err)
	}
	if os.Geteuid() != 0 {
		args, self = append(userNamespace(), append([]string{self}, args...)...), "unshare"
	}
	cmd := exec.Command(self, args...) //nolint:gosec,noctx // this command itself, which outlives this call
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		if lines.Text() == upLine {
			return nil
		}
		fmt.Println(lines.Text())
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("the world did not come up: %w", err)
	}
	return errors.New("the world did not come up")
}

// userNamespace is how unshare(1) makes a world without root. Nomad gives its allocations to nobody, a second user,
// whom only newuidmap(1) with the user's range in /etc/subuid can map.
func userNamespace() []string {
	fmt.Println("not root: the world lives in a user namespace, reachable by `world run NODE -- COMMAND` only")
	options := []string{"--user", "--map-root-user", "--net", "--mount"}
	if _, err := exec.LookPath("newuidmap"); err == nil {
		return append(options, "--map-auto")
	}
	fmt.Println("newuidmap is missing (package uidmap): agents will run, but Nomad cannot start tasks")
	return options
}

func supervise() *cobra.Command {
	var o stack.Options
	cmd := &cobra.Command{
		Use: "supervise", Short: "Run a world in the foreground until interrupted", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return supervised(cmd.Context(), o) },
	}
	worldFlags(cmd, &o)
	return cmd
}

func supervised(ctx context.Context, o stack.Options) error {
	// Whoever started this may stop reading once the world is up.
	signal.Ignore(syscall.SIGPIPE)
	o.Progress = os.Stdout
	stack.Clean(os.Stdout)
	begun := time.Now()
	w, err := stack.Start(ctx, o)
	if err != nil {
		return err
	}
	fmt.Printf("\n%s\nup in %.1f s; end it with `make stack-down`\n%s\n", w.Status(), time.Since(begun).Seconds(), upLine)
	served := control.Serve(ctx, w.Dir(), func(ctx context.Context, r control.Request) (string, error) { return answer(ctx, w, r) })
	return errors.Join(served, w.Close())
}

func answer(ctx context.Context, w *stack.World, r control.Request) (string, error) {
	switch r.Verb {
	case "status":
		return w.Status(), nil
	case "env":
		if len(r.Args) != 1 || !slices.Contains(w.Plan().Names(), r.Args[0]) {
			return "", fmt.Errorf("env: no region %q: regions are %v", r.Args, w.Plan().Names())
		}
		return "export " + strings.Join(w.Env(r.Args[0]), "\nexport ") + "\n", nil
	case "run":
		return runOn(ctx, w, r.Args)
	default:
		if err := w.Perform(ctx, r.Verb, r.Args); err != nil {
			return "", err
		}
		return fmt.Sprintf("done: %s %s\n", r.Verb, strings.Join(r.Args, " ")), nil
	}
}

// maxOutput bounds what a command run on a node may say, in bytes.
const maxOutput = 1 << 19

func runOn(ctx context.Context, w *stack.World, args []string) (string, error) {
	if len(args) < 2 {
		return "", errors.New("run: name a node and a command")
	}
	m, err := w.Machine(args[0])
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, args[1], args[2:]...) //nolint:gosec // the person's own command
	output, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	cmd.Stderr = cmd.Stdout
	if err := m.Start(cmd); err != nil {
		return "", err
	}
	text, _ := io.ReadAll(io.LimitReader(output, maxOutput))
	_, _ = io.Copy(io.Discard, output)
	if err := cmd.Wait(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, text)
	}
	return string(text), nil
}
