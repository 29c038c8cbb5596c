//go:build linux

package stack

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/wardline/wardline/test/stack/ca"
	"github.com/wardline/wardline/test/stack/machine"
	"github.com/wardline/wardline/test/stack/plan"
	"github.com/wardline/wardline/test/stack/render"
)

// makeSecrets draws every secret of the world and makes its authority.
func (w *World) makeSecrets() (err error) {
	if w.authority, err = ca.New(time.Now()); err != nil {
		return err
	}
	w.transport = &http.Transport{
		TLSClientConfig: w.authority.ClientTLS(), MaxIdleConnsPerHost: 4, TLSHandshakeTimeout: 10 * time.Second,
		IdleConnTimeout: 30 * time.Second, ResponseHeaderTimeout: time.Minute,
	}
	w.secrets = render.Secrets{
		ConsulGossip: gossipKey(), NomadGossip: gossipKey(), Replication: uuid.NewString(),
		ConsulManagement: uuid.NewString(), NomadManagement: uuid.NewString(),
		NodeTokens: map[string]string{}, NomadTokens: map[string]string{},
	}
	if w.binaries[vaultAgent] != "" {
		if err := w.makeRoot(); err != nil {
			return err
		}
		w.secrets.Vaults = map[string]*render.VaultSecrets{}
	}
	for _, r := range w.plan.Regions {
		w.secrets.NomadTokens[r.Name] = uuid.NewString()
		if w.secrets.Vaults != nil {
			w.secrets.Vaults[r.Name] = &render.VaultSecrets{}
		}
		for _, n := range r.Nodes {
			w.secrets.NodeTokens[n.Name] = uuid.NewString()
		}
	}
	return nil
}

func gossipKey() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return base64.StdEncoding.EncodeToString(key)
}

// configure writes a node's certificates and configuration.
func (w *World) configure(n *node) error {
	tls := filepath.Join(n.dir, "tls")
	addrs := []netip.Addr{n.Addr, netip.MustParseAddr("127.0.0.1")}
	pair, err := w.authority.Issue(n.Name, render.ServerNames(n.Node), addrs, time.Now())
	if err != nil {
		return err
	}
	if err := w.authority.Write(tls, pair); err != nil || !n.Agents() {
		return err
	}
	a := render.Agent{Plan: w.plan, Node: n.Node, Secrets: w.secrets, TLS: tls, Data: n.dir, HeartbeatGrace: w.heartbeatGrace}
	consul, err := render.Consul(a)
	if err != nil {
		return err
	}
	nomad, err := render.Nomad(a)
	if err != nil {
		return err
	}
	texts := map[string][]byte{consulAgent: consul, nomadAgent: nomad}
	if w.hasVault(n) {
		if texts[vaultAgent], err = render.Vault(a); err != nil {
			return err
		}
		for _, folder := range render.VaultFolders(a) {
			if err := os.MkdirAll(folder, 0o700); err != nil {
				return fmt.Errorf("configure %s: %w", n.Name, err)
			}
		}
	}
	for name, text := range texts {
		if err := os.WriteFile(configFile(n.dir, name), text, 0o600); err != nil {
			return fmt.Errorf("configure %s: %w", n.Name, err)
		}
	}
	return nil
}

// Plan is the world's layout.
func (w *World) Plan() plan.Plan { return w.plan }

// Dir is the world's folder: NODE/consul.log, NODE/nomad.log, NODE/vault.log, NODE/tls and ca.pem.
func (w *World) Dir() string { return w.dir }

// CAFile is the certificate everything in the world trusts.
func (w *World) CAFile() string { return filepath.Join(w.dir, ca.CAFile) }

// Authority issues further certificates of the world.
func (w *World) Authority() *ca.Authority { return w.authority }

// HTTPClient trusts the world's authority and runs on this machine, outside of every region.
func (w *World) HTTPClient() *http.Client { return &http.Client{Transport: w.transport} }

// ArtifactURL is where nodes find Options.Artifacts.
func (w *World) ArtifactURL() string { return fmt.Sprintf("http://%s:%d", w.plan.Host(), ArtifactPort) }

// Consul is the API of a region's Consul server with the management token; region must exist.
func (w *World) Consul(region string) *API {
	r, _ := w.plan.Region(region)
	return w.ConsulOn(r.Server())
}

// ConsulOn is the API of one node's Consul agent with the management token.
func (w *World) ConsulOn(n plan.Node) *API {
	return &API{
		URL: render.ConsulURL(n), Header: "X-Consul-Token", Token: w.secrets.ConsulManagement, Client: w.HTTPClient(),
	}
}

// Nomad is the API of a region's Nomad server with the management token; region must exist.
func (w *World) Nomad(region string) *API {
	r, _ := w.plan.Region(region)
	return &API{
		URL: render.NomadURL(r.Server()), Header: "X-Nomad-Token", Token: w.secrets.NomadManagement, Client: w.HTTPClient(),
	}
}

// Env is what the consul, nomad and vault commands need in their environment to speak to a region.
func (w *World) Env(region string) []string {
	env := []string{
		"CONSUL_HTTP_ADDR=" + w.Consul(region).URL, "CONSUL_HTTP_TOKEN=" + w.secrets.ConsulManagement, "CONSUL_CACERT=" + w.CAFile(),
		"NOMAD_ADDR=" + w.Nomad(region).URL, "NOMAD_TOKEN=" + w.secrets.NomadManagement, "NOMAD_CACERT=" + w.CAFile(),
		"NOMAD_REGION=" + region,
	}
	if vault := w.Vault(region); vault != nil {
		env = append(env, "VAULT_ADDR="+vault.URL, "VAULT_TOKEN="+vault.Token, "VAULT_CACERT="+w.CAFile())
	}
	return env
}

// Binary is the path of the world's consul, nomad or vault.
func (w *World) Binary(name string) string { return w.binaries[name] }

// Machine is a node's machine, to run commands or open sockets in: a guest is where clients belong.
// machine.ErrOff while the node is powered off.
func (w *World) Machine(name string) (*machine.Machine, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.nodes[name]
	if n == nil {
		return nil, fmt.Errorf("%w: no node %q", plan.ErrInvalid, name)
	}
	if n.machine == nil {
		return nil, fmt.Errorf("%s: %w", name, machine.ErrOff)
	}
	return n.machine, nil
}
