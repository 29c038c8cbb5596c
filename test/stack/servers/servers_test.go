package servers

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/wardline/wardline/core/observe/observetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	waitAtMost = 20 * time.Second
	tick       = 10 * time.Millisecond
)

// toy is a finder in a world where the pinned consul 1.22.5 is a few lines of Go, and PATH holds what is given.
func toy(t *testing.T, onPath string) (*finder, *observetest.Text) {
	t.Helper()
	dir, progress := t.TempDir(), &observetest.Text{}
	write := func(name, content string, mode os.FileMode) {
		t.Helper()
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(content), mode))
	}
	write("modules/consul/go.mod", `module tool
go 1.26
require github.com/hashicorp/consul v1.22.5 // indirect
replace github.com/hashicorp/consul => ./toy
`, 0o600)
	write("modules/consul/toy/go.mod", "module github.com/hashicorp/consul\ngo 1.26\n", 0o600)
	write("modules/consul/toy/main.go", "package main\nfunc main() { println(\"toy\") }\n", 0o600)
	if onPath != "" {
		write("bin/consul", "#!/bin/sh\necho \""+onPath+"\"\n", 0o700)
	}
	t.Setenv("PATH", filepath.Join(dir, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"))
	return &finder{modules: filepath.Join(dir, "modules"), cache: filepath.Join(dir, "cache"), progress: progress}, progress
}

func TestFindPrefersPath(t *testing.T) {
	for says, taken := range map[string]bool{
		"Consul v1.22.0": true, "Consul v1.23.1+ent": true, "Consul v2.0.0": true,
		"Consul v1.21.9": false, "Consul v0.99.0": false, "no version at all": false,
	} {
		t.Run(says, func(t *testing.T) {
			f, _ := toy(t, says)
			path, err := f.find(t.Context(), "consul", false)
			if !taken {
				require.ErrorIs(t, err, ErrMissing)
				require.ErrorContains(t, err, "consul 1.22.5")
				return
			}
			require.NoError(t, err)
			require.Equal(t, "bin", filepath.Base(filepath.Dir(path)))
		})
	}
}

func TestFindBuildsOnce(t *testing.T) {
	f, progress := toy(t, "Consul v1.2.3")
	var group errgroup.Group
	for range 3 {
		group.Go(func() error {
			path, err := f.find(t.Context(), "consul", true)
			if err == nil && path != filepath.Join(f.cache, "consul-1.22.5") {
				t.Error("found", path)
			}
			return err
		})
	}
	require.NoError(t, group.Wait())
	require.Equal(t, 1, strings.Count(progress.String(), "building consul"), progress.String())
	path, err := f.find(t.Context(), "consul", false)
	require.NoError(t, err)
	require.True(t, executable(path))
	left, err := os.ReadDir(f.cache)
	require.NoError(t, err)
	require.Len(t, left, 2, "the binary and the lock, nothing unfinished")
}

func TestFailedBuildLeavesNothing(t *testing.T) {
	f, progress := toy(t, "Consul v1.2.3")
	main := filepath.Join(f.modules, "consul", "toy", "main.go")
	require.NoError(t, os.WriteFile(main, []byte("package main\nfunc main() { x }\n"), 0o600))
	_, err := f.find(t.Context(), "consul", true)
	require.ErrorContains(t, err, "build consul")
	require.Contains(t, progress.String(), "undefined: x")
	_, err = f.find(t.Context(), "consul", false)
	require.ErrorIs(t, err, ErrMissing)
}

func TestWaitingForAnotherBuild(t *testing.T) {
	f, progress := toy(t, "Consul v1.2.3")
	require.NoError(t, os.MkdirAll(f.cache, 0o700))
	held, err := os.Create(filepath.Join(f.cache, "consul-1.22.5.lock"))
	require.NoError(t, err)
	require.NoError(t, syscall.Flock(int(held.Fd()), syscall.LOCK_EX))
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := f.find(ctx, "consul", true)
		failed <- err
	}()
	require.Eventually(t, func() bool { return strings.Contains(progress.String(), "waiting") }, waitAtMost, tick)
	cancel()
	require.ErrorIs(t, <-failed, context.Canceled)
	require.NoError(t, held.Close())
}

func TestUnknownServer(t *testing.T) {
	f, _ := toy(t, "")
	_, err := f.find(t.Context(), "etcd", false)
	require.ErrorContains(t, err, "must be one of consul, nomad")
	require.NoError(t, os.WriteFile(filepath.Join(f.modules, "consul", "go.mod"), []byte("module tool\n"), 0o600))
	_, err = f.find(t.Context(), "consul", false)
	require.ErrorContains(t, err, "does not require github.com/hashicorp/consul")
}

func TestEveryNamedServerIsPinned(t *testing.T) {
	for _, name := range Names() {
		pinned, err := pinnedVersion(filepath.Join(name, "go.mod"), known[name].module)
		require.NoError(t, err)
		require.NotZero(t, pinned)
	}
	var f finder
	require.NoError(t, f.defaults(t.Context()))
	here, err := os.Getwd()
	require.NoError(t, err)
	require.Equal(t, here, f.modules)
}
