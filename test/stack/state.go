//go:build linux

package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/wardline/wardline/test/stack/render"
)

// Names inside a world's folder.
const (
	ownerFile  = "owner"
	accessFile = "access.json"
	dirPrefix  = "wardline-stack-"
)

// Access is how to reach a running world, as its folder's access.json says it to a person or another process.
type Access struct {
	Network string                  `json:"network"`
	CAFile  string                  `json:"ca_file"`
	Regions map[string]RegionAccess `json:"regions"`
	render.Secrets
}

// RegionAccess is how to reach one region.
type RegionAccess struct {
	Consul string `json:"consul"`
	Nomad  string `json:"nomad"`
	Vault  string `json:"vault,omitempty"`
}

// claim makes a world's folder and says in it whose it is.
func claim(dir string) (string, error) {
	var err error
	if dir == "" {
		dir, err = os.MkdirTemp("", dirPrefix)
	} else {
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		return "", fmt.Errorf("make the world's folder: %w", err)
	}
	owner := fmt.Sprintf("%d %s\n", os.Getpid(), startTime(os.Getpid()))
	// Written whole or not at all: Clean in another process must not take half of it for a crashed owner's.
	path := filepath.Join(dir, ownerFile)
	err = os.WriteFile(path+".new", []byte(owner), 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("claim the world's folder: %w", err), os.RemoveAll(dir))
	}
	return dir, nil
}

// startTime tells processes with the same id apart (proc(5), field 22); empty if there is none, or one that only waits to be reaped.
func startTime(pid int) string {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	const stateField, startField = 0, 22 - 3 // counted from the third
	if len(fields) <= startField || fields[stateField] == "Z" {
		return ""
	}
	return fields[startField]
}

// Alive reports whether a process is there.
func Alive(pid int) bool { return startTime(pid) != "" }

// Owner returns the process that runs the world in dir, 0 if it is gone.
func Owner(dir string) int {
	text, _ := os.ReadFile(filepath.Join(dir, ownerFile))
	fields := strings.Fields(string(text))
	if len(fields) != 2 {
		return 0
	}
	pid, err := strconv.Atoi(fields[0])
	if err != nil || startTime(pid) != fields[1] {
		return 0
	}
	return pid
}

// DefaultDir is the folder of the world that the command runs: one a user.
func DefaultDir() string {
	base := os.Getenv("XDG_RUNTIME_DIR")
	if base == "" {
		base = os.TempDir()
	}
	return filepath.Join(base, fmt.Sprintf("%s%d", dirPrefix, os.Getuid()))
}

// Clean removes the folders of worlds whose process died without Close; the kernel took the rest of them.
func Clean(progress io.Writer) {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	for _, dir := range append(dirs, DefaultDir()) {
		if _, err := os.Stat(filepath.Join(dir, ownerFile)); err != nil || Owner(dir) != 0 {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintf(progress, "a world that crashed left %s: %v\n", dir, err)
			continue
		}
		fmt.Fprintf(progress, "removed %s of a world that crashed\n", dir)
	}
}

// writeState leaves the authority and the way in for people and other processes of this user.
func (w *World) writeState() error {
	access := w.Access()
	text, err := json.MarshalIndent(access, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", accessFile, err)
	}
	if err := os.WriteFile(w.CAFile(), w.authority.PEM(), 0o600); err != nil {
		return fmt.Errorf("write the authority: %w", err)
	}
	// Last, since its being there says that the world is up.
	if err := os.WriteFile(filepath.Join(w.dir, accessFile), append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", accessFile, err)
	}
	return nil
}

// Access is how to reach the world.
func (w *World) Access() Access {
	a := Access{Network: w.plan.Network().String(), CAFile: w.CAFile(), Regions: map[string]RegionAccess{}, Secrets: w.secrets}
	for _, r := range w.plan.Regions {
		region := RegionAccess{Consul: w.Consul(r.Name).URL, Nomad: w.Nomad(r.Name).URL}
		if vault := w.Vault(r.Name); vault != nil {
			region.Vault = vault.URL
		}
		a.Regions[r.Name] = region
	}
	return a
}

// AccessFile is where a world in dir says how to reach it.
func AccessFile(dir string) string { return filepath.Join(dir, accessFile) }
