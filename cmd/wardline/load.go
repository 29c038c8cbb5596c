package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/wardline/wardline/core/observe"
	"github.com/wardline/wardline/edge/load"
	"github.com/wardline/wardline/edge/load/synthetic"
)

// loadOptions are the flags of "wardline load".
type loadOptions struct {
	shape     load.Config
	videoKbps int
	audioKbps int
	frameRate int
	door      loadDoorOptions
	gates     load.Gates
	maxLoss   float64 // percent
	delivered float64 // percent
	pid       int
	json      string
	progress  string
}

func newLoad() *cobra.Command {
	var o loadOptions
	cmd := &cobra.Command{
		Use:   "load",
		Short: "Make synthetic visits that publish and subscribe, and measure what they get",
		Long: `Make synthetic visits and measure what their participants get (docs/load.md): how long joining took, how
long packets were on their way, and what was lost. Publishers send VP8 of the wanted bitrate and Opus; everybody
receives everybody else of the visit. Nobody sees or hears anything.

Participants join with tokens of a tenant at the gateways, as people do; with --whip and --whep at any server
that speaks those. All of them are in this process: give it processors of its own, or it measures itself
("generator late" in the summary).

Ctrl-C ends the run with what was measured so far. Exit codes: 0 everybody got in and every gate was kept,
1 otherwise, 2 the usage is wrong.`,
		Example: `  wardline load --visits 20 --publishers 2 --duration 30s
  wardline load --publishers 1 --subscribers 20 --max-loss 0.1 --max-latency-p99 20ms --json-file load.json
  wardline load --gateway https://visits.example:8443 --tenant hospital --tenant-key hospital.pem --tenant-key-id hospital-1
  wardline load --whip http://127.0.0.1:8889/v{visit}p{publisher}/whip --whep http://127.0.0.1:8889/v{visit}p{publisher}/whep`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runLoad(cmd, o) },
	}
	f := cmd.Flags()
	f.IntVar(&o.shape.Visits, "visits", 1, "visits at once")
	f.IntVar(&o.shape.Publishers, "publishers", 2, "participants of each visit who publish, and receive the others")
	f.IntVar(&o.shape.Subscribers, "subscribers", 0, "participants of each visit who only receive")
	f.IntVar(&o.videoKbps, "video-kbps", 1500, "bitrate of each publisher's video in kbit/s; 0 for none")
	f.IntVar(&o.audioKbps, "audio-kbps", 32, "bitrate of each publisher's audio in kbit/s; 0 for none")
	f.IntVar(&o.frameRate, "fps", 30, "pictures a second")
	f.IntVar(&o.shape.Speakers, "speakers", 0, "publishers of each visit who speak at a time; 0 for all")
	f.DurationVar(&o.shape.Turn, "speaker-turn", 5*time.Second, "with --speakers: how often one of them falls silent and another speaks")
	f.IntVar(&o.shape.Voices, "voices", 0, "voices that a participant is expected to receive at most, where the server selects; 0 for all")
	f.IntVar(&o.shape.Videos, "videos", 0, "videos that a participant is expected to receive at most, where the server selects; 0 for all")
	f.DurationVar(&o.shape.Ramp, "ramp", 2*time.Second, "how long it takes until all participants have begun to join")
	f.DurationVar(&o.shape.Duration, "duration", 10*time.Second, "how long is measured once everything flows")
	f.DurationVar(&o.shape.JoinTimeout, "join-timeout", 30*time.Second, "how long a join may take")
	o.door.bind(cmd)
	f.Float64Var(&o.maxLoss, "max-loss", 0, "fail if more packets are lost, in percent")
	f.Float64Var(&o.delivered, "min-delivered", 0, "fail if fewer of the packets that everybody should receive came, in percent")
	f.DurationVar(&o.gates.MaxLatencyP50, "max-latency-p50", 0, "fail if the median packet takes longer")
	f.DurationVar(&o.gates.MaxLatencyP99, "max-latency-p99", 0, "fail if 1 % of the packets take longer")
	f.DurationVar(&o.gates.MaxJoinP95, "max-join-p95", 0, "fail if 5 % of the joins take longer")
	f.Float64Var(&o.gates.MaxCPU, "max-cpu", 0, "with --pid: fail if the server uses more microseconds a forwarded packet")
	f.IntVar(&o.pid, "pid", 0, "process id of the media server on this machine, to measure its processor time (Linux)")
	f.StringVar(&o.json, "json-file", "", "file to write the report to; - for standard output, instead of the summary")
	f.StringVar(&o.progress, "progress", "text", "how progress is shown on standard error: text, json or none")
	return cmd
}

func runLoad(cmd *cobra.Command, o loadOptions) error {
	config := o.shape
	config.Format = synthetic.Format{VideoBitrate: 1000 * o.videoKbps, AudioBitrate: 1000 * o.audioKbps, FrameRate: o.frameRate}
	if err := config.Validate(); err != nil {
		return err
	}
	gates := o.gates
	if cmd.Flags().Changed("max-loss") {
		share := o.maxLoss / 100
		gates.MaxLoss = &share
	}
	gates.MinDelivered = o.delivered / 100
	if err := gates.Validate(); err != nil {
		return err
	}
	if gates.MaxCPU > 0 && o.pid == 0 {
		return errors.New("--max-cpu: needs --pid, whose processor time it is about")
	}
	var err error
	if config.Progress, err = loadProgress(cmd.ErrOrStderr(), o.progress); err != nil {
		return err
	}
	if o.pid != 0 {
		if config.CPU, err = processorTime(o.pid); err != nil {
			return fmt.Errorf("--pid %d: %w", o.pid, err)
		}
	}
	unhurried := observe.NewWriter(cmd.ErrOrStderr(), "load") // or who does not read the log stops the media
	defer func() { _ = unhurried.Close() }()
	if config.Door, err = o.door.open(unhurried); err != nil {
		return err
	}
	// Collecting garbage makes a generator late, and memory is what it has.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	report, err := load.Run(cmd.Context(), config)
	if err != nil {
		return failed(err)
	}
	err = writeLoadReport(cmd.OutOrStdout(), o.json, report)
	if missed := gates.Missed(report); len(missed) > 0 {
		err = errors.Join(err, errors.New(strings.Join(missed, "; ")))
	}
	return failed(err)
}

// writeLoadReport writes the JSON where it is wanted, and the summary unless that place is standard output.
func writeLoadReport(out io.Writer, file string, report load.Report) error {
	if file == "" {
		return summarize(out, report)
	}
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if file == "-" {
		_, err = out.Write(text)
		return err
	}
	if err = renameio.WriteFile(file, text, 0o644); err != nil {
		err = fmt.Errorf("--json-file: %w", err) // what was measured is shown all the same
	}
	return errors.Join(summarize(out, report), err)
}

// summarize prints a report for people.
func summarize(out io.Writer, r load.Report) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "measured\t%.1f s", r.Seconds)
	if r.Interrupted {
		fmt.Fprint(table, ", interrupted")
	}
	fmt.Fprintf(table, "\njoins\t%d of %d\t%s ms\n", r.Joins.Succeeded, r.Joins.Wanted, timesText(r.Joins.Times, 0))
	fmt.Fprintf(table, "latency\t\t%s ms\n", timesText(r.Latency, 2))
	p := r.Packets
	fmt.Fprintf(table, "forwarded\t%d packets\t%.0f a second, %.2f %% of what was published\n", p.Forwarded, p.PerSecond, 100*p.Delivered)
	fmt.Fprintf(table, "lost\t%d packets\t%.3f %%\n", p.Lost, 100*p.Loss)
	switch {
	case r.CPU == nil:
	case r.CPU.Error != "":
		fmt.Fprintf(table, "server cpu\tnot known\t%s\n", r.CPU.Error)
	default:
		fmt.Fprintf(table, "server cpu\t%.2f s\t%.2f us a forwarded packet\n", r.CPU.Seconds, r.CPU.MicrosecondsPerPacket)
	}
	fmt.Fprintf(table, "generator late\t\tsending max %.1f, reading p99 %.2f, max %.1f ms\n", r.LateMs, r.Reading.P99, r.Reading.Max)
	for _, problem := range r.Problems {
		fmt.Fprintf(table, "problem\t%d times\t%s\n", problem.Count, strings.ReplaceAll(problem.Text, "\n", "; "))
	}
	return table.Flush()
}

func timesText(t load.Times, digits int) string {
	return fmt.Sprintf("p50 %.*f, p95 %.*f, p99 %.*f, max %.*f", digits, t.P50, digits, t.P95, digits, t.P99, digits, t.Max)
}

// loadProgress shows progress as people or programs like it.
func loadProgress(out io.Writer, form string) (func(load.Progress), error) {
	switch form {
	case "none":
		return nil, nil
	case "json":
		encoder := json.NewEncoder(out)
		return func(p load.Progress) { _ = encoder.Encode(p) }, nil
	case "text":
		return func(p load.Progress) {
			fmt.Fprintf(out, "%3.0f s: %d joined, %d joining, %d failed, %d streams",
				p.Elapsed.Seconds(), p.Joined, p.Joining, p.Failed, p.Streams)
			if p.Measured > 0 {
				fmt.Fprintf(out, "; measuring for %.0f s, %d packets, p99 %.2f ms", p.Measured.Seconds(), p.Forwarded, p.P99.Seconds()*1000)
			}
			fmt.Fprintln(out)
		}, nil
	}
	return nil, fmt.Errorf("--progress %q: must be text, json or none", form)
}

// readBearer reads a token from a file; "" is none.
func readBearer(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(content))
	if token == "" || strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("%s: must hold one token", file)
	}
	return token, nil
}
