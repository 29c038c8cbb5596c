//go:build linux

package stack

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/wardline/wardline/test/stack/machine"
	"github.com/wardline/wardline/test/stack/plan"
)

// Names of the agents on a node, in the order they start.
const (
	consulAgent = "consul"
	nomadAgent  = "nomad"
	vaultAgent  = "vault"
)

// agent is one running Consul, Nomad or Vault.
type agent struct {
	name, log string
	cmd       *exec.Cmd
	ended     chan struct{}
}

// startAgent starts an agent from its configuration in the node's folder.
func startAgent(m *machine.Machine, name, binary, dir string) (*agent, error) {
	tmp := filepath.Join(dir, "tmp")
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return nil, fmt.Errorf("start %s on %s: %w", name, m.Name(), err)
	}
	a := &agent{name: name, log: filepath.Join(dir, name+".log"), ended: make(chan struct{})}
	log, err := os.OpenFile(a.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s on %s: %w", name, m.Name(), err)
	}
	defer func() { _ = log.Close() }() // the agent has its own
	verb, flag := "agent", map[string]string{consulAgent: "-config-file", nomadAgent: "-config", vaultAgent: "-config"}[name]
	if name == vaultAgent {
		verb = "server"
	}
	a.cmd = exec.Command(binary, verb, flag, configFile(dir, name)) //nolint:noctx,gosec // ends by a verb; a fixed command
	a.cmd.Stdout, a.cmd.Stderr, a.cmd.Dir = log, log, dir
	// Plugins keep their sockets in TMPDIR: they go with the world's folder.
	a.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + tmp}
	if err := m.StartBehind(a.cmd); err != nil {
		return nil, fmt.Errorf("start %s on %s: %w", name, m.Name(), err)
	}
	go func() {
		defer close(a.ended)
		_ = a.cmd.Wait()
	}()
	return a, nil
}

func configFile(dir, name string) string {
	if name == nomadAgent {
		return filepath.Join(dir, "nomad.hcl")
	}
	return filepath.Join(dir, name+".json")
}

func (a *agent) running() bool {
	select {
	case <-a.ended:
		return false
	default:
		return true
	}
}

// kill ends the agent at once and waits for it. What it started runs on.
func (a *agent) kill() error {
	if a.running() {
		if err := a.cmd.Process.Kill(); err != nil && a.running() {
			return fmt.Errorf("kill %s: %w", a.name, err)
		}
		<-a.ended
	}
	return nil
}

// lastWords are the end of the agent's log, for an error about its death.
func (a *agent) lastWords() string {
	const lines = 12
	text, err := os.ReadFile(a.log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(string(bytes.TrimSpace(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// node is one machine of the world and what runs on it. The world's lock guards it.
type node struct {
	plan.Node
	dir     string
	machine *machine.Machine // nil while powered off
	agents  map[string]*agent
	severed bool // its cable is pulled
	denies  bool // its Vault refuses components everything
}

// running says whether an agent of the node runs.
func (n *node) running(name string) bool {
	a := n.agents[name]
	return n.machine != nil && n.machine.Running() && a != nil && a.running()
}

// signal reaches one agent or Nomad task of the node, or all its processes if process is empty.
func (n *node) signal(process string, signal syscall.Signal) error {
	if n.machine == nil {
		return fmt.Errorf("%s: %w", n.Name, machine.ErrOff)
	}
	processes, err := n.machine.Processes()
	if err != nil {
		return err
	}
	found := false
	for _, p := range processes {
		if process != "" && !n.is(p, process) {
			continue
		}
		found = true
		if err := n.machine.Signal(p, signal); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("%w: no process %q runs on %s: allowed are %s, %s, on servers %s, and the names of Nomad tasks there",
			plan.ErrInvalid, process, n.Name, consulAgent, nomadAgent, vaultAgent)
	}
	return nil
}

// is says whether p is the named agent or belongs to the named task.
func (n *node) is(p machine.Process, name string) bool {
	if a := n.agents[name]; a != nil {
		return p.PID == a.cmd.Process.Pid
	}
	return p.Task == name
}
