//go:build linux

package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// runSocket is where commands to run on a node are asked for, with the asker's own standard streams.
const runSocket = "run.sock"

// stopGrace is how long a command may take to end after SIGTERM, before its asker stops waiting, which kills it.
const stopGrace = 10 * time.Second

// handover bounds how long an asker may take to hand over its request and streams.
const handover = 10 * time.Second

// Streams are standard input, output and error.
type Streams [3]*os.File

func (s Streams) close() {
	for _, f := range s {
		if f != nil {
			_ = f.Close()
		}
	}
}

// Command is one running command of ServeRuns.
type Command struct {
	Args    []string
	Streams Streams
	// Signals are what the asker passes on; the context ends when the asker is gone.
	Signals <-chan syscall.Signal
}

// outcome is the last thing an asker hears.
type outcome struct {
	Exit  int    `json:"exit"`
	Error string `json:"error,omitempty"`
}

// ServeRuns runs commands for askers until ctx ends, then waits for them; it calls listening once they can come. do runs one to
// its end and returns its exit code; the asker's streams are the command's own, so that it can be spoken to while it runs.
func ServeRuns(ctx context.Context, dir string, listening func(), do func(context.Context, Command) (int, error)) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", filepath.Join(dir, runSocket))
	if err != nil {
		return fmt.Errorf("listen for commands: %w", err)
	}
	listening()
	stopped := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stopped()
	var running sync.WaitGroup
	defer running.Wait()
	for {
		conn, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("serve commands: %w", err)
		}
		asker, ok := conn.(*net.UnixConn)
		if !ok {
			_ = conn.Close()
			continue
		}
		running.Go(func() { serveRun(ctx, asker, do) })
	}
}

func serveRun(ctx context.Context, conn *net.UnixConn, do func(context.Context, Command) (int, error)) {
	defer func() { _ = conn.Close() }()
	args, streams, err := receive(conn)
	var result outcome
	if err == nil {
		result.Exit, err = attended(ctx, conn, args, streams, do)
	}
	if err != nil {
		result = outcome{Exit: 1, Error: err.Error()}
	}
	_ = json.NewEncoder(conn).Encode(result)
}

// attended runs the command while its asker is there.
func attended(
	ctx context.Context, conn *net.UnixConn, args []string, streams Streams, do func(context.Context, Command) (int, error),
) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan syscall.Signal, 8)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer cancel()
		passed := make([]byte, 1)
		for {
			if _, err := conn.Read(passed); err != nil {
				return
			}
			select {
			case signals <- syscall.Signal(passed[0]):
			default: // a command that takes no signals is ended with its asker
			}
		}
	})
	defer reading.Wait()
	defer func() { _ = conn.CloseRead() }()
	defer streams.close()
	return do(ctx, Command{Args: args, Streams: streams, Signals: signals})
}

func receive(conn *net.UnixConn) ([]string, Streams, error) {
	if err := conn.SetReadDeadline(time.Now().Add(handover)); err != nil {
		return nil, Streams{}, err
	}
	defer func() { _ = conn.SetReadDeadline(time.Time{}) }()
	text, rights := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4*len(Streams{})))
	n, rn, _, _, err := conn.ReadMsgUnix(text, rights)
	if err != nil {
		return nil, Streams{}, fmt.Errorf("receive a command: %w", err)
	}
	streams, err := received(rights[:rn])
	if err != nil {
		return nil, Streams{}, err
	}
	var args []string
	if err := json.Unmarshal(text[:n], &args); err != nil {
		streams.close()
		return nil, Streams{}, fmt.Errorf("receive a command: %w", err)
	}
	return args, streams, nil
}

func received(rights []byte) (streams Streams, err error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil || len(messages) != 1 {
		return streams, errors.New("receive a command: it came without its standard streams")
	}
	files, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return streams, fmt.Errorf("receive a command's streams: %w", err)
	}
	for i, fd := range files {
		unix.CloseOnExec(fd)
		if i < len(streams) {
			streams[i] = os.NewFile(uintptr(fd), "stream")
		}
	}
	if len(files) != len(streams) {
		streams.close()
		return Streams{}, fmt.Errorf("receive a command: %d streams, need %d", len(files), len(streams))
	}
	return streams, nil
}

// Run has the world in dir run a command on these streams and returns its exit code. When ctx ends the command gets SIGTERM;
// it is killed if it stays, or when the caller is gone.
func Run(ctx context.Context, dir string, args []string, streams Streams) (int, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, runSocket))
	if err != nil {
		return 0, fmt.Errorf("run: %w", err)
	}
	defer func() { _ = conn.Close() }()
	world, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, fmt.Errorf("run: %T is no Unix socket", conn)
	}
	text, err := json.Marshal(args)
	if err != nil {
		return 0, fmt.Errorf("run: %w", err)
	}
	rights := unix.UnixRights(int(streams[0].Fd()), int(streams[1].Fd()), int(streams[2].Fd()))
	if _, _, err := world.WriteMsgUnix(text, rights, nil); err != nil {
		return 0, fmt.Errorf("run: %w", err)
	}
	stop := context.AfterFunc(ctx, func() {
		_, _ = world.Write([]byte{byte(syscall.SIGTERM)})
		_ = world.SetReadDeadline(time.Now().Add(stopGrace))
	})
	defer stop()
	var result outcome
	switch err := json.NewDecoder(io.LimitReader(world, maxMessage)).Decode(&result); {
	case err != nil:
		return 0, fmt.Errorf("run: the world did not say how it ended: %w", err)
	case result.Error != "":
		return 0, fmt.Errorf("run: %w: %s", ErrRefused, result.Error)
	}
	return result.Exit, nil
}
