package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/rs/zerolog"
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
	jwtFile   string
	method    string
}

func (o *consulOptions) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.address, "consul", "",
		"https://HOST:PORT of this node's Consul agent, through which components find each other (default: the --data folder)")
	f.StringVar(&o.caFile, "consul-ca-file", "", "PEM file of the authority behind Consul agents' certificates (default: the system's)")
	f.StringVar(&o.certFile, "consul-cert-file", "", "PEM client certificate, where agents verify incoming connections")
	f.StringVar(&o.keyFile, "consul-key-file", "", "PEM key of --consul-cert-file")
	f.StringVar(&o.tokenFile, "consul-token-file", "", "file with the Consul ACL token, read again when it changes")
	f.StringVar(&o.jwtFile, "consul-jwt-file", "",
		"file with the workload identity (JWT) to log in with to Consul, in every region; read again when it changes")
	f.StringVar(&o.method, "consul-auth-method", "", "Consul auth method for --consul-jwt-file (default: nomad-REGION)")
}

// check says which flag is missing for somebody in the region, "" if that is yet to be learnt.
func (o *consulOptions) check(region string) error {
	switch {
	case o.address == "" && cmp.Or(o.caFile, o.certFile, o.keyFile, o.tokenFile, o.jwtFile, o.method) != "":
		return errors.New("--consul: needed with the flags that begin with --consul-")
	case o.jwtFile != "" && cmp.Or(o.method, o.tokenFile, region) == "":
		return errors.New("--consul-auth-method, or the region: needed with --consul-jwt-file, to log in before Consul says where this is")
	}
	return nil
}

// consulPatience is how long a start waits for the agent to say who it is.
const consulPatience = 10 * time.Second

// findOthers opens what the components find each other through, and learns from it where this one is.
func (p *process) findOthers(ctx context.Context) (io.Closer, error) {
	o := &p.options
	if o.consul.address != "" {
		return p.joinConsul(ctx)
	}
	if !o.register {
		return nil, errors.New("--register=false: needs --consul, where somebody else registers this server")
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

// config is for somebody in the region, "" if that is yet to be learnt.
func (o *consulOptions) config(region string, log zerolog.Logger) discovery.ConsulConfig {
	config := discovery.ConsulConfig{
		Address: o.address, CAFile: o.caFile, CertFile: o.certFile, KeyFile: o.keyFile, Log: log,
		Login: discovery.ConsulLogin{JWTFile: o.jwtFile, Method: o.method},
	}
	if config.Login.Method == "" && region != "" {
		config.Login.Method = "nomad-" + region
	}
	if o.tokenFile != "" {
		config.Tokens = discovery.NewConsulTokenFile(o.tokenFile, nil)
	}
	return config
}

func (p *process) joinConsul(ctx context.Context) (io.Closer, error) {
	o := &p.options
	config := o.consul.config(o.region, p.log)
	consul, err := discovery.NewConsul(config)
	if err != nil {
		return nil, fmt.Errorf("--consul: %w", err)
	}
	if err := o.learnPlace(ctx, consul); err != nil {
		_ = consul.Close()
		return nil, failed(fmt.Errorf("--consul %s: %w", o.consul.address, err))
	}
	p.discovery, p.consul = consul, consul
	p.admin.AddDependency("consul", consul.Ready)
	if o.consul.jwtFile != "" {
		p.admin.AddDependency("identity", func(context.Context) error { return config.Login.Fresh(time.Now()) })
	}
	return consul, nil
}

// learnPlace asks the agent for what the command line left open: who was told where it is starts without it.
func (o *commonOptions) learnPlace(ctx context.Context, consul *discovery.Consul) error {
	if o.node != "" && o.region != "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, consulPatience)
	defer cancel()
	node, datacenter, err := consul.Self(ctx)
	if err != nil {
		return err
	}
	o.settle(node, datacenter)
	return nil
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
