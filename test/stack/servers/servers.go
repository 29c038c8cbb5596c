// Package servers finds the real servers that tests and the local stack run: on PATH if recent enough, otherwise
// built once from the pinned tool modules beside this file.
package servers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// ErrMissing says that a server is neither on PATH nor built yet.
var ErrMissing = errors.New("server missing")

// server is what there is to know about building one.
type server struct {
	// module is its main package, too; tags are build tags, comma-separated.
	module, tags string
}

var known = map[string]server{
	"consul": {module: "github.com/hashicorp/consul"},
	"nomad":  {module: "github.com/hashicorp/nomad"},
	// minimal leaves out cloud auth methods and database engines, which nothing here uses.
	"vault": {module: "github.com/hashicorp/vault", tags: "minimal"},
}

// Names lists the servers there are.
func Names() []string { return slices.Sorted(maps.Keys(known)) }

// Find returns the path of a server's binary, and builds it if need be: minutes, with progress on standard error.
// Concurrent calls, of several processes too, build once.
func Find(ctx context.Context, name string) (string, error) {
	f := finder{progress: os.Stderr}
	return f.find(ctx, name, true)
}

// Have is Find that never builds: ErrMissing if the binary would have to be built.
func Have(ctx context.Context, name string) (string, error) {
	f := finder{progress: io.Discard}
	return f.find(ctx, name, false)
}

// finder finds binaries; the zero paths mean this module's and this user's.
type finder struct {
	modules, cache string
	progress       io.Writer
}

func (f *finder) find(ctx context.Context, name string, mayBuild bool) (string, error) {
	server, ok := known[name]
	if !ok {
		return "", fmt.Errorf("server %q: must be one of %s", name, strings.Join(Names(), ", "))
	}
	if err := f.defaults(ctx); err != nil {
		return "", err
	}
	pinned, err := pinnedVersion(filepath.Join(f.modules, name, "go.mod"), server.module)
	if err != nil {
		return "", fmt.Errorf("server %s: %w", name, err)
	}
	if path, err := exec.LookPath(name); err == nil && recent(ctx, path, pinned) {
		return path, nil
	}
	path := filepath.Join(f.cache, name+"-"+pinned.String())
	if executable(path) {
		return path, nil
	}
	if !mayBuild {
		return "", fmt.Errorf("%w: %s %s is neither on PATH nor at %s", ErrMissing, name, pinned, path)
	}
	if err := f.build(ctx, name, server, path); err != nil {
		return "", err
	}
	return path, nil
}

func (f *finder) defaults(ctx context.Context) error {
	if f.modules == "" {
		mod, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
		if err != nil {
			return fmt.Errorf("go env GOMOD: %w", err)
		}
		f.modules = filepath.Join(filepath.Dir(strings.TrimSpace(string(mod))), "test", "stack", "servers")
	}
	if f.cache == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("cache of servers: %w", err)
		}
		f.cache = filepath.Join(cache, "wardline", "servers")
	}
	return nil
}

// executable reports whether there is a program; only finished builds get the name.
func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// version is major, minor and patch.
type version [3]int

func (v version) String() string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }

var versionText = regexp.MustCompile(`\bv(\d+)\.(\d+)\.(\d+)\b`)

func parseVersion(text string) (version, bool) {
	found := versionText.FindString(text)
	var v version
	n, err := fmt.Sscanf(found, "v%d.%d.%d", &v[0], &v[1], &v[2])
	return v, err == nil && n == len(v)
}

// pinnedVersion reads which version of a module a go.mod requires.
func pinnedVersion(path, module string) (version, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return version{}, err
	}
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(words) < 2 || words[0] != module {
			continue
		}
		if v, ok := parseVersion(words[1]); ok {
			return v, nil
		}
	}
	return version{}, fmt.Errorf("%s does not require %s", path, module)
}

// versionTimeout bounds how long a binary may take to tell its version.
const versionTimeout = 10 * time.Second

// recent reports whether a binary is of the pinned minor version or a later one.
func recent(ctx context.Context, path string, pinned version) bool {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "version").Output()
	if err != nil {
		return false
	}
	v, ok := parseVersion(string(out))
	return ok && slices.Compare(v[:2], pinned[:2]) >= 0
}
