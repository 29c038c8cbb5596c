// Package render writes the agents' configuration. Pure: the same agent always gives the same bytes.
package render

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"github.com/wardline/wardline/test/stack/ca"
	"github.com/wardline/wardline/test/stack/plan"
)

// Ports of the agents on each node's address.
const (
	ConsulHTTPS  = 8501
	ConsulDNS    = 8600
	consulGRPC   = 8503
	NomadHTTPS   = 4646
	nomadRPC     = 4647
	nomadSerf    = 4648
	consulDomain = "consul"
)

// Secrets are the shared secrets of one world.
type Secrets struct {
	// ConsulGossip and NomadGossip are base64 of 32 bytes.
	ConsulGossip string `json:"-"`
	NomadGossip  string `json:"-"`
	// Management is the SecretID of Consul's and Nomad's management tokens.
	ConsulManagement string `json:"consul_management"`
	NomadManagement  string `json:"nomad_management"`
	// Replication is the SecretID with which secondary Consul datacenters copy ACLs from the primary.
	Replication string `json:"-"`
	// NodeTokens are each Consul agent's own token, by node.
	NodeTokens map[string]string `json:"-"`
	// NomadTokens are the Consul tokens of each region's Nomad agents, by region.
	NomadTokens map[string]string `json:"-"`
	// Vaults are what opens each region's Vault, by region; none in a world without.
	Vaults map[string]*VaultSecrets `json:"vaults,omitempty"`
}

// Agent is what the agents of one node are rendered from.
type Agent struct {
	Plan    plan.Plan
	Node    plan.Node
	Secrets Secrets
	// TLS is the folder ca.Authority.Write filled; Data is the node's own folder.
	TLS  string
	Data string
	// HeartbeatGrace is how much longer than agreed Nomad's servers wait for a client; 0 means Nomad's default.
	HeartbeatGrace time.Duration
}

// ServerNames are the DNS names a node's certificate needs for both agents' host name verification.
func ServerNames(n plan.Node) []string {
	role := "client"
	if n.Kind == plan.Server {
		role = "server"
	}
	return []string{
		n.Name, "localhost",
		fmt.Sprintf("%s.%s.%s", role, n.Region, consulDomain), fmt.Sprintf("%s.%s.nomad", role, n.Region),
	}
}

// AuthMethod is the name, in every Consul datacenter, of the method that trusts one region's Nomad.
func AuthMethod(region string) string { return "nomad-" + region }

// ConsulURL is a node's Consul API.
func ConsulURL(n plan.Node) string { return fmt.Sprintf("https://%s:%d", n.Addr, ConsulHTTPS) }

// NomadURL is a node's Nomad API.
func NomadURL(n plan.Node) string { return fmt.Sprintf("https://%s:%d", n.Addr, NomadHTTPS) }

// object is one level of JSON.
type object map[string]any

// Consul renders the configuration of a node's Consul agent.
func Consul(a Agent) ([]byte, error) {
	region, ok := a.Plan.Region(a.Node.Region)
	if !ok {
		return nil, fmt.Errorf("render consul of %s: %w: no region %q", a.Node.Name, plan.ErrInvalid, a.Node.Region)
	}
	primary := a.Plan.Regions[0]
	files := object{
		"ca_file": filepath.Join(a.TLS, ca.CAFile), "cert_file": filepath.Join(a.TLS, ca.CertFile),
		"key_file": filepath.Join(a.TLS, ca.KeyFile), "verify_outgoing": true,
	}
	tokens := object{"agent": a.Secrets.NodeTokens[a.Node.Name]}
	config := object{
		"node_name": a.Node.Name, "datacenter": region.Name, "primary_datacenter": primary.Name,
		"data_dir": filepath.Join(a.Data, "consul"), "log_level": "INFO", "disable_update_check": true,
		"bind_addr": a.Node.Addr.String(), "client_addr": a.Node.Addr.String() + " 127.0.0.1",
		"ports":   object{"http": -1, "https": ConsulHTTPS, "grpc": -1, "grpc_tls": consulGRPC, "dns": ConsulDNS},
		"encrypt": a.Secrets.ConsulGossip,
		"tls": object{
			"defaults":     files,
			"internal_rpc": object{"verify_incoming": true, "verify_server_hostname": true},
		},
		"acl": object{
			"enabled": true, "default_policy": "deny", "down_policy": "extend-cache",
			"enable_token_replication": true, "tokens": tokens,
		},
		"connect":   object{"enabled": false},
		"telemetry": object{"prometheus_retention_time": "60s", "disable_hostname": true},
		// The lone server of a region stays the server of its region, however its process ends.
		"leave_on_terminate": false, "skip_leave_on_interrupt": true,
	}
	if a.Node.Kind != plan.Server {
		config["retry_join"] = []string{region.Server().Addr.String()}
		config["retry_interval"] = "2s"
		return encode(config)
	}
	config["server"], config["bootstrap_expect"] = true, 1
	config["performance"] = object{"raft_multiplier": 1}
	config["ui_config"] = object{"enabled": true}
	if region.Name == primary.Name {
		tokens["initial_management"] = a.Secrets.ConsulManagement
	} else {
		tokens["replication"] = a.Secrets.Replication
	}
	if others := otherServers(a.Plan, region.Name); len(others) > 0 {
		config["retry_join_wan"] = others
		config["retry_interval_wan"] = "2s"
	}
	return encode(config)
}

func otherServers(p plan.Plan, region string) []string {
	var addrs []string
	for _, r := range p.Regions {
		if r.Name != region {
			addrs = append(addrs, r.Server().Addr.String())
		}
	}
	return addrs
}

func encode(config object) ([]byte, error) {
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode configuration: %w", err)
	}
	return append(text, '\n'), nil
}
