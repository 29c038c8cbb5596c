//go:build linux

package stack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/wardline/wardline/test/stack/machine"
	"github.com/wardline/wardline/test/stack/plan"
)

// pair is a cut: a region's way out (b empty) or the path between two nodes, in order.
type pair struct{ a, b string }

func pairOf(a, b string) pair {
	if b != "" && b < a {
		a, b = b, a
	}
	return pair{a, b}
}

// Kill ends a process with SIGKILL: "consul", "nomad", "vault" or the name of a Nomad task, which Nomad may restart.
// target is a node, or a region for all its nodes. An agent stays dead until Heal.
func (w *World) Kill(_ context.Context, target, process string) error {
	return w.onProcesses(target, process, true, func(n *node) error {
		if a := n.agents[process]; a != nil {
			return a.kill()
		}
		return n.signal(process, syscall.SIGKILL)
	})
}

// Pause stops a process (see Kill), or all processes of a target if process is empty, without ending it.
func (w *World) Pause(_ context.Context, target, process string) error {
	return w.onProcesses(target, process, false, func(n *node) error { return n.signal(process, syscall.SIGSTOP) })
}

// Resume continues what Pause stopped.
func (w *World) Resume(_ context.Context, target, process string) error {
	return w.onProcesses(target, process, false, func(n *node) error { return n.signal(process, syscall.SIGCONT) })
}

// onProcesses applies do to the nodes of a target. Of a region's nodes those without the process are left out.
func (w *World) onProcesses(target, process string, needed bool, do func(*node) error) error {
	if needed && process == "" {
		return fmt.Errorf("%w: name a process: consul, nomad, vault or a Nomad task", plan.ErrInvalid)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	nodes, err := w.targets(target)
	if err != nil {
		return err
	}
	var problems []error
	for _, n := range nodes {
		if err := do(n); err != nil {
			problems = append(problems, err)
		}
	}
	if len(nodes) > 1 && len(problems) < len(nodes) {
		problems = slices.DeleteFunc(problems, func(err error) bool {
			return errors.Is(err, plan.ErrInvalid) || errors.Is(err, machine.ErrOff)
		})
	}
	return errors.Join(problems...)
}

func (w *World) targets(name string) ([]*node, error) {
	found, err := w.plan.Targets(name)
	if err != nil {
		return nil, err
	}
	nodes := make([]*node, 0, len(found))
	for _, n := range found {
		nodes = append(nodes, w.nodes[n.Name])
	}
	return nodes, nil
}

// Cut makes packets vanish silently: with b empty, all from and to node a, or between region a and the other
// regions; otherwise those between a and b, each a node or a region. This machine still reaches a region that is
// cut off, so that it can be watched.
func (w *World) Cut(ctx context.Context, a, b string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b != "" {
		return w.cutPairs(ctx, a, b, true)
	}
	if r, ok := w.plan.Region(a); ok {
		return w.setCut(pairOf(a, ""), true, func(verb string) error { return w.isolate(ctx, r, verb) })
	}
	nodes, err := w.targets(a)
	if err != nil {
		return err
	}
	return w.pull(ctx, nodes[0])
}

// setCut makes or removes a cut once, however often it is asked for.
func (w *World) setCut(p pair, on bool, change func(verb string) error) error {
	if w.cuts[p] == on {
		return nil
	}
	verb := "del"
	if on {
		verb = "add"
	}
	if err := change(verb); err != nil {
		return fmt.Errorf("cut %s %s: %w", p.a, p.b, err)
	}
	if on {
		w.cuts[p] = true
	} else {
		delete(w.cuts, p)
	}
	return nil
}

func (w *World) cutPairs(ctx context.Context, a, b string, on bool) error {
	left, err := w.targets(a)
	if err != nil {
		return err
	}
	right, err := w.targets(b)
	if err != nil {
		return err
	}
	for _, l := range left {
		for _, r := range right {
			if l == r {
				continue
			}
			if err := w.setCut(pairOf(l.Name, r.Name), on, func(verb string) error { return w.separate(ctx, verb, l, r) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// PowerOff ends target, a node or all nodes of a region, like a power failure: nothing is said to anybody, since its cable
// goes first.
func (w *World) PowerOff(ctx context.Context, target string) error {
	return w.each(target, func(n *node) error {
		if n.machine == nil {
			return nil
		}
		severed := n.severed
		if err := w.pull(ctx, n); err != nil {
			return err
		}
		n.severed = severed
		if err := n.machine.Close(); err != nil {
			return err
		}
		n.machine = nil
		for _, a := range n.agents {
			<-a.ended
		}
		return w.unwire(ctx, n)
	})
}

// PowerOn boots what PowerOff ended, with the disks as they were.
func (w *World) PowerOn(ctx context.Context, target string) error {
	return w.each(target, func(n *node) error { return w.powerOn(ctx, n) })
}

func (w *World) powerOn(ctx context.Context, n *node) error {
	if n.machine != nil {
		return nil
	}
	if err := w.boot(ctx, n); err != nil {
		return err
	}
	for p := range w.cuts { // its own half of a cut within the region went with the machine
		if other := w.nodes[p.b]; other != nil && (p.a == n.Name || p.b == n.Name) && other.Region == n.Region {
			if w.nodes[p.a].Region == n.Region {
				if err := w.separate(ctx, "add", w.nodes[p.a], other); err != nil {
					return err
				}
			}
		}
	}
	return w.restartAgents(ctx, n)
}

func (w *World) each(target string, do func(*node) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	nodes, err := w.targets(target)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if err := do(n); err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
	}
	return nil
}

// Heal undoes every verb on a, a node or region: cuts of its own and with others, pauses, killed agents, power off, a sealed
// Vault, or one that denies. With b it undoes the cuts between a and b only. It does not wait until the region is whole
// again: see ConsulWhole and NomadWhole.
func (w *World) Heal(ctx context.Context, a, b string) error {
	if b != "" {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.cutPairs(ctx, a, b, false)
	}
	if r, ok := w.plan.Region(a); ok {
		w.mu.Lock()
		err := w.setCut(pairOf(a, ""), false, func(verb string) error { return w.isolate(ctx, r, verb) })
		w.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return w.each(a, func(n *node) error {
		for p := range w.cuts {
			if p.b == "" || p.a != n.Name && p.b != n.Name {
				continue
			}
			if err := w.setCut(p, false, func(verb string) error { return w.separate(ctx, verb, w.nodes[p.a], w.nodes[p.b]) }); err != nil {
				return err
			}
		}
		if err := w.powerOn(ctx, n); err != nil {
			return err
		}
		if n.severed {
			if err := w.replug(ctx, n); err != nil {
				return err
			}
		}
		if err := n.signal("", syscall.SIGCONT); err != nil && !errors.Is(err, plan.ErrInvalid) {
			return err
		}
		return w.restartAgents(ctx, n)
	})
}
