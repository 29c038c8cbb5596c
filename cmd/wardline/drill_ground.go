package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	consulapi "github.com/hashicorp/consul/api"
	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/edge/drill"
	"github.com/wardline/wardline/edge/drill/clients"
	"github.com/wardline/wardline/edge/drill/cluster"
	"github.com/wardline/wardline/edge/drill/scenario"
	"github.com/wardline/wardline/edge/drill/tenant"
	"github.com/wardline/wardline/edge/drill/world"
)

// ground is what drills run on.
type ground struct {
	runner *drill.Runner
	// region is the name an operator has to type.
	region   string
	versions map[string]string
	closers  []io.Closer
}

func (g *ground) close() {
	for _, c := range g.closers {
		_ = c.Close()
	}
}

// open connects to the cluster and prepares everything a drill needs.
func (o drillOptions) open(ctx context.Context) (*ground, error) {
	if err := checkGateways(o.gateways); err != nil {
		return nil, err
	}
	trusted, err := trustedBy(o.caFile)
	if err != nil {
		return nil, fmt.Errorf("--ca-file: %w", err)
	}
	key, keyID, err := o.key(o.data)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, failed(err)
	}
	b := currentBuild()
	g := &ground{region: "local", versions: map[string]string{
		"wardline": strings.TrimSpace(b.Version + " " + b.Revision[:min(len(b.Revision), 12)]), "go": strings.TrimPrefix(b.Go, "go"),
	}}
	started := clients.Processes{Command: []string{self, "participant"}, CAFile: o.caFile}
	g.runner = &drill.Runner{Visits: tenant.New(o.tenant, keyID, key, trusted), Gateways: o.gateways}
	if o.world != "" {
		broken, err := world.New(o.world)
		if err != nil {
			return nil, fmt.Errorf("--world: %w", err)
		}
		started.Prefix = broken.Prefix
		g.runner.Injectors = append(g.runner.Injectors, broken)
	}
	g.runner.Clients = started
	if err := o.findCluster(ctx, g); err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

// findCluster connects to Consul and Nomad where they are named, and to the data folder where they are not.
func (o drillOptions) findCluster(ctx context.Context, g *ground) error {
	limited, cancel := context.WithTimeout(ctx, consulPatience)
	defer cancel()
	var catalog cluster.Catalog
	var probes []func(context.Context) error
	var injector cluster.Injector
	if address := cmp.Or(o.consul, os.Getenv(consulapi.HTTPAddrEnvName)); address != "" {
		consul, client, err := dialConsul(o.consul)
		if err != nil {
			return fmt.Errorf("--consul %q: %w", address, err)
		}
		g.closers = append(g.closers, consul)
		if _, g.region, err = consul.Self(limited); err != nil {
			return failed(fmt.Errorf("--consul %q: %w", address, err))
		}
		if g.versions["consul"], err = cluster.ConsulVersion(limited, client); err != nil {
			return failed(err)
		}
		catalog, injector.Maintenance = consul, consul
		probes = append(probes, cluster.ConsulHealth(client))
	} else {
		if _, err := os.Stat(discoveryDir(o.data)); err != nil { // made here it would be empty
			return fmt.Errorf("--data %s: no gateway is known there, and --consul is not given: %w", o.data, err)
		}
		folder, err := discovery.OpenFolder(discoveryDir(o.data))
		if err != nil {
			return failed(fmt.Errorf("--data %s: %w", o.data, err))
		}
		g.closers = append(g.closers, folder)
		catalog, injector.Maintenance = folder, folder
	}
	if address := cmp.Or(o.nomad, os.Getenv("NOMAD_ADDR")); address != "" {
		config := nomadapi.DefaultConfig()
		config.Address = address
		client, err := nomadapi.NewClient(config)
		if err != nil {
			return fmt.Errorf("--nomad %q: %w", address, err)
		}
		nomad := cluster.NewNomad(client)
		if g.versions["nomad"], err = nomad.Version(limited); err != nil {
			return failed(fmt.Errorf("--nomad %q: %w", address, err))
		}
		injector.Jobs = nomad
		probes = append(probes, nomad.Healthy)
	}
	g.runner.Cluster = cluster.New(catalog, probes...)
	g.runner.Injectors = append(g.runner.Injectors, injector)
	return nil
}

// givenToken is one ACL token for every datacenter.
type givenToken string

// Token implements discovery.ConsulTokens.
func (t givenToken) Token(string) (string, error) { return string(t), nil }

// dialConsul reads the environment of consul(1); address overrules its address.
func dialConsul(address string) (*discovery.Consul, *consulapi.Client, error) {
	config := consulapi.DefaultConfig()
	if scheme, rest, ok := strings.Cut(address, "://"); ok {
		config.Scheme, config.Address = scheme, rest
	} else if address != "" {
		config.Address = address // by the scheme of the environment, as consul(1) takes it
	}
	client, err := consulapi.NewClient(config)
	if err != nil {
		return nil, nil, err
	}
	scheme, rest, ok := strings.Cut(config.Address, "://")
	if !ok {
		scheme, rest = config.Scheme, config.Address
	}
	own := discovery.ConsulConfig{
		Address: scheme + "://" + rest, CAFile: config.TLSConfig.CAFile, CertFile: config.TLSConfig.CertFile,
		KeyFile: config.TLSConfig.KeyFile, ServerName: config.TLSConfig.Address,
	}
	if config.TokenFile != "" {
		own.Tokens = discovery.NewConsulTokenFile(config.TokenFile, nil)
	} else if config.Token != "" {
		own.Tokens = givenToken(config.Token)
	}
	consul, err := discovery.NewConsul(own)
	return consul, client, err
}

// isTerminal reports whether somebody can be asked.
func isTerminal(in io.Reader) bool {
	file, ok := in.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	nobody, err := os.Stat(os.DevNull) // a character device too
	return err != nil || !os.SameFile(info, nobody)
}

// errNotConfirmed says that nobody agreed.
var errNotConfirmed = errors.New("not confirmed: nothing was broken")

// confirm lists what is going to be done and waits for the region's name.
func confirm(ctx context.Context, in io.Reader, out io.Writer, region string, drills []scenario.Drill) error {
	fmt.Fprintf(out, "On the cluster of region %s this creates synthetic visits and then does, and undoes afterwards:\n", region)
	for _, d := range drills {
		runs := make([]scenario.Drill, 0, 1+len(d.Controls))
		runs = append(runs, d)
		for _, c := range d.Controls {
			runs = append(runs, c.AsDrill(d))
		}
		for _, run := range runs {
			for _, i := range run.Injections {
				fmt.Fprintf(out, "  %s: %s (%s) for %s or longer\n", d.Name, i.Text, i.Verb.Does, run.Hold.Round(time.Second))
			}
		}
	}
	fmt.Fprintf(out, "Type the region's name to go on: ")
	answer := make(chan string, 1)
	// Not waited for: a read of a terminal cannot be taken back, and ends with the process.
	go func() {
		line, _ := bufio.NewReader(in).ReadString('\n')
		answer <- strings.TrimSpace(line)
	}()
	select {
	case typed := <-answer:
		if typed != region {
			return failed(fmt.Errorf("%w: %q is not %q", errNotConfirmed, typed, region))
		}
		return nil
	case <-ctx.Done():
		return failed(errNotConfirmed)
	}
}
