//go:build linux

// Package deploy brings Wardline into a world as an operator would: the job files of jobs/, by nomad job run.
package deploy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	stack "github.com/wardline/wardline/test/stack"
	"github.com/wardline/wardline/test/stack/plan"
)

// Jobs are the job files in the order in which they are run, with the node pool each one fills.
func Jobs() []string { return []string{"sfu", "turn", "gateway"} }

// Periodic are the jobs that run now and then; who wants them runs them by Job.
func Periodic() []string { return []string{"rotator", "backup"} }

// pools are the node pools of the jobs.
var pools = map[string]plan.Kind{"sfu": plan.Media, "turn": plan.Relay, "gateway": plan.Gateway}

// binaryName is the artifact in the world's artifact folder.
const binaryName = "wardline"

// startWithin bounds how long a region's jobs may take until every instance passes its checks.
const startWithin = 3 * time.Minute

// Build compiles wardline into an artifact folder, made if need be, and returns the path.
func Build(ctx context.Context, artifacts string) (string, error) {
	if err := os.MkdirAll(artifacts, 0o755); err != nil { //nolint:gosec // G301: it is served to everybody
		return "", fmt.Errorf("artifact folder: %w", err)
	}
	path := filepath.Join(artifacts, binaryName)
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "./cmd/wardline") //nolint:gosec // G204: the caller's own folder
	cmd.Dir = root()
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build wardline: %w: %s", err, output)
	}
	return path, nil
}

// root is the repository's folder.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "..")
}

// Release is one version of Wardline in a world's artifact folder.
type Release struct {
	// Binary is its path, Version what Consul shows, Checksum what Nomad compares the download with.
	Binary, Version, Checksum string
}

// NewRelease makes a release of a binary in the artifact folder.
func NewRelease(binary, version string) (Release, error) {
	file, err := os.Open(binary)
	if err != nil {
		return Release{}, fmt.Errorf("release %s: %w", version, err)
	}
	defer func() { _ = file.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return Release{}, fmt.Errorf("release %s: %w", version, err)
	}
	return Release{Binary: binary, Version: version, Checksum: "sha256:" + hex.EncodeToString(sum.Sum(nil))}, nil
}

// Run adds the tenant whose visits people and tests have, runs all jobs in all regions and waits until every instance
// passes its checks.
func Run(ctx context.Context, w *stack.World, r Release, progress io.Writer) error {
	if err := addTenant(ctx, w, r); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, region := range w.Plan().Names() {
		group.Go(func() error {
			for _, job := range Jobs() {
				if err := Job(ctx, w, region, job, r); err != nil {
					return err
				}
			}
			if err := Ready(ctx, w, region); err != nil {
				return err
			}
			_, err := fmt.Fprintf(progress, "wardline %s runs in %s\n", r.Version, region)
			return err
		})
	}
	return group.Wait()
}

// Job runs one job file in a region, with further variables as NAME=VALUE. It returns once Nomad has taken it.
func Job(ctx context.Context, w *stack.World, region, job string, r Release, vars ...string) error {
	if slices.Contains(Jobs(), job) {
		vars = append([]string{"consul=${meta.wardline_consul}", "consul_ca_file=${meta.wardline_ca}"}, vars...)
	}
	vars = append([]string{
		"artifact=" + w.ArtifactURL() + "/" + filepath.Base(r.Binary), "checksum=" + r.Checksum, "release=" + r.Version,
		"vault=${meta.wardline_vault}", "vault_ca_file=${meta.wardline_vault_ca}",
		"cpu=200", "memory=128", // nodes of a world share this machine
	}, vars...)
	args := make([]string, 0, 5+2*len(vars))
	args = append(args, "job", "run", "-detach", "-region="+region)
	for _, v := range vars {
		args = append(args, "-var", v)
	}
	args = append(args, filepath.Join(root(), "jobs", job+".nomad.hcl"))
	cmd := exec.CommandContext(ctx, w.Binary("nomad"), args...) //nolint:gosec // G204: runs what the world runs
	cmd.Env = append(os.Environ(), w.Env(region)...)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nomad %s: %w: %s", strings.Join(args[:3], " "), err, output)
	}
	return nil
}

// Ready waits until every node of a region's pools has an instance that passes its checks.
func Ready(ctx context.Context, w *stack.World, region string) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := missing(ctx, w, region)
		if err == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("jobs of %s: %w: %w", region, ctx.Err(), err)
		}
	}
}

// missing says which instances are not there or do not pass.
func missing(ctx context.Context, w *stack.World, region string) error {
	r, ok := w.Plan().Region(region)
	if !ok {
		return fmt.Errorf("%w: no region %q", plan.ErrInvalid, region)
	}
	var problems []error
	for _, job := range Jobs() {
		var passing []struct{ Node struct{ Node string } }
		if err := w.Consul(region).Get(ctx, "/v1/health/service/wardline-"+job+"?passing=true", &passing); err != nil {
			return err
		}
		there := map[string]bool{}
		for _, p := range passing {
			there[p.Node.Node] = true
		}
		for _, n := range r.Nodes {
			if n.Kind == pools[job] && !there[n.Name] {
				problems = append(problems, fmt.Errorf("%s on %s does not pass its checks", job, n.Name))
			}
		}
	}
	return errors.Join(problems...)
}
