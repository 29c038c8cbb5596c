//go:build linux

package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/wardline/wardline/test/stack/machine"
	"github.com/wardline/wardline/test/stack/plan"
)

// Second octets tried for a world's network; each running world has one of its own.
const (
	firstNumber = 77
	lastNumber  = 99
)

// Priorities of the router's rules: this machine always gets through, then cuts, then delays.
const (
	hostPriority  = 50
	cutPriority   = 100
	delayPriority = 200
)

// nowhere is a hardware address that nobody has.
const nowhere = "02:00:00:00:00:ff"

// plug connects this machine with the router, and thereby claims a network number.
func plug(ctx context.Context, router *machine.Machine) (number int, err error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return 0, fmt.Errorf("list this machine's addresses: %w", err)
	}
	for number = firstNumber; number <= lastNumber; number++ {
		p := plan.Plan{Number: number}
		if slices.ContainsFunc(addrs, func(a net.Addr) bool {
			ip, ok := a.(*net.IPNet)
			return ok && p.Network().Contains(netip.MustParseAddr(ip.IP.String()).Unmap())
		}) {
			continue
		}
		err = machine.HostIP(ctx,
			fmt.Sprintf("link add %s type veth peer name uplink netns %d", hostLink(number), router.PID()),
			fmt.Sprintf("addr add %s/24 dev %s", p.Host(), hostLink(number)),
			fmt.Sprintf("link set %s up", hostLink(number)),
			fmt.Sprintf("route add %s via %s", p.Network(), p.Router()))
		if err == nil || !strings.Contains(err.Error(), "File exists") {
			return number, err
		}
	}
	return 0, fmt.Errorf("no free network from 10.%d.0.0/16 to 10.%d.0.0/16: %w", firstNumber, lastNumber, err)
}

// unplug removes the link to the router and the route with it.
func unplug(ctx context.Context, number int) error {
	if _, err := net.InterfaceByName(hostLink(number)); err != nil {
		return nil //nolint:nilerr // it is gone, as it should be
	}
	return machine.HostIP(ctx, "link del "+hostLink(number))
}

func hostLink(number int) string { return fmt.Sprintf("wardline%d", number) }

// wire makes the router route between this machine and the regions.
func wire(ctx context.Context, router *machine.Machine, p plan.Plan) error {
	lines := make([]string, 0, 4+3*len(p.Regions))
	lines = append(lines,
		fmt.Sprintf("addr add %s/24 dev uplink", p.Router()), "link set uplink up",
		fmt.Sprintf("rule add priority %d from %s/24 lookup main", hostPriority, p.Host()),
		fmt.Sprintf("rule add priority %d to %s/24 lookup main", hostPriority, p.Host()))
	for _, r := range p.Regions {
		lines = append(lines,
			fmt.Sprintf("link add %s type bridge", r.Bridge),
			fmt.Sprintf("addr add %s/24 dev %s", r.Router, r.Bridge), fmt.Sprintf("link set %s up", r.Bridge))
	}
	if err := router.IP(ctx, lines...); err != nil {
		return err
	}
	return errors.Join(
		router.WriteSysctl("net/ipv4/ip_forward", "1"), router.WriteSysctl("net/ipv4/conf/all/rp_filter", "0"))
}

// cable is the router's end of a node's link.
func cable(n plan.Node) string {
	octets := n.Addr.As4()
	return fmt.Sprintf("v%d-%d", octets[2], octets[3])
}

// attach gives a freshly booted machine its address, and its cable unless that is pulled.
func (w *World) attach(ctx context.Context, n *node) error {
	region, _ := w.plan.Region(n.Region)
	lines := []string{fmt.Sprintf("link add %s type veth peer name eth0 netns %d", cable(n.Node), n.machine.PID())}
	if !n.severed {
		lines = append(lines, fmt.Sprintf("link set %s master %s", cable(n.Node), region.Bridge))
	}
	if err := w.router.IP(ctx, append(lines, fmt.Sprintf("link set %s up", cable(n.Node)))...); err != nil {
		return err
	}
	// Without IPv6 nothing waits for duplicate address detection, and fingerprints find one address.
	if err := n.machine.WriteSysctl("net/ipv6/conf/eth0/disable_ipv6", "1"); err != nil {
		return err
	}
	return n.machine.IP(ctx, fmt.Sprintf("addr add %s/24 dev eth0", n.Addr), "link set eth0 up",
		fmt.Sprintf("route add default via %s", region.Router))
}

// unwire removes the cable of a machine that is gone. The kernel does so too, sooner or later, but the next boot
// needs its name.
func (w *World) unwire(ctx context.Context, n *node) error {
	err := w.router.IP(ctx, "link del "+cable(n.Node))
	if err != nil && strings.Contains(err.Error(), "Cannot find device") {
		return nil
	}
	return err
}

// pull disconnects a node's cable from its region's switch; its own end keeps carrier, so packets vanish silently.
func (w *World) pull(ctx context.Context, n *node) error {
	n.severed = true
	if n.machine == nil {
		return nil
	}
	return w.router.IP(ctx, fmt.Sprintf("link set %s nomaster", cable(n.Node)))
}

func (w *World) replug(ctx context.Context, n *node) error {
	n.severed = false
	if n.machine == nil {
		return nil
	}
	region, _ := w.plan.Region(n.Region)
	return w.router.IP(ctx, fmt.Sprintf("link set %s master %s", cable(n.Node), region.Bridge))
}

// isolate and rejoin cut a region's way out and open it again.
func (w *World) isolate(ctx context.Context, r plan.Region, verb string) error {
	return w.router.IP(ctx,
		fmt.Sprintf("rule %s priority %d from %s blackhole", verb, cutPriority, r.Prefix),
		fmt.Sprintf("rule %s priority %d to %s blackhole", verb, cutPriority, r.Prefix))
}

// separate cuts ("add") or joins ("del") two nodes that can otherwise reach each other.
func (w *World) separate(ctx context.Context, verb string, a, b *node) error {
	if a.Region != b.Region {
		return w.router.IP(ctx,
			fmt.Sprintf("rule %s priority %d from %s to %s blackhole", verb, cutPriority, a.Addr, b.Addr),
			fmt.Sprintf("rule %s priority %d from %s to %s blackhole", verb, cutPriority, b.Addr, a.Addr))
	}
	// Nodes of one region meet on their switch without passing the router: each believes the other is somebody who is not there.
	for _, ends := range [][2]*node{{a, b}, {b, a}} {
		if ends[0].machine == nil {
			continue
		}
		line := fmt.Sprintf("neigh del %s dev eth0", ends[1].Addr)
		if verb == "add" {
			line = fmt.Sprintf("neigh replace %s lladdr %s dev eth0 nud permanent", ends[1].Addr, nowhere)
		}
		if err := ends[0].machine.IP(ctx, line); err != nil {
			return err
		}
	}
	return nil
}
