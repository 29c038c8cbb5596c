package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/observe"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/tenants"
)

// commonOptions are the flags every component has.
type commonOptions struct {
	data     string
	region   string
	node     string
	id       string
	admin    string
	logLevel string
	pprof    bool
	register bool
	consul   consulOptions
	vault    workloadVault
}

func (o *commonOptions) bind(cmd *cobra.Command, component string) {
	f := cmd.Flags()
	f.StringVar(&o.data, "data", defaultData,
		"folder with keys, without --vault, and with what the components know of each other, without --consul")
	f.StringVar(&o.region, "region", "", "region this server is in (default: Consul's datacenter, or local)")
	f.StringVar(&o.node, "node", "", "node this server is on: maintenance mode is per node (default: Consul's, or this machine's name)")
	o.consul.bind(cmd)
	o.vault.bind(cmd, component)
	f.StringVar(&o.id, "id", component+"-1", "service id, unique among all regions")
	f.BoolVar(&o.register, "register", true,
		"announce this server in the catalog; false where a Nomad service block does, with its meta \"id\" as --id")
	f.StringVar(&o.admin, "admin", "127.0.0.1:0", "HOST:PORT of /metrics, /live, /ready")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error; the log is JSON on standard error")
	f.BoolVar(&o.pprof, "pprof", false, "serve /debug/pprof on the admin port")
}

// check says which flag is wrong.
func (o *commonOptions) check() error {
	for _, place := range []struct{ flag, name string }{{"--region", o.region}, {"--node", o.node}} {
		if place.name == "" { // yet to be learnt
			continue
		}
		if err := discovery.CheckName(place.flag, place.name); err != nil {
			return err
		}
	}
	return cmp.Or(o.consul.check(o.region), o.vault.check(), checkID("id", o.id), checkAddress("--admin", o.admin))
}

// process is what one running component stands on.
type process struct {
	options   commonOptions
	log       zerolog.Logger
	logged    io.Closer // waits until what was logged is written
	exit      func(code int)
	registry  prometheus.Registerer
	admin     *observe.Admin
	keeper    secrets.Keeper
	tenants   access.TenantKeys
	discovery discovery.Discovery
	// consul is discovery where that is Consul, vault the keeper where that is Vault; nil with their twins.
	consul *discovery.Consul
	vault  *secrets.Vault
	start  startCheck
	// closers end what the process stands on, the last one first.
	closers []io.Closer

	mu sync.Mutex
	// leaving are the components to drain before the process ends.
	leaving []leaving
}

// newProcess makes a process that close ends.
func newProcess(o commonOptions, component string, stderr io.Writer) (*process, error) {
	writer := observe.NewWriter(stderr, component)
	log, err := observe.Logger(writer, component, o.logLevel)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("--log-level: %w", err), writer.Close())
	}
	admin := observe.NewAdmin(log, currentBuild().Version, o.pprof)
	admin.Registry().MustRegister(writer.Lost())
	return &process{
		options: o, log: log, logged: writer, exit: os.Exit, registry: admin.Registry(), admin: admin,
		closers: []io.Closer{writer},
	}, nil
}

// newDevProcess is a process that stands on itself and its data folder.
func newDevProcess(o commonOptions, stderr io.Writer) (*process, error) {
	p, err := newProcess(o, "dev", stderr)
	if err != nil {
		return nil, err
	}
	p.discovery = discovery.NewMemory()
	if err := p.openLocal(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// openLocal takes keys and tenants from the data folder.
func (p *process) openLocal() error {
	keeper, err := secrets.OpenLocal(secretsDir(p.options.data))
	if err != nil {
		return failed(fmt.Errorf("--data %s: %w", p.options.data, err))
	}
	p.keeper, p.tenants = keeper, tenants.OpenDir(tenantsDir(p.options.data))
	return nil
}

// announce puts a server into the catalog, unless somebody else does.
func (p *process) announce(ctx context.Context, service discovery.Service) error {
	if !p.options.register {
		return nil
	}
	return failed(p.discovery.Register(ctx, service))
}

// serveAdmin binds the admin port and returns the function that serves it.
func (p *process) serveAdmin(ctx context.Context) (func(context.Context) error, string, error) {
	listener, err := listen(ctx, "--admin", p.options.admin)
	if err != nil {
		return nil, "", err
	}
	address := listener.Addr().String()
	return func(ctx context.Context) error { return p.admin.Serve(ctx, listener) }, address, nil
}

// listen binds a TCP address and names the flag if it cannot.
func listen(ctx context.Context, flag, address string) (net.Listener, error) {
	if _, _, err := splitAddress(flag, address); err != nil {
		return nil, err
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, failed(fmt.Errorf("%s: %w", flag, err))
	}
	return listener, nil
}

// splitAddress checks a HOST:PORT flag.
func splitAddress(flag, address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("%s %q: must be HOST:PORT", flag, address)
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("%s %q: the port must be 0 to 65535", flag, address)
	}
	return host, port, nil
}

// checkAddress is splitAddress for its error alone.
func checkAddress(flag, address string) error {
	_, _, err := splitAddress(flag, address)
	return err
}

// reachable refuses the HOST:PORT of a flag that is announced, where others could not make anything of its host.
func (o *commonOptions) reachable(flag, address string) error {
	host, _, err := splitAddress(flag, address)
	if ip := net.ParseIP(host); err == nil && o.register && (host == "" || ip != nil && ip.IsUnspecified()) {
		err = fmt.Errorf("%s %q: must be the address that others reach this server at, which is announced", flag, address)
	}
	return err
}

// nextPort is the same host with the port by offset higher; port 0 stays 0.
func nextPort(flag, address string, offset int) (string, error) {
	host, port, err := splitAddress(flag, address)
	if err != nil {
		return "", err
	}
	if port != 0 {
		port += offset
	}
	if port > 65535 {
		return "", fmt.Errorf("%s %q: the port must leave room for %d more", flag, address, offset)
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), nil
}

// isLoopback reports whether only this machine can reach the host.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback()
}

// awaitInput reads what comes on standard input and waits for it until ctx ends: the read itself cannot be taken back, and
// ends with the process.
func awaitInput[T any](ctx context.Context, read func() (T, error)) (input T, err error) {
	done := make(chan error, 1)
	var got T
	go func() {
		var err error
		got, err = read()
		done <- err
	}()
	select {
	case err := <-done:
		return got, err
	case <-ctx.Done():
		return input, failed(fmt.Errorf("standard input: %w", ctx.Err()))
	}
}

// readAllInput reads standard input whole, up to a limit in bytes.
func readAllInput(cmd *cobra.Command, limit int64) ([]byte, error) {
	return awaitInput(cmd.Context(), func() ([]byte, error) { return io.ReadAll(io.LimitReader(cmd.InOrStdin(), limit)) })
}
