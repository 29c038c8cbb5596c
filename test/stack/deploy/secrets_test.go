//go:build linux

package deploy_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/test/stack/deploy"
	"github.com/wardline/wardline/test/stack/plan"
)

// components are the Vault roles of the jobs, which have their names, and the nodes they run on.
var components = map[string]plan.Kind{"gateway": plan.Gateway, "sfu": plan.Media, "turn": plan.Relay}

// login is a token of a region's Vault that somebody logged in for.
type login struct {
	Path     string
	Policies []string
	Meta     map[string]string
	// TTL and CreationTTL are seconds.
	TTL         int
	CreationTTL int `json:"creation_ttl"`
	Orphan      bool
	Renewable   bool
}

// logins looks up all tokens of a region's Vault that come from a workload identity, by their accessors.
func (w running) logins(t *testing.T, region string) []login {
	t.Helper()
	vault := w.Vault(region)
	var accessors struct{ Data struct{ Keys []string } }
	require.NoError(t, vault.Do(t.Context(), "LIST", "/v1/auth/token/accessors", nil, &accessors))
	var found []login
	for _, accessor := range accessors.Data.Keys {
		var token struct{ Data login }
		// One that ended meanwhile is not there.
		if vault.Put(t.Context(), "/v1/auth/token/lookup-accessor", map[string]string{"accessor": accessor}, &token) != nil {
			continue
		}
		if token.Data.Path == "auth/jwt-nomad/login" {
			found = append(found, token.Data)
		}
	}
	return found
}

// logsIn compares the components' tokens with what docs/security.md says of them.
func (w running) logsIn(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "security.md"))
	require.NoError(t, err)
	require.Contains(t, string(page), "| Vault token of a workload | 1 h, renewed for up to 24 h |", "what is compared here")
	const lives, renewedFor = time.Hour, 24 * time.Hour
	for _, region := range regions {
		count := map[string]int{}
		for _, token := range w.logins(t, region) {
			role := token.Meta["role"]
			count[role]++
			require.Equal(t, []string{"wardline-" + role}, token.Policies, "its own policy, and not even Vault's default one")
			require.Equal(t, int(lives/time.Second), token.CreationTTL)
			require.Positive(t, token.TTL)
			require.LessOrEqual(t, token.TTL, token.CreationTTL)
			require.True(t, token.Renewable)
			require.True(t, token.Orphan, "it ends by itself")
		}
		for role, kind := range components {
			require.Equal(t, w.nodes(region, kind), count[role], "one login an instance of %s in %s", role, region)
			var configured struct {
				Data struct {
					MaxTTL int `json:"token_max_ttl"`
				}
			}
			require.NoError(t, w.Vault(region).Get(t.Context(), "/v1/auth/jwt-nomad/role/"+role, &configured))
			require.Equal(t, int(renewedFor/time.Second), configured.Data.MaxTTL)
		}
		require.Len(t, count, len(components), "nobody else is logged in: %v", count)
	}
}

// nodes counts a region's nodes of a kind.
func (w running) nodes(region string, kind plan.Kind) (count int) {
	r, _ := w.Plan().Region(region)
	for _, n := range r.Nodes {
		if n.Kind == kind {
			count++
		}
	}
	return count
}

// keepsSecrets looks where a secret must not be: what Nomad tells of jobs and allocations, what processes show of
// themselves, and logs.
func (w running) keepsSecrets(t *testing.T) {
	secrets, places := w.secrets(t), w.places(t)
	find := func(value string) (in []string) {
		for place, text := range places {
			if strings.Contains(text, value) {
				in = append(in, place)
			}
		}
		return in
	}
	// The controls: what is searched is there, and what is there is found.
	for value, kind := range map[string]string{
		"NOMAD_TASK_NAME=": "environment", "--vault-jwt-file=": "arguments", w.release.Checksum: "job",
		`"command":"local/wardline"`: "allocation", `"level":"info"`: "log",
	} {
		in := func(place string) bool { return strings.HasPrefix(place, kind+" ") }
		require.True(t, slices.ContainsFunc(find(value), in), "%q is in the %s", value, kind)
	}
	require.NotEmpty(t, secrets)
	for name, value := range secrets {
		require.Greater(t, len(value), 3, name)
		require.Empty(t, find(value), "%s is kept from others", name)
	}
	t.Logf("%d secrets in none of %d places", len(secrets), len(places))
}

// secrets are the values that nobody but their holders may see, by what they are.
func (w running) secrets(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{"the start of every Vault token": "hvs.", "the start of every private key": "PRIVATE KEY"}
	for i, token := range *w.told {
		found[fmt.Sprintf("join or operator's token %d", i)] = token
	}
	access := w.Access()
	found["consul's management token"], found["nomad's management token"] = access.ConsulManagement, access.NomadManagement
	for _, region := range regions {
		found["root token of "+region] = access.Vaults[region].RootToken
		for i, share := range access.Vaults[region].UnsealKeys {
			found[fmt.Sprintf("share %d of %s", i, region)] = share
		}
		for _, name := range []string{"turn", "roster"} {
			for _, version := range []int{1, 2} {
				var kept struct {
					Data struct{ Data struct{ Value string } }
				}
				path := fmt.Sprintf("/v1/wardline/kv/data/shared/%s?version=%d", name, version)
				require.NoError(t, w.Vault(region).Get(t.Context(), path, &kept))
				found[fmt.Sprintf("%s secret %d of %s", name, version, region)] = kept.Data.Data.Value
			}
		}
	}
	for _, task := range w.tasks(t) {
		identities, err := filepath.Glob(task.secretsDir() + "/*.jwt")
		require.NoError(t, err)
		require.Len(t, identities, 2, "Consul's and Vault's on %s", task.node)
		for _, path := range identities {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			found[filepath.Base(path)+" on "+task.node] = strings.TrimSpace(string(text))
		}
	}
	return found
}

// places are texts that others can read, by what and where they are.
func (w running) places(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, task := range w.tasks(t) {
		for what, file := range map[string]string{"environment": "environ", "arguments": "cmdline"} {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", task.pid, file))
			require.NoError(t, err)
			found[what+" of a task on "+task.node] = string(text)
		}
	}
	ask := func(region, path string, out any) string {
		var text json.RawMessage
		require.NoError(t, w.Nomad(region).Do(t.Context(), http.MethodGet, path, nil, &text))
		if out != nil {
			require.NoError(t, json.Unmarshal(text, out))
		}
		return string(text)
	}
	for _, region := range regions {
		for _, job := range deploy.Jobs() {
			found["job "+job+" in "+region] = ask(region, "/v1/job/"+job, nil)
			found["job "+job+" in "+region+", as submitted"] = ask(region, "/v1/job/"+job+"/submission?version=0", nil)
			var allocations []struct{ ID string }
			ask(region, "/v1/job/"+job+"/allocations", &allocations)
			require.NotEmpty(t, allocations)
			for _, one := range allocations {
				found["allocation "+one.ID] = ask(region, "/v1/allocation/"+one.ID, nil)
			}
		}
	}
	for path, text := range w.taskLogs(t) {
		found["log "+path] = text
	}
	agents, err := filepath.Glob(filepath.Join(w.Dir(), "*", "*.log"))
	require.NoError(t, err)
	audits, err := filepath.Glob(filepath.Join(w.Dir(), "*", "audit-*", "*.log"))
	require.NoError(t, err)
	require.Len(t, audits, 2*len(regions))
	for _, path := range append(agents, audits...) {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		found["log "+path] = string(text)
	}
	return found
}

// taskLogs are what components said, by the file.
func (w running) taskLogs(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(w.Dir(), "*", "nomad", "alloc", "*", "alloc", "logs", "*.std*.[0-9]*"))
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	found := map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		found[path] = string(text)
	}
	return found
}

// task is a running process of a component.
type task struct {
	node string
	pid  int
	// variables are its environment.
	variables map[string]string
}

// secretsDir is its folder for identities, in memory, as seen from here.
func (k task) secretsDir() string {
	return fmt.Sprintf("/proc/%d/root%s", k.pid, k.variables["NOMAD_SECRETS_DIR"])
}

// tasks are the components' processes on all nodes.
func (w running) tasks(t *testing.T) []task {
	t.Helper()
	var found []task
	for _, n := range w.Plan().Nodes() {
		m, err := w.Machine(n.Name)
		require.NoError(t, err)
		processes, err := m.Processes()
		require.NoError(t, err)
		for _, p := range processes {
			if _, ours := components[p.Task]; !ours || p.Command != "wardline" {
				continue
			}
			environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.PID))
			require.NoError(t, err)
			one := task{node: n.Name, pid: p.PID, variables: map[string]string{}}
			for variable := range strings.SplitSeq(string(environment), "\x00") {
				name, value, _ := strings.Cut(variable, "=")
				one.variables[name] = value
			}
			found = append(found, one)
		}
	}
	require.Len(t, found, w.instances(), "one process an instance")
	return found
}

// instances is how many there are to be of all components.
func (w running) instances() (count int) {
	for _, region := range regions {
		for _, kind := range components {
			count += w.nodes(region, kind)
		}
	}
	return count
}
