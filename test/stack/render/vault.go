package render

import (
	"fmt"
	"path/filepath"

	"github.com/wardline/wardline/test/stack/ca"
	"github.com/wardline/wardline/test/stack/plan"
)

// Ports of a region's Vault.
const (
	VaultHTTPS   = 8200
	vaultCluster = 8201
)

// VaultSecrets are what the world keeps of a region's Vault.
type VaultSecrets struct {
	// UnsealKeys are the shares of the unseal key, base64; VaultThreshold of them unseal.
	UnsealKeys []string `json:"unseal_keys"`
	RootToken  string   `json:"root_token"`
}

// VaultShares is how many shares the unseal key has, VaultThreshold how many of them unseal.
const (
	VaultShares    = 3
	VaultThreshold = 2
)

// VaultURL is the Vault of a region, by its server.
func VaultURL(server plan.Node) string { return fmt.Sprintf("https://%s:%d", server.Addr, VaultHTTPS) }

// VaultFolders are those that have to be there before Vault starts: its storage and its audit devices'.
func VaultFolders(a Agent) []string {
	devices := AuditDevices(a.Data)
	return []string{storage(a), filepath.Dir(devices[0].Path), filepath.Dir(devices[1].Path)}
}

func storage(a Agent) string { return filepath.Join(a.Data, "vault") }

// AuditDevice is a file audit device of Vault.
type AuditDevice struct{ Name, Path string }

// AuditDevices are those of a node's Vault. Vault answers only what one of them has written, so there are two, on what
// would be two disks.
func AuditDevices(data string) [2]AuditDevice {
	return [2]AuditDevice{
		{"first", filepath.Join(data, "audit-1", "vault.log")},
		{"second", filepath.Join(data, "audit-2", "vault.log")},
	}
}

// Vault renders the configuration of a server's Vault.
func Vault(a Agent) ([]byte, error) {
	listen := func(address string) object {
		return object{"tcp": object{
			"address":       fmt.Sprintf("%s:%d", address, VaultHTTPS),
			"tls_cert_file": filepath.Join(a.TLS, ca.CertFile), "tls_key_file": filepath.Join(a.TLS, ca.KeyFile),
		}}
	}
	return encode(object{
		"storage": object{"raft": object{
			"path": storage(a), "node_id": a.Node.Name, "performance_multiplier": "1",
		}},
		"listener": []object{listen(a.Node.Addr.String()), listen("127.0.0.1")},
		"api_addr": VaultURL(a.Node), "cluster_addr": fmt.Sprintf("https://%s:%d", a.Node.Addr, vaultCluster),
		// Nodes share this machine, and locking its memory takes a capability that a user namespace does not have.
		"disable_mlock": true, "ui": true, "log_level": "info",
		"telemetry": object{"prometheus_retention_time": "60s", "disable_hostname": true},
	})
}
