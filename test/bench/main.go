//go:build linux

// Command bench measures what forwarding costs: it runs the rows of docs/benchmarks.md against a media server that it starts,
// and, alternating, against any other whose address and process id it is told.
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
	"time"

	"github.com/spf13/cobra"

	"github.com/wardline/wardline/edge/load"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := root().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	peers        []string
	rows         []string
	rounds       int
	duration     time.Duration
	serverCPU    int
	generatorCPU int
	memory       bool
	json         string
	profile      string
	floor        bool
	apart        bool
}

func root() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use: "bench", SilenceUsage: true, SilenceErrors: true, Args: cobra.NoArgs,
		Short: "Measure what forwarding costs, here and on other servers (docs/benchmarks.md)",
		Long: `Measure what forwarding costs: user and system time of the media server's process for each packet that reached
a receiver, with the server on one processor and the generator on another.

A peer is NAME,KEY=VALUE,... with
  pid      its process id; its processors are set to --server-cpu
  whip     its WHIP endpoint and
  whep     its WHEP endpoint, as for "wardline load"; or
  command  a generator that takes the flags of "wardline load" and prints its report`,
		Example: `  go run ./test/bench
  go run ./test/bench --peer "mediamtx,pid=123,whip=http://127.0.0.1:8889/{publisher}/whip,whep=http://127.0.0.1:8889/{publisher}/whep"`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return bench(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.AddCommand(floorCommands())
	f := cmd.Flags()
	f.StringArrayVar(&o.peers, "peer", nil, "another server to measure; repeatable")
	f.StringSliceVar(&o.rows, "row", nil, "only this row: "+strings.Join(rowNames(), ", ")+"; repeatable")
	f.IntVar(&o.rounds, "rounds", 3, "how often each server is measured; the table has the medians")
	f.DurationVar(&o.duration, "duration", 10*time.Second, "how long each measurement is")
	f.IntVar(&o.serverCPU, "server-cpu", 0, "processor of the media server")
	f.IntVar(&o.generatorCPU, "generator-cpu", 1, "processor of the generator, and of what else there is")
	f.BoolVar(&o.memory, "memory", false, "measure what participants take of this media server's memory instead")
	f.StringVar(&o.json, "json", "", "file to write every measurement to")
	f.BoolVar(&o.floor, "floor", false, "also measure what sealing and sending alone cost on this machine, below which nobody gets")
	f.BoolVar(&o.apart, "receivers-apart", false,
		"meanwhile the kernel receives on --generator-cpu what is sent over loopback, instead of within the sender's calls; takes root")
	f.StringVar(&o.profile, "profile", "", "folder for a processor profile of this media server in each row, taken in the first round")
	return cmd
}

func bench(ctx context.Context, o options, stdout, stderr io.Writer) (failed error) {
	wanted, err := selectRows(o.rows)
	if err != nil {
		return err
	}
	servers, err := parsePeers(o.peers)
	if err != nil {
		return err
	}
	if o.apart {
		restore, err := setApart(receivingSide, o.generatorCPU)
		if err != nil {
			return err
		}
		defer func() { failed = errors.Join(failed, restore()) }()
	}
	folder, err := os.MkdirTemp("", "wardline-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	binary, err := build(ctx, folder, stderr)
	if err != nil {
		return err
	}
	if o.memory {
		return weigh(ctx, binary, folder, o, stdout, stderr)
	}
	w, err := startWorld(ctx, binary, folder, o)
	if err != nil {
		return err
	}
	defer w.stop()
	servers[0].pid = w.sfu.Process.Pid
	if o.floor {
		servers = append(servers, server{name: floor})
	}
	for _, each := range servers {
		if each.name == floor {
			continue // it pins itself
		}
		if err := pin(ctx, each.pid, o.serverCPU); err != nil {
			return fmt.Errorf("%s, pid %d: %w", each.name, each.pid, err)
		}
	}
	measured, err := w.alternate(ctx, servers, wanted, stderr)
	if err != nil {
		return err
	}
	if err := measured.write(o.json); err != nil {
		return err
	}
	return measured.table(stdout)
}

// alternate measures one server after the other in each row of each round, so that what else the machine does meets all of
// them.
func (w *world) alternate(ctx context.Context, servers []server, wanted []row, stderr io.Writer) (results, error) {
	all := results{Begin: time.Now().UTC(), Machine: thisMachine()}
	for round := 1; round <= w.rounds; round++ {
		for _, r := range wanted {
			for _, each := range servers {
				if r.selected && each.name != ours {
					continue
				}
				measure := func() (load.Report, error) { return w.measure(ctx, each, r, round) }
				if each.name == floor {
					measure = func() (load.Report, error) { return w.measureFloor(ctx, r) }
				}
				report, err := measure()
				if err != nil {
					return all, fmt.Errorf("%s, %s: %w", each.name, r.name, err)
				}
				m := measurement{Row: r.name, Server: each.name, Round: round, Report: report}
				all.Measurements = append(all.Measurements, m)
				fmt.Fprintln(stderr, m)
			}
		}
	}
	return all, nil
}

// parsePeers reads all servers; ours is the first.
func parsePeers(texts []string) ([]server, error) {
	servers := []server{{name: ours}}
	for _, text := range texts {
		peer, err := parsePeer(text)
		if err != nil {
			return nil, err
		}
		servers = append(servers, peer)
	}
	return servers, nil
}

// parsePeer reads a server's description.
func parsePeer(text string) (server, error) {
	name, rest, _ := strings.Cut(text, ",")
	s := server{name: name}
	for each := range strings.SplitSeq(rest, ",") {
		key, value, _ := strings.Cut(each, "=")
		switch key {
		case "pid":
			if _, err := fmt.Sscan(value, &s.pid); err != nil {
				return s, fmt.Errorf("--peer %q: pid %q: must be a process id", text, value)
			}
		case "whip":
			s.whip = value
		case "whep":
			s.whep = value
		case "command":
			s.command = value
		default:
			return s, fmt.Errorf("--peer %q: %q: must be pid, whip, whep or command", text, key)
		}
	}
	switch {
	case name == "" || name == ours || name == floor:
		return s, fmt.Errorf("--peer %q: must begin with a name of its own", text)
	case s.pid <= 0:
		return s, fmt.Errorf("--peer %q: needs a pid", text)
	case (s.whip == "" || s.whep == "") && s.command == "":
		return s, errors.New("--peer " + name + ": needs whip and whep, or a command")
	}
	return s, nil
}
