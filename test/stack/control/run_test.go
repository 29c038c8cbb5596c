//go:build linux

package control_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/test/stack/control"
)

// serveRuns runs commands on this machine and returns the folder to ask in.
func serveRuns(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	served, listening := make(chan error, 1), make(chan struct{})
	go func() {
		served <- control.ServeRuns(ctx, dir, func() { close(listening) }, func(ctx context.Context, c control.Command) (int, error) {
			cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Streams[0], c.Streams[1], c.Streams[2]
			if err := cmd.Start(); err != nil {
				return 0, err
			}
			ended := make(chan struct{})
			passing := make(chan struct{})
			go func() {
				defer close(passing)
				for {
					select {
					case s := <-c.Signals:
						_ = cmd.Process.Signal(s)
					case <-ended:
						return
					}
				}
			}()
			err := cmd.Wait()
			close(ended)
			<-passing
			if _, ok := errors.AsType[*exec.ExitError](err); ok {
				return cmd.ProcessState.ExitCode(), nil
			}
			return 0, err
		})
	}()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-served)
	})
	select {
	case <-listening:
	case err := <-served:
		served <- err // for the clean-up, which fails with it
		t.FailNow()
	}
	return dir
}

// pipe returns both ends, closed with the test.
func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return r, w
}

func TestACommandIsSpokenToWhileItRuns(t *testing.T) {
	t.Parallel()
	dir := serveRuns(t)
	stdin, say := pipe(t)
	heard, stdout := pipe(t)
	exit := make(chan int, 1)
	go func() {
		code, err := control.Run(t.Context(), dir, []string{"sh", "-c", "cat; exit 7"}, control.Streams{stdin, stdout, os.Stderr})
		if err != nil {
			code = -1
		}
		exit <- code
	}()
	_, err := say.WriteString("hello")
	require.NoError(t, err)
	answer := make([]byte, 5)
	_, err = io.ReadFull(heard, answer)
	require.NoError(t, err)
	require.Equal(t, "hello", string(answer))
	require.NoError(t, say.Close(), "the end of standard input reaches the command")
	require.Equal(t, 7, <-exit)
}

func TestACommandIsAskedToEnd(t *testing.T) {
	t.Parallel()
	dir := serveRuns(t)
	heard, stdout := pipe(t)
	ctx, cancel := context.WithCancel(t.Context())
	exit := make(chan int, 1)
	go func() {
		script := `trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done`
		code, err := control.Run(ctx, dir, []string{"sh", "-c", script}, control.Streams{os.Stdin, stdout, os.Stderr})
		if err != nil {
			code = -1
		}
		exit <- code
	}()
	_, err := io.ReadFull(heard, make([]byte, 6))
	require.NoError(t, err)
	cancel()
	require.Equal(t, 9, <-exit)
}

func TestACommandThatCannotStartOrDiesIsReported(t *testing.T) {
	t.Parallel()
	dir := serveRuns(t)
	streams := control.Streams{os.Stdin, os.Stdout, os.Stderr}
	_, err := control.Run(t.Context(), dir, []string{"/no/such/command"}, streams)
	require.ErrorIs(t, err, control.ErrRefused)
	require.ErrorContains(t, err, "/no/such/command")
	code, err := control.Run(t.Context(), dir, []string{"sh", "-c", "kill -9 $$"}, streams)
	require.NoError(t, err)
	require.Equal(t, -1, code)
	_, err = control.Run(t.Context(), t.TempDir(), []string{"true"}, streams)
	require.ErrorIs(t, err, syscall.ENOENT)
}
