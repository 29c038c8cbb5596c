package main

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/edge/turn"
	"github.com/wardline/wardline/edge/turn/peers"
)

// turnOptions are the flags of a relay.
type turnOptions struct {
	listen    string
	listenTLS string
	control   string
	relayIP   string
	ports     string
	// drainTimeout is the process's, not the relay's: dev has none.
	drainTimeout time.Duration
	allow        []string

	// What check made of them.
	relay       netip.Addr
	first, last uint16
	allowed     *peers.Set
}

func (o *turnOptions) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.listen, "turn", "127.0.0.1:3478", "HOST:PORT of the relay, UDP and TCP; TLS is on the next port")
	f.StringVar(&o.listenTLS, "turn-tls", "", "HOST:PORT of the relay over TLS (default: the port after --turn)")
	f.StringVar(&o.relayIP, "relay-ip", "", "address relayed media leaves from (default: the host of --turn)")
	f.StringVar(&o.ports, "relay-ports", defaultRelayPorts, "MIN-MAX of the UDP ports relayed media leaves from")
	f.StringSliceVar(&o.allow, "allow-peer", nil, "IP:PORT the relay may forward to besides Wardline's media servers; repeatable")
}

// defaultRelayPorts is the range that RFC 8656, section 7.2, recommends.
const defaultRelayPorts = "49152-65535"

// portRange reads --relay-ports.
func portRange(text string) (first, last uint16, err error) {
	low, high, found := strings.Cut(text, "-")
	minimum, lowErr := strconv.ParseUint(low, 10, 16)
	maximum, highErr := strconv.ParseUint(high, 10, 16)
	if !found || lowErr != nil || highErr != nil || minimum < 1024 || minimum > maximum {
		return 0, 0, fmt.Errorf("--relay-ports %q: must be MIN-MAX, 1024 to 65535", text)
	}
	return uint16(minimum), uint16(maximum), nil
}

func newTURN() *cobra.Command {
	var common commonOptions
	var o turnOptions
	cmd := &cobra.Command{
		Use:   "turn",
		Short: "Run a TURN relay",
		Long: `Run a STUN/TURN relay (RFC 8656) for participants behind strict firewalls: UDP, TCP and TLS.

It is a closed relay: it forwards only to Wardline's media servers, and to --allow-peer. Gateways command it over mutual
TLS: they end the allocations of participants who were removed, and hear when it drains.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			start := func(ctx context.Context, p *process, group *errgroup.Group) error {
				_, err := p.startTURN(ctx, group, common.id, o)
				return err
			}
			check := func() error { return cmp.Or(o.check(), o.checkAnnounced(&common)) }
			return member{component: "turn", options: common, drainTimeout: o.drainTimeout, check: check, start: start}.run(cmd)
		},
	}
	common.bind(cmd, "turn")
	o.bind(cmd)
	cmd.Flags().StringVar(&o.control, "control", "127.0.0.1:0", "HOST:PORT where gateways reach this relay (mutual TLS)")
	bindDrainTimeout(cmd, &o.drainTimeout, "allocations to end")
	return cmd
}

// check says which flag is wrong, and fills in those that follow from others.
func (o *turnOptions) check() error {
	host, _, err := splitAddress("--turn", o.listen)
	if err != nil {
		return err
	}
	if o.listenTLS == "" {
		if o.listenTLS, err = nextPort("--turn", o.listen, 1); err != nil {
			return err
		}
	}
	relayIP := cmp.Or(o.relayIP, host)
	if o.relay, err = netip.ParseAddr(relayIP); err != nil || o.relay.IsUnspecified() {
		return fmt.Errorf("--relay-ip %q: must be an IP address browsers' media can leave from", relayIP)
	}
	if o.first, o.last, err = portRange(o.ports); err != nil {
		return err
	}
	if o.allowed, err = peers.New(o.relay, o.allow, time.Now); err != nil {
		return fmt.Errorf("--allow-peer: %w", err)
	}
	return cmp.Or(checkAddress("--turn-tls", o.listenTLS), checkAddress("--control", o.control))
}

// checkAnnounced is for what check has filled in.
func (o *turnOptions) checkAnnounced(common *commonOptions) error {
	return cmp.Or(
		common.reachable("--turn", o.listen), common.reachable("--turn-tls", o.listenTLS), common.reachable("--control", o.control),
	)
}

// startTURN binds a relay, announces it and runs it in the group. It returns where it
// listens, for people.
func (p *process) startTURN(ctx context.Context, group *errgroup.Group, id string, o turnOptions) (string, error) {
	host, _, err := splitAddress("--turn", o.listen)
	if err != nil {
		return "", err
	}
	certificates, err := p.certificates(ctx, secrets.TURNRole, host)
	if err != nil {
		return "", err
	}
	control, err := listen(ctx, "--control", o.control)
	if err != nil {
		return "", err
	}
	relay, err := turn.New(turn.Config{
		ID: id, Version: currentBuild().Version, Control: control, ControlTLS: certificates.Server(secrets.GatewayRole),
		Announced: o.allowed.Announced,
		Listen:    o.listen, ListenTLS: o.listenTLS, TLS: certificates.Server(), RelayIP: o.relay,
		MinPort: o.first, MaxPort: o.last,
		Secret:    func(ctx context.Context) (secrets.Shared, error) { return p.keeper.Shared(ctx, secrets.TURNSecret) },
		AllowPeer: o.allowed.Allowed, Realm: "wardline", Registry: p.registry, Log: p.log.With().Str("turn", id).Logger(),
	})
	if err != nil {
		_ = control.Close()
		return "", failed(fmt.Errorf("--turn: %w", err))
	}
	p.admin.AddCheck(id, relay.Ready)
	service := discovery.Service{
		Name: discovery.TURNService, ID: id, Node: p.options.node, Region: p.options.region, Health: discovery.Passing,
		Meta: map[string]string{
			discovery.MetaTURN: relay.Addr().String(), discovery.MetaTURNTLS: relay.TLSAddr().String(),
			discovery.MetaControl: control.Addr().String(), discovery.MetaVersion: currentBuild().Version,
		},
	}
	if err := p.announce(ctx, service); err != nil {
		return "", err
	}
	if err := p.followMaintenance(ctx, group, service, relay, func() (int, int) { return 0, relay.Allocations() }); err != nil {
		return "", err
	}
	group.Go(func() error { return relay.Run(ctx) })
	group.Go(func() error { o.allowed.Follow(ctx, p.discovery); p.retire(ctx, service); return nil })
	return fmt.Sprintf("%s (UDP and TCP) and %s (TLS)", relay.Addr(), relay.TLSAddr()), nil
}
