package render_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/test/stack/plan"
	"github.com/wardline/wardline/test/stack/render"
)

func agent(t *testing.T, name string) render.Agent {
	t.Helper()
	p, err := plan.New(77, []string{"east", "west"}, plan.Standard())
	require.NoError(t, err)
	nodes, err := p.Targets(name)
	require.NoError(t, err)
	return render.Agent{Plan: p, Node: nodes[0], TLS: "/w/tls", Data: "/w/data", Secrets: render.Secrets{
		ConsulGossip: "consul-gossip", NomadGossip: "nomad-gossip", Replication: "replication",
		ConsulManagement: "consul-management", NomadManagement: "nomad-management",
		NodeTokens:  map[string]string{name: "node-token"},
		NomadTokens: map[string]string{"east": "nomad-east", "west": "nomad-west"},
	}}
}

func TestConsul(t *testing.T) {
	t.Parallel()
	for _, node := range []struct {
		name       string
		has, lacks []string
	}{
		{
			"east-server",
			[]string{`"initial_management":"consul-management"`, `"retry_join_wan":["10.77.2.10"]`, `"bootstrap_expect":1`},
			[]string{`"replication":`, `"retry_join":`},
		},
		{
			"west-server",
			[]string{`"replication":"replication"`, `"retry_join_wan":["10.77.1.10"]`, `"datacenter":"west"`},
			[]string{"initial_management", "consul-management"},
		},
		{
			"west-media-2",
			[]string{`"retry_join":["10.77.2.10"]`, `"bind_addr":"10.77.2.32"`, `"client_addr":"10.77.2.32 127.0.0.1"`},
			[]string{"consul-management", `"server"`, `"ui_config"`},
		},
	} {
		t.Run(node.name, func(t *testing.T) {
			t.Parallel()
			text, err := render.Consul(agent(t, node.name))
			require.NoError(t, err)
			var config map[string]any
			require.NoError(t, json.Unmarshal(text, &config))
			compact, err := json.Marshal(config)
			require.NoError(t, err)
			for _, everywhere := range []string{
				`"default_policy":"deny"`, `"encrypt":"consul-gossip"`, `"verify_server_hostname":true`, `"verify_incoming":true`,
				`"verify_outgoing":true`, `"http":-1`, `"https":8501`, `"primary_datacenter":"east"`, `"agent":"node-token"`,
			} {
				require.Contains(t, string(compact), everywhere)
			}
			for _, part := range node.has {
				require.Contains(t, string(compact), part)
			}
			for _, part := range node.lacks {
				require.NotContains(t, string(compact), part)
			}
		})
	}
}

func TestNomad(t *testing.T) {
	t.Parallel()
	for _, node := range []struct {
		name       string
		has, lacks []string
	}{
		{
			"east-server",
			[]string{`encrypt = "nomad-gossip"`, `retry_join = ["10.77.2.10:4648"]`},
			[]string{"replication_token", "client {"},
		},
		{"west-server", []string{`replication_token = "nomad-management"`, `authoritative_region = "east"`}, []string{"client {"}},
		{
			"west-relay-1",
			[]string{
				`node_pool = "relay"`, `servers = ["10.77.2.10:4647"]`, `max_kill_timeout = "4h"`, `token = "nomad-west"`,
				`"fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean"`, `wardline_ca = "/w/tls/ca.pem"`,
				`wardline_consul = "https://10.77.2.41:8501"`, `wardline_vault = "https://10.77.2.10:8200"`,
				`wardline_vault_ca = "/w/tls/ca.pem"`, `task_auth_method = "nomad-west"`,
			},
			[]string{"management", "server {", "nomad-gossip"},
		},
	} {
		t.Run(node.name, func(t *testing.T) {
			t.Parallel()
			text, err := render.Nomad(agent(t, node.name))
			require.NoError(t, err)
			flat := strings.Join(strings.Fields(string(text)), " ")
			for _, part := range append(node.has, "verify_server_hostname = true", `http = true rpc = true`, "acl { enabled = true") {
				require.Contains(t, flat, part)
			}
			for _, part := range node.lacks {
				require.NotContains(t, flat, part)
			}
		})
	}
}

func TestNomadsPatience(t *testing.T) {
	t.Parallel()
	a := agent(t, "east-server")
	text, err := render.Nomad(a)
	require.NoError(t, err)
	require.NotContains(t, string(text), "heartbeat_grace")
	a.HeartbeatGrace = 20 * time.Second
	text, err = render.Nomad(a)
	require.NoError(t, err)
	require.Regexp(t, `heartbeat_grace += "20s"`, string(text))
}

func TestVault(t *testing.T) {
	t.Parallel()
	text, err := render.Vault(agent(t, "west-server"))
	require.NoError(t, err)
	var config map[string]any
	require.NoError(t, json.Unmarshal(text, &config))
	compact, err := json.Marshal(config)
	require.NoError(t, err)
	for _, part := range []string{
		`"address":"10.77.2.10:8200","tls_cert_file":"/w/tls/cert.pem"`, `"address":"127.0.0.1:8200","tls_cert_file":"/w/tls/cert.pem"`,
		`"raft":{"node_id":"west-server","path":"/w/data/vault"`, `"api_addr":"https://10.77.2.10:8200"`,
	} {
		require.Contains(t, string(compact), part)
	}
	require.NotContains(t, string(compact), "tls_disable")
	devices := render.AuditDevices("/w/data")
	require.Len(t, devices, 2)
	require.NotEqual(t, filepath.Dir(devices[0].Path), filepath.Dir(devices[1].Path), "one full disk must not stop Vault")
}

func TestEveryAgentHasATokenOfItsOwnAndNoMoreThanItself(t *testing.T) {
	t.Parallel()
	a := agent(t, "east-server")
	a.Secrets.NodeTokens = map[string]string{}
	for _, n := range a.Plan.Nodes() {
		a.Secrets.NodeTokens[n.Name] = "token of " + n.Name
	}
	identities := map[string]string{}
	for _, token := range render.Tokens(a.Plan, a.Secrets) {
		require.NotEmpty(t, token.SecretID)
		for _, id := range token.NodeIdentities {
			require.Empty(t, token.Policies)
			require.True(t, strings.HasPrefix(id.NodeName, id.Datacenter+"-"))
			identities[id.NodeName] = token.SecretID
		}
	}
	require.Len(t, identities, 12, "six agents a region; guests have none")
	require.NotContains(t, identities, "east-guest-1")
}

func TestLoginsAreBoundToTheirComponent(t *testing.T) {
	t.Parallel()
	p := agent(t, "east-server").Plan
	method := render.Method(p.Regions[1], []byte("CA"))
	require.Equal(t, "nomad-west", method.Name)
	require.Equal(t, "https://10.77.2.10:4646/.well-known/jwks.json", method.Config.JWKSURL)
	rules := render.Bindings(method.Name, true)
	require.Equal(t, rules[:2], render.Bindings(method.Name, false))
	require.Len(t, rules, 3)
	require.Equal(t, "wardline-${value.nomad_job_id}", rules[1].BindName)
	require.Equal(t, "home-wardline-${value.nomad_job_id}", rules[2].BindName)
	for _, rule := range rules {
		require.Contains(t, rule.Selector, "value.nomad_namespace == default")
	}
}

func TestCertificatesNameTheirRole(t *testing.T) {
	t.Parallel()
	require.Contains(t, render.ServerNames(agent(t, "west-server").Node), "server.west.consul")
	require.Contains(t, render.ServerNames(agent(t, "west-media-1").Node), "client.west.nomad")
	require.NotContains(t, render.ServerNames(agent(t, "west-media-1").Node), "server.west.nomad", "a node cannot pose as a server")
}
