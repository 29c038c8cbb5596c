package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/core/tenants"
	"github.com/wardline/wardline/edge/gateway"
	"github.com/wardline/wardline/edge/web"
)

// gatewayOptions are the flags of a gateway.
type gatewayOptions struct {
	http      string
	plainHTTP bool
	publicURL string
	autoAdmit bool
	regions   []string
	internal  string

	maxEncounters int
}

func (o *gatewayOptions) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.http, "http", "127.0.0.1:8443", "HOST:PORT of the pages, the API, signaling, WHIP and WHEP")
	f.BoolVar(&o.plainHTTP, "plain-http", false, "no TLS; only where --http is a loopback address")
	f.StringVar(&o.publicURL, "public-url", "", "base URL of join links, https://HOST[:PORT] (default: made from --http)")
	f.BoolVar(&o.autoAdmit, "auto-admit", false, "no waiting room: for tests")
}

// linkBase checks a flag that join links are to start with, as clients and other gateways are going to read it.
func linkBase(flag, base string) (string, error) {
	if signaling.Origin(base) == "" {
		return "", fmt.Errorf("%s %q: must be https://HOST or https://HOST:PORT", flag, base)
	}
	return strings.TrimRight(base, "/"), nil
}

// checkGateways says which --gateway cannot be one.
func checkGateways(bases []string) error {
	for _, base := range bases {
		if _, err := linkBase("--gateway", base); err != nil {
			return err
		}
	}
	return nil
}

// check says which flag is wrong.
func (o *gatewayOptions) check() error {
	host, _, err := splitAddress("--http", o.http)
	if err != nil {
		return err
	}
	if o.plainHTTP && !isLoopback(host) {
		return fmt.Errorf("--plain-http: --http %s is not a loopback address; visits need TLS anywhere else", o.http)
	}
	if o.publicURL != "" {
		if o.publicURL, err = linkBase("--public-url", o.publicURL); err != nil {
			return err
		}
	}
	for _, region := range o.regions {
		if !signaling.ValidID(region) {
			return fmt.Errorf("--regions %.70q: must be names of regions", region)
		}
	}
	return checkAddress("--internal", o.internal)
}

// baseURL is what join links start with.
func (o *gatewayOptions) baseURL(bound net.Addr) string {
	if o.publicURL != "" {
		return o.publicURL
	}
	scheme := "https"
	if o.plainHTTP {
		scheme = "http"
	}
	host, port, err := net.SplitHostPort(bound.String())
	if given, _, splitErr := net.SplitHostPort(o.http); err == nil && splitErr == nil {
		host = given
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		if host, err = os.Hostname(); err != nil {
			host = "localhost"
		}
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

func newGateway() *cobra.Command {
	var common commonOptions
	var o gatewayOptions
	cmd := &cobra.Command{
		Use:   "gateway",
		Short: "Run a gateway: pages, API, signaling, WHIP and WHEP",
		Long: `Run a gateway: what browsers, tenants' applications and WHIP or WHEP tools connect to.

Gateways are stateless: any of them can serve anyone, and media does not pass them.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			start := func(ctx context.Context, p *process, group *errgroup.Group) error {
				_, err := p.startGateway(ctx, group, common.id, o)
				return err
			}
			check := func() error {
				if o.maxEncounters < 1 {
					return fmt.Errorf("--max-encounters %d: must be at least 1", o.maxEncounters)
				}
				if common.vault.address == "" { // it is not listened at
					return o.check()
				}
				return cmp.Or(o.check(), common.reachable("--internal", o.internal))
			}
			return member{component: "gateway", options: common, check: check, start: start}.run(cmd)
		},
	}
	common.bind(cmd, "gateway")
	o.bind(cmd)
	cmd.Flags().StringSliceVar(&o.regions, "regions", nil,
		"regions in order of preference for visits whose token names none; the same for all gateways (default: all by name)")
	cmd.Flags().IntVar(&o.maxEncounters, "max-encounters", gateway.DefaultMaxEncounters,
		"encounters of one tenant in a region, each until 72 h after it is over; more are refused")
	cmd.Flags().StringVar(&o.internal, "internal", "127.0.0.1:0",
		"HOST:PORT where gateways of other regions reach this one (mutual TLS); with --vault, which each region has of its own")
	return cmd
}

// certificateHosts is what the gateway's certificate is for: this machine, and the host it listens on or
// is known by.
func certificateHosts(host string) []string {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		if name, err := os.Hostname(); err == nil {
			return append(hosts, name)
		}
		return hosts
	}
	if !slices.Contains(hosts, host) {
		hosts = append(hosts, host)
	}
	return hosts
}

// startGateway binds a gateway, announces it and runs it in the group. It returns the base URL of links.
func (p *process) startGateway(ctx context.Context, group *errgroup.Group, id string, o gatewayOptions) (url string, err error) {
	if err := p.openTenants(ctx, group); err != nil {
		return "", err
	}
	config, err := p.gatewayConfig(ctx, group, id, o)
	if err != nil {
		return "", err
	}
	closeRecords := func() {}
	defer func() {
		if err != nil {
			closeRecords()
			_ = config.Listener.Close()
			if config.Internal != nil {
				_ = config.Internal.Listener.Close()
			}
		}
	}()
	config.Store, closeRecords = p.openRecords(o.regions)
	server, err := gateway.New(config)
	if err != nil {
		return "", failed(err)
	}
	p.admin.AddCheck(id, server.Ready)
	service := discovery.Service{
		Name: discovery.GatewayService, ID: id, Node: p.options.node, Region: p.options.region, Health: discovery.Passing,
		Meta: map[string]string{discovery.MetaURL: config.PublicURL, discovery.MetaVersion: config.Version},
	}
	if config.Internal != nil {
		service.Meta[discovery.MetaInternal] = config.Internal.Listener.Addr().String()
	}
	if err := p.announce(ctx, service); err != nil {
		return "", err
	}
	if p.vault == nil { // the other commands on this folder use its keys
		if err := writeState(p.options.data, config.PublicURL); err != nil {
			return "", failed(err)
		}
	}
	group.Go(func() error {
		defer closeRecords()
		defer p.retire(ctx, service)
		defer p.forget(config.PublicURL)
		return server.Run(ctx)
	})
	return config.PublicURL, nil
}

// forget has the other commands find no gateway on the folder any more.
func (p *process) forget(url string) {
	if err := removeState(p.options.data, url); err != nil {
		p.log.Warn().Err(err).Msg("other commands still take this gateway for running")
	}
}

// openTenants makes the keys of tenants known: the dev tenant's own where keys are local, and otherwise those of all,
// ahead of the day on which Consul does not answer.
func (p *process) openTenants(ctx context.Context, group *errgroup.Group) error {
	switch registered := p.tenants.(type) {
	case *tenants.Dir:
		return failed(registerDevTenant(ctx, p.options.data, registered))
	case *tenants.KV:
		group.Go(func() error { registered.Follow(ctx); return nil })
	}
	return nil
}

// gatewayConfig binds the ports and gathers all but the records.
func (p *process) gatewayConfig(ctx context.Context, group *errgroup.Group, id string, o gatewayOptions) (gateway.Config, error) {
	host, _, err := splitAddress("--http", o.http)
	if err != nil {
		return gateway.Config{}, err
	}
	certificates, err := p.certificates(ctx, secrets.GatewayRole, certificateHosts(host)...)
	if err != nil {
		return gateway.Config{}, err
	}
	listener, err := listen(ctx, "--http", o.http)
	if err != nil {
		return gateway.Config{}, err
	}
	internal, err := p.listenInternal(ctx, o.internal, certificates)
	if err != nil {
		_ = listener.Close()
		return gateway.Config{}, err
	}
	var serverTLS *tls.Config
	if !o.plainHTTP {
		serverTLS = certificates.Server()
	}
	return gateway.Config{
		ID: id, Region: p.options.region, Version: currentBuild().Version,
		Listener: listener, TLS: serverTLS, PublicURL: o.baseURL(listener.Addr()), Web: web.Handler(),
		KV: p.discovery, Catalog: p.discovery,
		Keeper: p.keeperOfAllRegions(ctx, group), Tenants: p.tenants, ControlTLS: certificates.Client(secrets.SFURole),
		RelayTLS: certificates.Client(secrets.TURNRole), Internal: internal,
		AutoAdmit: o.autoAdmit, MaxEncounters: o.maxEncounters, Registry: p.registry, Log: p.log.With().Str("gateway", id).Logger(),
	}, nil
}
