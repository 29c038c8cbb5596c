//go:build linux

// Package stack builds a world of regions on one machine from real Consul, Nomad and Vault servers, and breaks
// it on demand. Every node is a small machine (package machine) with its own address on its region's
// network; regions meet in a router. ACLs deny by default, gossip is encrypted and everything speaks TLS
// under an authority that lives as long as the world.
//
// A world dies with the process that started it: the kernel takes its machines and links, and only its
// folder remains for Clean.
package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wardline/wardline/test/stack/ca"
	"github.com/wardline/wardline/test/stack/machine"
	"github.com/wardline/wardline/test/stack/plan"
	"github.com/wardline/wardline/test/stack/render"
	"github.com/wardline/wardline/test/stack/servers"
	vaultpolicies "github.com/wardline/wardline/vault-policies"
)

// DefaultTimeout bounds the start of a world, once the servers' binaries are there.
const DefaultTimeout = 3 * time.Minute

// ArtifactPort serves Options.Artifacts on the world's host address.
const ArtifactPort = 8100

// Options say which world to start; the zero value means one region, "east".
type Options struct {
	// Regions names the regions; the first is Consul's primary datacenter and Nomad's authoritative region.
	Regions []string
	// Shape is how many nodes a region has; the zero value means plan.Standard.
	Shape plan.Shape
	// Dir is the world's folder, made by Start and removed by Close; empty means a new temporary one.
	Dir string
	// Consul, Nomad and Vault are the binaries; empty means package servers finds or builds them.
	Consul, Nomad, Vault string
	// NoVault leaves Vault out, for tests that need none.
	NoVault bool
	// Artifacts is a folder served to the nodes over HTTP at ArtifactURL; empty serves nothing.
	Artifacts string
	// Delay is added to every packet from one region to another.
	Delay time.Duration
	// CertificateTTL is how long certificates of Wardline's components live; 0 means the default of vault-policies.
	CertificateTTL time.Duration
	// HeartbeatGrace is how much longer than agreed Nomad's servers wait for a client before they give it up; 0 means Nomad's default.
	HeartbeatGrace time.Duration
	// Progress is told what came up and when; nil is silent.
	Progress io.Writer
	// Timeout bounds the start; 0 means DefaultTimeout.
	Timeout time.Duration
}

// World is a running world. Its methods may be called concurrently; verbs wait for each other.
type World struct {
	plan      plan.Plan
	dir       string
	binaries  map[string]string
	secrets   render.Secrets
	authority *ca.Authority
	// root signs the intermediates that certify Wardline's components, for certificateTTL each.
	root           vaultpolicies.Root
	certificateTTL time.Duration
	heartbeatGrace time.Duration
	transport      *http.Transport
	router         *machine.Machine
	progress       *progress
	// background is what runs beside the machines: the artifact server and the delay.
	background []io.Closer

	mu    sync.Mutex // guards nodes' state and cuts, one verb at a time
	nodes map[string]*node
	cuts  map[pair]bool
	ended bool
}

// Start starts a world and returns once every node is ready in Consul and Nomad, and every region's Vault is set up. On
// error nothing of it is left. This process, and what it runs on nodes, has precedence over their agents from now on.
func Start(ctx context.Context, o Options) (*World, error) {
	if len(o.Regions) == 0 {
		o.Regions = []string{"east"}
	}
	if o.Shape == (plan.Shape{}) {
		o.Shape = plan.Standard()
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if _, err := plan.New(firstNumber, o.Regions, o.Shape); err != nil {
		return nil, err
	}
	binaries, err := findBinaries(ctx, o)
	if err != nil {
		return nil, err
	}
	Clean(o.Progress)
	dir, err := claim(o.Dir)
	if err != nil {
		return nil, err
	}
	machine.Ahead()
	w := &World{
		dir: dir, binaries: binaries, nodes: map[string]*node{}, cuts: map[pair]bool{},
		progress: &progress{out: o.Progress, start: time.Now()}, certificateTTL: o.CertificateTTL, heartbeatGrace: o.HeartbeatGrace,
	}
	bounded, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	if err := w.start(bounded, o); err != nil {
		return nil, errors.Join(fmt.Errorf("start the world: %w", err), w.Close())
	}
	return w, nil
}

func findBinaries(ctx context.Context, o Options) (map[string]string, error) {
	binaries := map[string]string{consulAgent: o.Consul, nomadAgent: o.Nomad}
	if !o.NoVault {
		binaries[vaultAgent] = o.Vault
	}
	for name, path := range binaries {
		if path != "" {
			continue
		}
		found, err := servers.Find(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("find %s: %w", name, err)
		}
		binaries[name] = found
	}
	return binaries, nil
}

func (w *World) start(ctx context.Context, o Options) (err error) {
	if w.router, err = machine.Boot(ctx, "router"); err != nil {
		return err
	}
	number, err := plug(ctx, w.router)
	if err != nil {
		return err
	}
	if w.plan, err = plan.New(number, o.Regions, o.Shape); err != nil {
		return err
	}
	if err := wire(ctx, w.router, w.plan); err != nil {
		return err
	}
	if o.Delay > 0 {
		if err := w.slowDown(ctx, o.Delay); err != nil {
			return err
		}
	}
	if err := w.makeSecrets(); err != nil {
		return err
	}
	group, each := errgroup.WithContext(ctx)
	for _, n := range w.plan.Nodes() {
		n := &node{Node: n, dir: filepath.Join(w.dir, n.Name), agents: map[string]*agent{}}
		w.nodes[n.Name] = n
		group.Go(func() error { return errors.Join(w.configure(n), w.boot(each, n)) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	w.progress.say("%d machines on %s", len(w.nodes), w.plan.Network())
	if o.Artifacts != "" {
		if err := w.serveArtifacts(ctx, o.Artifacts); err != nil {
			return err
		}
	}
	if err := w.bringUp(ctx); err != nil {
		return err
	}
	w.progress.say("the world is up")
	return w.writeState()
}

// boot starts a node's machine and connects it.
func (w *World) boot(ctx context.Context, n *node) (err error) {
	if n.machine, err = machine.Boot(ctx, n.Name); err != nil {
		n.machine = nil
		return err
	}
	return w.attach(ctx, n)
}

// startAgents starts the agents of a node for the first time.
func (w *World) startAgents(ctx context.Context, n *node) error {
	if err := w.startAgent(n, consulAgent); err != nil {
		return err
	}
	if n.Client() {
		// A Nomad client that does not find Consul looks again 15 s later, and gets no job with services until then.
		if err := w.until(ctx, func(ctx context.Context) error { return w.ConsulOn(n.Node).Get(ctx, "/v1/agent/self", nil) }); err != nil {
			return fmt.Errorf("consul on %s: %w", n.Name, err)
		}
	}
	return w.startAgent(n, nomadAgent)
}

func (w *World) startAgent(n *node, name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.startAgentLocked(n, name)
}

func (w *World) startAgentLocked(n *node, name string) (err error) {
	if !n.Agents() || n.running(name) {
		return nil
	}
	if n.agents[name], err = startAgent(n.machine, name, w.binaries[name], n.dir); err != nil {
		delete(n.agents, name)
	}
	return err
}

// consulPatience is how long a healed node's Nomad waits for its Consul, which may have no server to talk to.
const consulPatience = 5 * time.Second

// restartAgents starts the agents of a node that do not run, and unseals its Vault.
func (w *World) restartAgents(ctx context.Context, n *node) error {
	return errors.Join(w.restartClients(ctx, n), w.restartVault(ctx, n))
}

// restartClients starts Consul and Nomad, servers or clients.
func (w *World) restartClients(ctx context.Context, n *node) error {
	if err := w.startAgentLocked(n, consulAgent); err != nil || n.running(nomadAgent) || !n.Agents() {
		return err
	}
	patience, cancel := context.WithTimeout(ctx, consulPatience)
	defer cancel()
	_ = w.until(patience, func(ctx context.Context) error {
		conn, err := n.machine.Dial(ctx, "tcp", strings.TrimPrefix(render.ConsulURL(n.Node), "https://"))
		if err == nil {
			err = conn.Close()
		}
		return err
	})
	return w.startAgentLocked(n, nomadAgent)
}

// alive says which agent ended by itself while the world comes up.
func (w *World) alive() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.nodes {
		for _, a := range n.agents {
			if !a.running() {
				return fmt.Errorf("%s on %s ended: %s", a.name, n.Name, a.lastWords())
			}
		}
	}
	return nil
}

// serveArtifacts lets nodes fetch files, as they would from an object store.
func (w *World) serveArtifacts(ctx context.Context, dir string) error {
	address := fmt.Sprintf("%s:%d", w.plan.Host(), ArtifactPort)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("serve artifacts: %w", err)
	}
	server := &http.Server{Handler: http.FileServer(http.Dir(dir)), ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	w.background = append(w.background, closer(func() error {
		err := server.Close()
		<-done
		return err
	}))
	return nil
}

type closer func() error

func (c closer) Close() error { return c() }

// Close ends the world at once: every process, machine, link and file of it. Closing again does nothing.
func (w *World) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return nil
	}
	w.ended = true
	var problems []error
	for _, b := range w.background {
		problems = append(problems, b.Close())
	}
	if w.transport != nil {
		w.transport.CloseIdleConnections()
	}
	var group errgroup.Group
	for _, n := range w.nodes {
		group.Go(func() error {
			if n.machine == nil {
				return nil
			}
			err := n.machine.Close()
			for _, a := range n.agents {
				<-a.ended
			}
			return err
		})
	}
	problems = append(problems, group.Wait())
	if w.router != nil {
		if w.plan.Number != 0 {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			problems = append(problems, unplug(ctx, w.plan.Number))
			cancel()
		}
		problems = append(problems, w.router.Close())
	}
	problems = append(problems, os.RemoveAll(w.dir))
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("end the world: %w", err)
	}
	return nil
}
