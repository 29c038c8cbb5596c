//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/wardline/wardline/edge/load"
)

// ours is what the measured media server is called.
const ours = "wardline"

// server is one that is measured.
type server struct {
	name       string
	pid        int
	whip, whep string
	command    string
}

// world is a media server and a gateway, and the generator's binary.
type world struct {
	options
	binary, folder, admin string
	sfu, gateway          *exec.Cmd
	log                   bytes.Buffer
}

// ready is how long a server may take to start, ending how long to end.
const (
	ready  = 20 * time.Second
	ending = 10 * time.Second
)

// build makes the binary of all components.
func build(ctx context.Context, folder string, stderr io.Writer) (string, error) {
	binary := filepath.Join(folder, "wardline")
	compile := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/wardline")
	compile.Stdout, compile.Stderr = stderr, stderr
	if err := compile.Run(); err != nil {
		return "", fmt.Errorf("build: %w", err)
	}
	return binary, nil
}

func startWorld(ctx context.Context, binary, folder string, o options) (*world, error) {
	w := &world{options: o, binary: binary, folder: folder}
	ports, err := freePorts(ctx, 4)
	if err != nil {
		return nil, err
	}
	w.admin = ports[0]
	w.sfu, err = w.start(ctx, o.serverCPU, "sfu", "--media", ports[1], "--admin", w.admin, "--pprof", "--capacity", "5000")
	if err != nil {
		return nil, err
	}
	w.gateway, err = w.start(ctx, o.generatorCPU, "gateway", "--http", ports[2], "--plain-http", "--admin", ports[3])
	if err == nil {
		err = errors.Join(w.await(ctx, w.admin), w.await(ctx, ports[3]))
	}
	if err != nil {
		w.stop()
		return nil, fmt.Errorf("%w\n%s", err, w.log.String())
	}
	return w, nil
}

// start runs a component on a processor.
func (w *world) start(ctx context.Context, cpu int, component string, args ...string) (*exec.Cmd, error) {
	cmd := exec.CommandContext(ctx, "taskset", "-c", strconv.Itoa(cpu), w.binary, component)
	cmd.Args = append(cmd.Args, "--data", filepath.Join(w.folder, "data"), "--log-level", "warn")
	cmd.Args = append(cmd.Args, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = ending
	cmd.Stderr = &w.log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return cmd, nil
}

// await waits until a component is ready.
func (w *world) await(ctx context.Context, admin string) error {
	limited, cancel := context.WithTimeout(ctx, ready)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(limited, http.MethodGet, "http://"+admin+"/ready", http.NoBody)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-limited.Done():
			return fmt.Errorf("not ready after %s: %w", ready, limited.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (w *world) stop() {
	for _, cmd := range []*exec.Cmd{w.gateway, w.sfu} {
		if cmd != nil && cmd.Process != nil {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait()
		}
	}
}

// measure runs the generator once.
func (w *world) measure(ctx context.Context, s server, r row, round int) (load.Report, error) {
	return w.generate(ctx, s, r.flags(), func() error {
		if s.name != ours || w.profile == "" || round != 1 {
			return nil
		}
		return w.takeProfile(ctx, r)
	})
}

// generate runs the generator, and beside it what is to be done while it measures.
func (w *world) generate(ctx context.Context, s server, flags []string, measuring func() error) (load.Report, error) {
	args := slices.Clone(flags)
	args = append(args, "--duration", w.duration.String(), "--pid", strconv.Itoa(s.pid), "--json-file", "-", "--progress", "json")
	command := []string{w.binary, "load"}
	switch {
	case s.command != "":
		command = strings.Fields(s.command)
	case s.whip != "":
		args = append(args, "--whip", s.whip, "--whep", s.whep)
	default:
		args = append(args, "--data", filepath.Join(w.folder, "data"))
	}
	cmd := exec.CommandContext(ctx, "taskset", append(append([]string{"-c", strconv.Itoa(w.generatorCPU)}, command...), args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = ending
	var out bytes.Buffer
	cmd.Stdout = &out
	progress, err := cmd.StderrPipe()
	if err != nil {
		return load.Report{}, err
	}
	if err := cmd.Start(); err != nil {
		return load.Report{}, err
	}
	done := make(chan error, 1)
	said := w.follow(progress, func() { go func() { done <- measuring() }() })
	if err := cmd.Wait(); err != nil {
		return load.Report{}, fmt.Errorf("%w: %s", err, said)
	}
	var report load.Report
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		return load.Report{}, fmt.Errorf("report: %w", err)
	}
	return report, <-done
}

// follow reads the generator's progress to its end, calls measuring once, when it begins to measure, and returns what
// else it said.
func (w *world) follow(progress io.Reader, measuring func()) string {
	begun := false
	begin := func() {
		if !begun {
			begun = true
			measuring()
		}
	}
	defer begin()
	var said strings.Builder
	for decoder := json.NewDecoder(progress); ; {
		var p load.Progress
		if err := decoder.Decode(&p); err != nil {
			rest, _ := io.ReadAll(io.MultiReader(decoder.Buffered(), progress))
			said.Write(rest)
			return strings.TrimSpace(said.String())
		}
		if p.Measured > 0 {
			begin()
		}
	}
}

// takeProfile fetches a processor profile of the media server while it is measured.
func (w *world) takeProfile(ctx context.Context, r row) error {
	seconds := max(1, int(w.duration.Seconds())-2)
	url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", w.admin, seconds)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	profile, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	if err := os.MkdirAll(w.profile, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(w.profile, r.name+".pprof"), profile, 0o644)
}

// pin has all threads of a process run on one processor.
func pin(ctx context.Context, pid, cpu int) error {
	out, err := exec.CommandContext(ctx, "taskset", "-a", "-c", "-p", strconv.Itoa(cpu), strconv.Itoa(pid)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// freePorts finds addresses on loopback that nobody listens on.
func freePorts(ctx context.Context, count int) (addresses []string, err error) {
	var open []net.Listener
	defer func() {
		for _, listener := range open {
			_ = listener.Close()
		}
	}()
	var config net.ListenConfig
	for range count {
		listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		open = append(open, listener)
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses, nil
}
