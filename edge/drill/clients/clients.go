// Package clients runs the participants of a drill as processes: `wardline participant`, here or on the nodes of a world.
package clients

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wardline/wardline/edge/drill"
)

// ErrNoWorld says that a participant is to be on a node of a world, and there is none.
var ErrNoWorld = errors.New("no world: participants run on this machine only")

// stopGrace is how long a client may take to leave its visit.
const stopGrace = 5 * time.Second

// Processes implements drill.Clients.
type Processes struct {
	// Command is what a client is started with, such as wardline participant.
	Command []string
	// CAFile is given to clients, if not empty.
	CAFile string
	// Prefix is what runs a command on a node; nil where there is no world.
	Prefix func(node string) []string
	// Grace is how long a client may take to leave; 0 means 5 s.
	Grace time.Duration
}

// arguments are the whole command line of a client. The token is not in it.
func (c Processes) arguments(client drill.Client) ([]string, error) {
	var all []string
	if client.At != "" {
		if c.Prefix == nil {
			return nil, fmt.Errorf("%s: %w", client.At, ErrNoWorld)
		}
		all = append(all, c.Prefix(client.At)...)
	}
	all = append(append(all, c.Command...), "--until-stdin-closes")
	for _, gateway := range client.Gateways {
		all = append(all, "--gateway", gateway)
	}
	if c.CAFile != "" {
		all = append(all, "--ca-file", c.CAFile)
	}
	for _, region := range slices.Sorted(maps.Keys(client.RTT)) {
		all = append(all, "--rtt", fmt.Sprintf("%s=%d", region, client.RTT[region]))
	}
	if client.Relay {
		all = append(all, "--relay")
	}
	if client.Admit {
		all = append(all, "--admit")
	}
	return all, nil
}

// Start implements drill.Clients. The client ends with this process, since its standard input closes then.
func (c Processes) Start(_ context.Context, client drill.Client) (drill.Running, error) {
	all, err := c.arguments(client)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(all[0], all[1:]...) //nolint:gosec,noctx // this program itself; Stop ends it, politely
	detach(cmd)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, stdin: stdin, events: reader, ended: make(chan struct{}), grace: c.Grace}
	if p.grace == 0 {
		p.grace = stopGrace
	}
	cmd.Stdout, cmd.Stderr = writer, &p.said
	err = cmd.Start()
	_ = writer.Close()
	if err != nil {
		_, _ = reader.Close(), stdin.Close()
		return nil, fmt.Errorf("%s: %w", all[0], err)
	}
	go p.wait()
	if _, err := io.WriteString(stdin, client.Token+"\n"); err != nil {
		return nil, fmt.Errorf("hand over the join token: %w", errors.Join(err, p.Stop(context.Background())))
	}
	return p, nil
}

// process implements drill.Running.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	events *os.File
	said   tail
	ended  chan struct{}
	err    error
	grace  time.Duration
	close  sync.Once
}

func (p *process) wait() {
	defer close(p.ended)
	if err := p.cmd.Wait(); err != nil {
		p.err = fmt.Errorf("%w: %s", err, p.said.last())
	}
}

// Events implements drill.Running.
func (p *process) Events() io.Reader { return p.events }

// Stop implements drill.Running.
func (p *process) Stop(ctx context.Context) error {
	p.close.Do(func() { _ = p.stdin.Close() })
	timer := time.NewTimer(p.grace)
	defer timer.Stop()
	select {
	case <-p.ended:
		return p.err
	case <-timer.C:
	case <-ctx.Done():
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
	_ = p.events.SetReadDeadline(time.Now()) // what a killed client started may hold the pipe open
	return p.err
}

// maxTail bounds what is kept of standard error.
const maxTail = 4096

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// Write implements io.Writer.
func (t *tail) Write(text []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, text...)
	if over := len(t.text) - maxTail; over > 0 {
		t.text = bytes.Clone(t.text[over:])
	}
	return len(text), nil
}

// last is the last line.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.TrimSpace(string(t.text))
	return text[strings.LastIndexByte(text, '\n')+1:]
}
