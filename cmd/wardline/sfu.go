package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/edge/hugepages"
	"github.com/wardline/wardline/edge/sfu"
)

// sfuOptions are the flags of a media server.
type sfuOptions struct {
	media     string
	control   string
	advertise []string
	capacity  int
	// drainTimeout is the process's, not the server's: dev has none.
	drainTimeout time.Duration
}

func (o *sfuOptions) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.media, "media", "127.0.0.1:7200", "HOST:PORT for media, UDP and TCP")
	f.StringVar(&o.control, "control", "127.0.0.1:0", "HOST:PORT where gateways reach this server (mutual TLS)")
	bindDrainTimeout(cmd, &o.drainTimeout, "its visits to move elsewhere or end")
	o.bindShared(cmd)
}

func (o *sfuOptions) bindShared(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&o.advertise, "advertise", nil, "IP address browsers are told for media; repeatable (default: the host of --media)")
	f.IntVar(&o.capacity, "capacity", 200, "participants one media server takes")
}

func newSFU() *cobra.Command {
	var common commonOptions
	var o sfuOptions
	cmd := &cobra.Command{
		Use:   "sfu",
		Short: "Run a media server (SFU)",
		Long: `Run a media server: browsers send it their tracks and it forwards them to the others.

One UDP port and the same TCP port carry all media (ICE-lite); gateways command it over mutual TLS.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			start := func(ctx context.Context, p *process, group *errgroup.Group) error {
				hugepages.Reserve(min(o.capacity*participantMemory, maxReserve))
				_, err := p.startSFU(ctx, group, common.id, o)
				return err
			}
			check := func() error { return cmp.Or(o.check(), common.reachable("--control", o.control)) }
			return member{component: "sfu", options: common, drainTimeout: o.drainTimeout, check: check, start: start}.run(cmd)
		},
	}
	common.bind(cmd, "sfu")
	o.bind(cmd)
	return cmd
}

const (
	// participantMemory is what one who receives a video and some voices takes of a media server's memory, in bytes.
	participantMemory = 512 << 10
	// maxReserve is how much of the heap is to be huge pages at most.
	maxReserve = 512 << 20
)

// check says which flag is wrong.
func (o *sfuOptions) check() error {
	if o.capacity < 1 {
		return fmt.Errorf("--capacity %d: must be at least 1", o.capacity)
	}
	for _, text := range o.advertise {
		if address, err := netip.ParseAddr(text); err != nil || address.IsUnspecified() {
			return fmt.Errorf("--advertise %q: must be an IP address that browsers can reach", text)
		}
	}
	return cmp.Or(checkAddress("--media", o.media), checkAddress("--control", o.control))
}

// startSFU binds a media server, announces it and runs it in the group. It returns the media address.
func (p *process) startSFU(ctx context.Context, group *errgroup.Group, id string, o sfuOptions) (string, error) {
	control, err := listen(ctx, "--control", o.control)
	if err != nil {
		return "", err
	}
	certificates, err := p.certificates(ctx, secrets.SFURole)
	if err != nil {
		_ = control.Close()
		return "", err
	}
	server, err := sfu.New(sfu.Config{
		ID: id, Version: currentBuild().Version, Control: control, ControlTLS: certificates.Server(secrets.GatewayRole),
		Media: o.media, Advertise: o.advertise, Capacity: o.capacity,
		Registry: prometheus.WrapRegistererWith(prometheus.Labels{"server": id}, p.registry), Log: p.log.With().Str("sfu", id).Logger(),
	})
	if err != nil {
		_ = control.Close()
		return "", failed(fmt.Errorf("--media: %w", err))
	}
	p.admin.AddCheck(id, server.Ready)
	service := discovery.Service{
		Name: discovery.SFUService, ID: id, Node: p.options.node, Region: p.options.region, Health: discovery.Passing,
		Meta: map[string]string{
			discovery.MetaControl: server.ControlAddr(),
			discovery.MetaMedia:   strings.Join(server.MediaAddrs(), ","),
			discovery.MetaLoad:    "0",
			discovery.MetaVersion: currentBuild().Version,
		},
	}
	if err := p.announce(ctx, service); err != nil {
		return "", err
	}
	carried := func() (int, int) { return server.Encounters(), server.Participants() }
	if err := p.followMaintenance(ctx, group, service, server, carried); err != nil {
		return "", err
	}
	group.Go(func() error { return server.Run(ctx) })
	p.guard(ctx, group, id, server.Progress)
	group.Go(func() error { p.announceLoad(ctx, service, server.Load); return nil })
	return server.MediaAddr().String(), nil
}

// announceLoad keeps a service's load current in the catalog and takes the service out at the end.
func (p *process) announceLoad(ctx context.Context, service discovery.Service, load func() float64) {
	if !p.options.register {
		return
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	told := false
	for {
		select {
		case <-ctx.Done():
			p.retire(ctx, service)
			return
		case <-tick.C:
		}
		current := strconv.FormatFloat(load(), 'f', 2, 64)
		if current == service.Meta[discovery.MetaLoad] {
			continue
		}
		loaded := service
		loaded.Meta = maps.Clone(service.Meta)
		loaded.Meta[discovery.MetaLoad] = current
		err := p.discovery.Register(ctx, loaded)
		switch {
		case err == nil:
			service = loaded
		case !told:
			p.log.Warn().Err(err).Str("service", service.ID).Msg("load not announced, trying again")
		}
		told = err != nil
	}
}

// retire takes a service out of the catalog although the context that ran it has ended.
func (p *process) retire(ctx context.Context, service discovery.Service) {
	if !p.options.register {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := p.discovery.Deregister(ctx, service.Name, service.ID); err != nil && !errors.Is(err, discovery.ErrNotFound) {
		p.log.Warn().Err(err).Str("service", service.ID).Msg("service not taken out of the catalog")
	}
}
