//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"text/tabwriter"

	"github.com/prometheus/procfs"
)

// shape is a visit whose participants are weighed, each on a media server of its own that was just started: memory that a
// process once took it does not give back at once.
type shape struct {
	what                                string
	publishers, subscribers, kbps, send int
}

// The participants of a shape, and how many streams each subscriber gets in it.
var (
	idle   = shape{"idle: joined, nothing sent or received", 0, 300, 0, 0}
	voice  = shape{"1 voice each", 1, 149, 0, 1}
	voices = shape{"4 voices each", 4, 146, 0, 4}
	video  = shape{"1 voice and 1 video each", 1, 149, 250, 2}
)

func (s shape) people() int { return s.publishers + s.subscribers }

// weight is the media server's resident memory in bytes.
type weight struct{ before, with uint64 }

func (w weight) grown() float64 { return float64(w.with) - float64(w.before) }

// weigh measures the memory of the media server with and without participants.
func weigh(ctx context.Context, binary, folder string, o options, stdout, stderr io.Writer) error {
	weights := make(map[shape]weight)
	for _, s := range []shape{idle, voice, voices, video} {
		found, err := weighOne(ctx, binary, folder, o, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
		fmt.Fprintf(stderr, "%s: %d participants, %.1f MB, before %.1f MB\n",
			s.what, s.people(), float64(found.with)/1e6, float64(found.before)/1e6)
		weights[s] = found
	}
	each := func(s shape) float64 { return weights[s].grown() / float64(s.people()) / 1e3 }
	// Who publishes hears one voice less than who does not.
	more := float64(voices.send*voices.subscribers+(voices.send-1)*voices.publishers-voice.subscribers) / float64(voices.people())
	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "memory of\tkB")
	fmt.Fprintf(table, "the server, empty\t%.0f\n", float64(weights[idle].before)/1e3)
	fmt.Fprintf(table, "an idle participant\t%.1f\n", each(idle))
	fmt.Fprintf(table, "a participant who receives one voice\t%.0f\n", each(voice))
	fmt.Fprintf(table, "each further voice received\t%.1f\n", (each(voices)-each(voice))/more)
	fmt.Fprintf(table, "a video received\t%.1f\n", each(video)-each(voice))
	return table.Flush()
}

func weighOne(ctx context.Context, binary, folder string, o options, s shape) (found weight, err error) {
	w, err := startWorld(ctx, binary, folder, o)
	if err != nil {
		return found, err
	}
	defer w.stop()
	if found.before, err = w.resident(ctx); err != nil {
		return found, err
	}
	flags := []string{
		"--publishers", strconv.Itoa(s.publishers), "--subscribers", strconv.Itoa(s.subscribers), "--video-kbps", strconv.Itoa(s.kbps),
		"--ramp", "20s", "--join-timeout", "60s",
	}
	_, err = w.generate(ctx, server{name: ours, pid: w.sfu.Process.Pid}, flags, func() (err error) {
		found.with, err = w.resident(ctx)
		return err
	})
	return found, err
}

// resident is the media server's resident memory in bytes after a garbage collection.
func (w *world) resident(ctx context.Context) (uint64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.admin+"/debug/pprof/heap?gc=1", http.NoBody)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	if err := response.Body.Close(); err != nil {
		return 0, err
	}
	process, err := procfs.NewProc(w.sfu.Process.Pid)
	if err != nil {
		return 0, err
	}
	status, err := process.NewStatus()
	return status.VmRSS, err
}
