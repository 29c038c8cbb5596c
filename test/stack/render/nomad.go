package render

import (
	"fmt"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/wardline/wardline/test/stack/ca"
	"github.com/wardline/wardline/test/stack/plan"
)

// MaxKillTimeout bounds a task's kill_timeout on every node: a drain may take as long as a visit.
const MaxKillTimeout = "4h"

var nomadTemplate = template.Must(template.New("nomad").Parse(`# Nomad agent of {{.Node.Name}}
name       = {{printf "%q" .Node.Name}}
region     = {{printf "%q" .Node.Region}}
datacenter = {{printf "%q" .Node.Region}}
data_dir   = {{printf "%q" .DataDir}}
bind_addr  = "{{.Node.Addr}}"
log_level  = "INFO"

disable_update_check = true
leave_on_interrupt   = false
leave_on_terminate   = false

# A world's tests and tools all come from one address.
limits {
  http_max_conns_per_client = 1000
}

advertise {
  http = "{{.Node.Addr}}"
  rpc  = "{{.Node.Addr}}"
  serf = "{{.Node.Addr}}"
}
{{if .Server}}
server {
  enabled              = true
  bootstrap_expect     = 1
  encrypt              = {{printf "%q" .Secrets.NomadGossip}}
  authoritative_region = {{printf "%q" .Authoritative}}
{{- if .HeartbeatGrace}}
  heartbeat_grace      = "{{.HeartbeatGrace}}"
{{- end}}
{{- if .Join}}
  server_join {
    retry_join     = [{{.Join}}]
    retry_interval = "2s"
  }
{{- end}}
}
{{else}}
client {
  enabled           = true
  node_pool         = {{printf "%q" .Node.Pool}}
  servers           = ["{{.ServerRPC}}"]
  network_interface = "eth0"
  max_kill_timeout  = {{printf "%q" .MaxKillTimeout}}
  # Namespaces share one processor, and its clock speed cannot be read on every host.
  cpu_total_compute = 4000

  options = {
    "driver.allowlist"     = "raw_exec"
    "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean"
  }

  meta {
    wardline_ca       = {{printf "%q" .CAFile}}
    wardline_consul   = {{printf "%q" .ConsulURL}}
    wardline_vault    = {{printf "%q" .VaultURL}}
    wardline_vault_ca = {{printf "%q" .CAFile}}
  }
}

plugin "raw_exec" {
  config {
    enabled = true
  }
}
{{end}}
acl {
  enabled = true
{{- if .Replicates}}
  replication_token = {{printf "%q" .Secrets.NomadManagement}}
{{- end}}
}

tls {
  http                   = true
  rpc                    = true
  ca_file                = {{printf "%q" .CAFile}}
  cert_file              = {{printf "%q" .CertFile}}
  key_file               = {{printf "%q" .KeyFile}}
  verify_server_hostname = true
  verify_https_client    = false
}

consul {
  address             = "{{.Node.Addr}}:{{.ConsulPort}}"
  ssl                 = true
  ca_file             = {{printf "%q" .CAFile}}
  token               = {{printf "%q" .ConsulToken}}
  server_auto_join    = false
  client_auto_join    = false
  service_auth_method = {{printf "%q" .AuthMethod}}
  task_auth_method    = {{printf "%q" .AuthMethod}}

  service_identity {
    aud = ["consul.io"]
    ttl = "1h"
  }

  task_identity {
    aud = ["consul.io"]
    ttl = "1h"
  }
}

telemetry {
  prometheus_metrics         = true
  publish_allocation_metrics = true
  publish_node_metrics       = true
  disable_hostname           = true
}
`))

// Nomad renders the configuration of a node's Nomad agent.
func Nomad(a Agent) ([]byte, error) {
	region, ok := a.Plan.Region(a.Node.Region)
	if !ok {
		return nil, fmt.Errorf("render nomad of %s: %w: no region %q", a.Node.Name, plan.ErrInvalid, a.Node.Region)
	}
	authoritative := a.Plan.Regions[0].Name
	join := make([]string, 0, len(a.Plan.Regions))
	for _, addr := range otherServers(a.Plan, region.Name) {
		join = append(join, fmt.Sprintf(`"%s:%d"`, addr, nomadSerf))
	}
	server := a.Node.Kind == plan.Server
	var text strings.Builder
	err := nomadTemplate.Execute(&text, map[string]any{
		"Node": a.Node, "Secrets": a.Secrets, "Server": server, "Authoritative": authoritative,
		"HeartbeatGrace": a.HeartbeatGrace,
		"Replicates":     server && region.Name != authoritative,
		"Join":           strings.Join(join, ", "), "DataDir": filepath.Join(a.Data, "nomad"),
		"ServerRPC":      fmt.Sprintf("%s:%d", region.Server().Addr, nomadRPC),
		"MaxKillTimeout": MaxKillTimeout, "ConsulPort": ConsulHTTPS, "ConsulURL": ConsulURL(a.Node),
		"VaultURL":    VaultURL(region.Server()),
		"ConsulToken": a.Secrets.NomadTokens[region.Name], "AuthMethod": AuthMethod(region.Name),
		"CAFile": filepath.Join(a.TLS, ca.CAFile), "CertFile": filepath.Join(a.TLS, ca.CertFile),
		"KeyFile": filepath.Join(a.TLS, ca.KeyFile),
	})
	if err != nil {
		return nil, fmt.Errorf("render nomad of %s: %w", a.Node.Name, err)
	}
	return []byte(text.String()), nil
}
