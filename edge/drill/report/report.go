// Package report writes down what drills showed: as JSON for programs and as one page for people.
package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/google/renameio/v2"

	"github.com/wardline/wardline/edge/drill"
)

// Schema names the form of the JSON; members may be added to it.
const Schema = "wardline.drill/1"

// Names of the files.
const (
	JSONFile = "report.json"
	HTMLFile = "report.html"
)

// Report is everything about one call of wardline drill. Durations end in _ms and are milliseconds; times are RFC 3339 in UTC.
type Report struct {
	Schema string    `json:"schema"`
	Begin  time.Time `json:"begin"`
	Finish time.Time `json:"finish"`
	// Passed says that every target was met and every control failed as it should.
	Passed bool `json:"passed"`
	// Interrupted says that not all was run.
	Interrupted bool `json:"interrupted,omitempty"`
	// Versions of wardline, consul, nomad and go, as far as they are known.
	Versions  map[string]string `json:"versions"`
	Host      Host              `json:"host"`
	Scenarios []Scenario        `json:"scenarios"`
	Runs      []drill.Outcome   `json:"runs"`
}

// Host is the machine that the drill ran on.
type Host struct {
	OS     string `json:"os"`
	Arch   string `json:"arch"`
	CPUs   int    `json:"cpus"`
	Kernel string `json:"kernel,omitempty"`
	// MemoryBytes is the machine's memory; 0 if it is not known.
	MemoryBytes uint64 `json:"memory_bytes,omitempty"`
}

// Scenario says which text was run.
type Scenario struct {
	File   string `json:"file"`
	SHA256 string `json:"sha256"`
}

// Complete fills in the schema and the verdict. Without a single run nothing has passed.
func (r *Report) Complete() {
	r.Schema = Schema
	r.Passed = len(r.Runs) > 0 && !r.Interrupted && !slices.ContainsFunc(r.Runs, func(o drill.Outcome) bool { return !o.Passed })
}

// ThisHost describes this machine.
func ThisHost() Host {
	host := Host{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU()}
	if kernel, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		host.Kernel = string(bytes.TrimSpace(kernel))
	}
	if memory, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kilobytes uint64
		if _, err := fmt.Sscanf(string(memory), "MemTotal: %d kB", &kilobytes); err == nil {
			host.MemoryBytes = kilobytes << 10
		}
	}
	return host
}

// Write puts both files into dir, which is made if need be, and replaces older ones.
func (r Report) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // a report holds nothing secret
		return fmt.Errorf("write the report: %w", err)
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	var page bytes.Buffer
	if err := r.HTML(&page); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	for name, content := range map[string][]byte{JSONFile: append(text, '\n'), HTMLFile: page.Bytes()} {
		if err := renameio.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	return nil
}
