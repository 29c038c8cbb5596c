package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/wardline/wardline/core/discovery"
)

// consulOptions say how a component reaches Consul.
type consulOptions struct {
	address   string
	caFile    string
	certFile  string
	keyFile   string
	tokenFile string
}

func (o *consulOptions) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.address, "consul", "",
		"https://HOST:PORT of this node's Consul agent, through which components find each other (default: the --data folder)")
	f.StringVar(&o.caFile, "consul-ca-file", "", "PEM file of the authority behind Consul agents' certificates (default: the system's)")
	f.StringVar(&o.certFile, "consul-cert-file", "", "PEM client certificate, where agents verify incoming connections")
	f.StringVar(&o.keyFile, "consul-key-file", "", "PEM key of --consul-cert-file")
	f.StringVar(&o.tokenFile, "consul-token-file", "", "file with the Consul ACL token, read again when it changes")
}

// consulPatience is how long a start waits for the agent to say who it is.
const consulPatience = 10 * time.Second

// findOthers opens what the components find each other through, and learns from it where this one is.
func (p *process) findOthers(ctx context.Context) (io.Closer, error) {
	o := &p.options
	if o.consul.address != "" {
		return p.joinConsul(ctx)
	}
	folder, err := discovery.OpenFolder(discoveryDir(o.data))
	if err != nil {
		return nil, failed(fmt.Errorf("--data %s: %w", o.data, err))
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	o.settle(host, "local")
	p.discovery = folder
	return folder, nil
}

func (p *process) joinConsul(ctx context.Context) (io.Closer, error) {
	o := &p.options
	config := discovery.ConsulConfig{
		Address: o.consul.address, CAFile: o.consul.caFile, CertFile: o.consul.certFile, KeyFile: o.consul.keyFile, Log: p.log,
	}
	if o.consul.tokenFile != "" {
		config.Tokens = discovery.NewConsulTokenFile(o.consul.tokenFile, nil)
	}
	consul, err := discovery.NewConsul(config)
	if err != nil {
		return nil, fmt.Errorf("--consul: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, consulPatience)
	defer cancel()
	node, datacenter, err := consul.Self(ctx)
	if err != nil {
		_ = consul.Close()
		return nil, failed(fmt.Errorf("--consul %s: %w", o.consul.address, err))
	}
	o.settle(node, datacenter)
	p.discovery = consul
	p.admin.AddCheck("consul", consul.Ready)
	return consul, nil
}

// settle fills in what the command line left open.
func (o *commonOptions) settle(node, region string) {
	if o.node == "" {
		o.node = node
	}
	if o.region == "" {
		o.region = region
	}
}
