//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	stack "github.com/wardline/wardline/test/stack"
	"github.com/wardline/wardline/test/stack/control"
	"github.com/wardline/wardline/test/stack/deploy"
)

// upLine is what the supervisor says last; nothing it says follows.
const upLine = "UP"

// options are those of up, which the supervisor gets as they are.
type options struct {
	stack.Options
	jobs bool
}

func worldFlags(cmd *cobra.Command, o *options) {
	flags := cmd.Flags()
	flags.BoolVar(&o.jobs, "jobs", false, "build wardline, run its Nomad jobs in every region, and print links to a visit")
	flags.StringSliceVar(&o.Regions, "regions", []string{"east", "west", "onprem"}, "regions to start, the primary first")
	flags.DurationVar(&o.Delay, "delay", 0, "one-way delay between regions, such as 20ms")
	flags.StringVar(&o.Artifacts, "artifacts", "", "folder to serve to the nodes over HTTP")
	flags.StringVar(&o.Consul, "consul", "", "consul binary; found or built if empty")
	flags.StringVar(&o.Nomad, "nomad", "", "nomad binary; found or built if empty")
	flags.StringVar(&o.Vault, "vault", "", "vault binary; found or built if empty")
	flags.BoolVar(&o.NoVault, "no-vault", false, "start no Vault; jobs need one")
	flags.StringVar(&o.Dir, "dir", stack.DefaultDir(), "the world's folder")
	_ = flags.MarkHidden("dir") // the other commands look in the default one
	flags.DurationVar(&o.HeartbeatGrace, "heartbeat-grace", 0, "how long Nomad waits for a late heartbeat; 0 for its default")
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
	worldFlags(cmd, &options{})
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
	var o options
	cmd := &cobra.Command{
		Use: "supervise", Short: "Run a world in the foreground until interrupted", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return supervised(cmd.Context(), o) },
	}
	worldFlags(cmd, &o)
	return cmd
}

func supervised(ctx context.Context, o options) error {
	// Whoever started this may stop reading once the world is up.
	signal.Ignore(syscall.SIGPIPE)
	o.Progress = os.Stdout
	stack.Clean(os.Stdout)
	begun := time.Now()
	if o.jobs && o.Artifacts == "" {
		o.Artifacts = filepath.Join(o.Dir, "artifacts")
	}
	if o.jobs && o.NoVault {
		return errors.New("--jobs needs Vault: leave --no-vault out")
	}
	w, err := stack.Start(ctx, o.Options)
	if err != nil {
		return err
	}
	if o.jobs {
		if err := runJobs(ctx, w, o.Artifacts); err != nil {
			return errors.Join(err, w.Close())
		}
	}
	group, serving := errgroup.WithContext(ctx)
	listening := make(chan struct{}, 2)
	heard := func() { listening <- struct{}{} }
	group.Go(func() error {
		return control.Serve(serving, w.Dir(), heard, func(ctx context.Context, r control.Request) (string, error) {
			return answer(ctx, w, r)
		})
	})
	group.Go(func() error {
		return control.ServeRuns(serving, w.Dir(), heard, func(ctx context.Context, c control.Command) (int, error) {
			return runOn(ctx, w, c)
		})
	})
	group.Go(func() error {
		for range cap(listening) { // whoever started this has a next command, which needs to be heard
			select {
			case <-listening:
			case <-serving.Done():
				return nil
			}
		}
		fmt.Printf("\n%s\nup in %.1f s; end it with `make stack-down`\n%s\n", w.Status(), time.Since(begun).Seconds(), upLine)
		return nil
	})
	return errors.Join(group.Wait(), w.Close())
}

// runJobs brings Wardline into the world and says how to visit it.
func runJobs(ctx context.Context, w *stack.World, artifacts string) error {
	binary, err := deploy.Build(ctx, artifacts)
	if err != nil {
		return err
	}
	release, err := deploy.NewRelease(binary, "dev")
	if err != nil {
		return err
	}
	if err := deploy.Run(ctx, w, release, os.Stdout); err != nil {
		return err
	}
	links, err := deploy.Links(ctx, w)
	if err != nil {
		return err
	}
	fmt.Printf("\nA visit, each link in a browser of its own:\n%s", links)
	fmt.Printf("tenant's API key: %s\n", deploy.TenantKey(w))
	return nil
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
	default:
		if err := w.Perform(ctx, r.Verb, r.Args); err != nil {
			return "", err
		}
		return fmt.Sprintf("done: %s %s\n", r.Verb, strings.Join(r.Args, " ")), nil
	}
}

// runOn runs a command on a node to its end and returns its exit code.
func runOn(ctx context.Context, w *stack.World, c control.Command) (int, error) {
	if len(c.Args) < 2 {
		return 0, errors.New("run: name a node and a command")
	}
	m, err := w.Machine(c.Args[0])
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, c.Args[1], c.Args[2:]...) //nolint:gosec // the person's own command
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Streams[0], c.Streams[1], c.Streams[2]
	if err := m.Start(cmd); err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			select {
			case s := <-c.Signals:
				_ = cmd.Process.Signal(s)
			case <-ended:
				return
			}
		}
	})
	err = cmd.Wait()
	close(ended)
	passing.Wait()
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		return cmd.ProcessState.ExitCode(), nil
	}
	return 0, err
}
