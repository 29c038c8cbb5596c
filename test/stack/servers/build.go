package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// lockRetry is how often a lock that somebody else holds is tried.
	lockRetry = 200 * time.Millisecond
	// progressEvery is how often a build tells that it goes on.
	progressEvery = 15 * time.Second
)

// build makes the binary of a server's tool module, unless somebody else does so meanwhile.
func (f *finder) build(ctx context.Context, name string, s server, path string) error {
	if err := os.MkdirAll(f.cache, 0o750); err != nil {
		return fmt.Errorf("cache of servers: %w", err)
	}
	unlock, err := f.lock(ctx, name, path+".lock")
	if err != nil {
		return fmt.Errorf("build %s: %w", name, err)
	}
	defer unlock()
	if executable(path) {
		return nil
	}
	unfinished, err := os.MkdirTemp(f.cache, "."+name+"-*")
	if err != nil {
		return fmt.Errorf("build %s: %w", name, err)
	}
	defer func() { _ = os.RemoveAll(unfinished) }()
	binary := filepath.Join(unfinished, name)
	if err := f.compile(ctx, name, s, binary); err != nil {
		return fmt.Errorf("build %s: %w", name, err)
	}
	if err := os.Rename(binary, path); err != nil {
		return fmt.Errorf("build %s: %w", name, err)
	}
	return nil
}

func (f *finder) compile(ctx context.Context, name string, s server, binary string) error {
	began := time.Now()
	fmt.Fprintf(f.progress, "building %s (once, a few minutes)\n", name)
	//nolint:gosec // G204: the module is a constant of this package
	build := exec.CommandContext(ctx, "go", "build", "-tags", s.tags, "-o", binary, s.module)
	build.Dir = filepath.Join(f.modules, name)
	build.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	build.Stdout, build.Stderr = f.progress, f.progress
	build.Cancel = func() error { return build.Process.Signal(os.Interrupt) }
	build.WaitDelay = 5 * time.Second
	if err := build.Start(); err != nil {
		return err
	}
	built := make(chan error, 1)
	go func() { built <- build.Wait() }()
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	for {
		select {
		case err := <-built:
			if err == nil {
				fmt.Fprintf(f.progress, "built %s in %s\n", name, time.Since(began).Round(time.Second))
			}
			return err
		case <-ticker.C:
			fmt.Fprintf(f.progress, "building %s: %s\n", name, time.Since(began).Round(time.Second))
		}
	}
}

// lock waits for a lock file; the end of its holder's process frees it.
func (f *finder) lock(ctx context.Context, name, path string) (func(), error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	told := false
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil // closing frees it
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(err, file.Close())
		}
		if !told {
			told = true
			fmt.Fprintf(f.progress, "waiting for another process that builds %s\n", name)
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), file.Close())
		case <-time.After(lockRetry):
		}
	}
}
