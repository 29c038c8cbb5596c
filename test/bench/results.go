//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/wardline/wardline/edge/load"
)

// row is one kind of work.
type row struct {
	name, what              string
	publishers, subscribers int
	videoKbps               int
	// selected rows are of a server that selects what each participant receives: three speak, and everybody should get their
	// voices and the active speaker's video. Others that were not made for it are not measured.
	selected bool
}

var rows = []row{
	{"stream", "1 publisher (1.5 Mbit/s + Opus) -> 20 subscribers", 1, 20, 1500, false},
	{"stream-6m", "1 publisher (6 Mbit/s + Opus) -> 20 subscribers", 1, 20, 6000, false},
	{"meeting", "4-party meeting, 1.5 Mbit/s + Opus each", 4, 0, 1500, false},
	{"webinar", "300 participants, 10 publish 250 kbit/s + Opus: the speaker's video and 3 voices each", 10, 290, 250, true},
}

// flags are those of the generator.
func (r row) flags() []string {
	flags := []string{
		"--publishers", strconv.Itoa(r.publishers), "--subscribers", strconv.Itoa(r.subscribers),
		"--video-kbps", strconv.Itoa(r.videoKbps),
	}
	if !r.selected {
		return append(flags, "--ramp", "1s")
	}
	return append(flags, "--speakers", "3", "--voices", "3", "--videos", "1", "--ramp", "40s", "--join-timeout", "60s")
}

func rowNames() []string {
	names := make([]string, 0, len(rows))
	for _, r := range rows {
		names = append(names, r.name)
	}
	return names
}

// selectRows finds rows by name; no name is all.
func selectRows(names []string) ([]row, error) {
	if len(names) == 0 {
		return rows, nil
	}
	var found []row
	for _, name := range names {
		at := slices.IndexFunc(rows, func(r row) bool { return r.name == name })
		if at < 0 {
			return nil, fmt.Errorf("--row %q: must be one of %s", name, strings.Join(rowNames(), ", "))
		}
		found = append(found, rows[at])
	}
	return found, nil
}

// results is everything that was measured; it is written as JSON.
type results struct {
	Begin        time.Time     `json:"begin"`
	Machine      machine       `json:"machine"`
	Measurements []measurement `json:"measurements"`
}

// machine is where it was measured.
type machine struct {
	Processor string `json:"processor"`
	Count     int    `json:"count"`
	System    string `json:"system"`
	Go        string `json:"go"`
}

// measurement is one run of the generator.
type measurement struct {
	Row    string      `json:"row"`
	Server string      `json:"server"`
	Round  int         `json:"round"`
	Report load.Report `json:"report"`
}

// String implements fmt.Stringer.
func (m measurement) String() string {
	const form = "%-10s %-10s round %d: %s us, latency p50 %.2f p99 %.2f ms, loss %.3f %%, delivered %.1f %%" +
		", generator late: sending %.1f ms, reading p99 %.1f max %.1f ms"
	r := m.Report
	text := fmt.Sprintf(form, m.Row, m.Server, m.Round, cost(r), r.Latency.P50, r.Latency.P99,
		100*r.Packets.Loss, 100*r.Packets.Delivered, r.LateMs, r.Reading.P99, r.Reading.Max)
	for _, p := range r.Problems {
		text += fmt.Sprintf("\n  %d times: %s", p.Count, p.Text)
	}
	return text
}

// cost is a report's processor time a packet, in microseconds.
func cost(r load.Report) string {
	if r.CPU == nil || r.CPU.Error != "" {
		return "?"
	}
	return fmt.Sprintf("%.2f", r.CPU.MicrosecondsPerPacket)
}

// median of what is measured in the rounds of a row on a server; false if there is none.
func (r results) median(row, server string, of func(load.Report) float64) (float64, bool) {
	var values []float64
	for _, m := range r.Measurements {
		if m.Row == row && m.Server == server {
			values = append(values, of(m.Report))
		}
	}
	if len(values) == 0 {
		return 0, false
	}
	slices.Sort(values)
	return values[len(values)/2], true
}

func microseconds(r load.Report) float64 {
	if r.CPU == nil {
		return 0
	}
	return r.CPU.MicrosecondsPerPacket
}

// servers are those measured, in order.
func (r results) servers() []string {
	var names []string
	for _, m := range r.Measurements {
		if !slices.Contains(names, m.Server) {
			names = append(names, m.Server)
		}
	}
	return names
}

// write writes everything as JSON; no file is fine.
func (r results) write(file string) error {
	if file == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// enough is how much of the media a server has to deliver, in percent, to be compared with.
const enough = 95

// table prints medians, and ours as a share of each peer's.
func (r results) table(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "work\tserver\tus/packet\tratio\tlatency p50\tp99 (ms)\tloss\tdelivered")
	for _, each := range rows {
		own, measured := r.median(each.name, ours, microseconds)
		if !measured {
			continue
		}
		for _, name := range r.servers() {
			us, measured := r.median(each.name, name, microseconds)
			if !measured {
				continue
			}
			p50, _ := r.median(each.name, name, func(l load.Report) float64 { return l.Latency.P50 })
			p99, _ := r.median(each.name, name, func(l load.Report) float64 { return l.Latency.P99 })
			loss, _ := r.median(each.name, name, func(l load.Report) float64 { return 100 * l.Packets.Loss })
			delivered, _ := r.median(each.name, name, func(l load.Report) float64 { return 100 * l.Packets.Delivered })
			ratio := "-"
			if name != ours && us > 0 && delivered >= enough {
				ratio = fmt.Sprintf("%.2f", own/us)
			}
			fmt.Fprintf(table, "%s\t%s\t%.2f\t%s\t%.2f\t%.2f\t%.3f %%\t%.1f %%\n", each.what, name, us, ratio, p50, p99, loss, delivered)
		}
	}
	return table.Flush()
}

func thisMachine() machine {
	m := machine{Count: runtime.NumCPU(), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
	if version, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.System += " " + strings.TrimSpace(string(version))
	}
	info, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return m
	}
	defer func() { _ = info.Close() }()
	for lines := bufio.NewScanner(info); lines.Scan(); {
		if name, ok := strings.CutPrefix(lines.Text(), "model name"); ok {
			m.Processor = strings.TrimLeft(name, "\t :")
			break
		}
	}
	return m
}
