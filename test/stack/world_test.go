//go:build linux

package stack_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	stack "github.com/wardline/wardline/test/stack"
	"github.com/wardline/wardline/test/stack/machine"
	"github.com/wardline/wardline/test/stack/plan"
)

// small is a region with one node a kind.
var small = plan.Shape{Gateways: 1, Media: 1, Relays: 1, Guests: 1}

// job is a component's name on its pool: the task may do in Consul what jobs/consul/COMPONENT.hcl says, and nothing else. It
// can log in to its own region's Vault as its component, not as another one, and to no other region's.
const job = `job %q {
  type      = "system"
  node_pool = %q

  group %[1]q {
    restart {
      delay = "1s"
    }
    network {
      port "control" { static = 7443 }
    }
    service {
      name     = "wardline-%[1]s"
      port     = "control"
      provider = "consul"
    }
    task %[1]q {
      driver = "raw_exec"
      consul {}
      identity {
        name = "consul_default"
        aud  = ["consul.io"]
        file = true
      }
      identity {
        name = "vault"
        aud  = ["vault.io"]
        file = true
      }
      env {
        CONSUL_HTTP_ADDR = "${meta.wardline_consul}"
        CONSUL_CACERT    = "${meta.wardline_ca}"
        VAULT_ADDR       = "${meta.wardline_vault}"
        VAULT_CACERT     = "${meta.wardline_vault_ca}"
      }
      config {
        command = "/bin/sh"
        args = ["-c", <<-SCRIPT
          export CONSUL_HTTP_TOKEN="$CONSUL_TOKEN"
          %[3]s kv put wardline/%[4]s/${node.unique.name} allowed || exit 1
          %[3]s kv put wardline/secrets/${node.unique.name} refused && exit 2
          login() { %[6]s write -field=token_accessor auth/jwt-nomad/login role=$1 jwt=@$NOMAD_SECRETS_DIR/nomad_vault.jwt; }
          accessor=$(login %[1]s) || exit 5
          %[3]s kv put wardline/%[4]s/accessor/${node.unique.name} $accessor || exit 6
          for other in gateway sfu turn recorder; do
            [ $other = %[1]s ] || ! login $other || exit 7
          done
          for vault in %[7]s; do
            export VAULT_ADDR=$vault
            %[6]s status || exit 8
            login %[1]s && exit 9
          done
          unset CONSUL_HTTP_TOKEN
          for server in %[5]s; do
            export CONSUL_HTTP_ADDR=$server
            %[3]s login -method nomad-$NOMAD_REGION -bearer-token-file $NOMAD_SECRETS_DIR/nomad_consul_default.jwt \
              -token-sink-file $NOMAD_SECRETS_DIR/there || exit 3
            CONSUL_HTTP_TOKEN_FILE=$NOMAD_SECRETS_DIR/there %[3]s kv put wardline/%[4]s/of-$NOMAD_REGION allowed || exit 4
          done
          exec sleep 100000
        SCRIPT
        ]
      }
      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
`

// deployed is where tasks of a region's component leave word, in every region they were told to log in to.
func deployed(kv, region string) string { return "/v1/kv/wardline/" + kv + "/of-" + region }

// deploy runs a component's test job in a region and waits until Consul shows it on the region's nodes of that pool.
// Its tasks also log in to the other given regions' Consul.
func deploy(t *testing.T, w *stack.World, region, component, pool, kv string, others ...string) {
	t.Helper()
	consuls, vaults := make([]string, 0, len(others)), make([]string, 0, len(others))
	for _, other := range others {
		consuls, vaults = append(consuls, w.Consul(other).URL), append(vaults, w.Vault(other).URL)
	}
	file := filepath.Join(t.TempDir(), component+".nomad.hcl")
	text := fmt.Appendf(nil, job, component, pool, w.Binary("consul"), kv, strings.Join(consuls, " "),
		w.Binary("vault"), strings.Join(vaults, " "))
	require.NoError(t, os.WriteFile(file, text, 0o600))
	cmd := exec.CommandContext(t.Context(), w.Binary("nomad"), "job", "run", "-detach", file)
	cmd.Env = append(os.Environ(), w.Env(region)...)
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)

	eventually(t, time.Minute, component+" runs on each "+pool+" node of "+region, func(ctx context.Context) error {
		var instances []struct{ Node string }
		if err := w.Consul(region).Get(ctx, "/v1/catalog/service/wardline-"+component, &instances); err != nil {
			return err
		}
		r, _ := w.Plan().Region(region)
		for _, n := range r.Nodes {
			if n.Pool() != pool {
				continue
			}
			if !slices.Contains(instances, struct{ Node string }{n.Name}) {
				return fmt.Errorf("not registered on %s, only on %v", n.Name, instances)
			}
			if err := w.Consul(region).Get(ctx, "/v1/kv/wardline/"+kv+"/"+n.Name, nil); err != nil {
				return fmt.Errorf("the task on %s wrote nothing: %w", n.Name, err)
			}
			if err := loggedIn(ctx, w, region, component, "wardline/"+kv+"/accessor/"+n.Name); err != nil {
				return fmt.Errorf("the login of the task on %s: %w", n.Name, err)
			}
		}
		for _, other := range others {
			if err := w.Consul(other).Get(ctx, deployed(kv, region), nil); err != nil {
				return fmt.Errorf("no task wrote anything in %s: %w", other, err)
			}
		}
		return nil
	})
	var refused *stack.StatusError
	err = w.Consul(region).Get(t.Context(), "/v1/kv/wardline/secrets/?keys", nil)
	require.ErrorAs(t, err, &refused, "nobody may write what their policy does not name")
	require.Equal(t, 404, refused.Code)
}

// loggedIn looks up the Vault token whose accessor a task left in Consul's KV.
func loggedIn(ctx context.Context, w *stack.World, region, component, key string) error {
	var left []struct{ Value []byte }
	if err := w.Consul(region).Get(ctx, "/v1/kv/"+key, &left); err != nil {
		return err
	}
	var token struct {
		Data struct {
			Policies []string
			TTL      int
		}
	}
	body := map[string]string{"accessor": string(left[0].Value)}
	if err := w.Vault(region).Put(ctx, "/v1/auth/token/lookup-accessor", body, &token); err != nil {
		return err
	}
	if !slices.Equal(token.Data.Policies, []string{"wardline-" + component}) || token.Data.TTL <= 0 || token.Data.TTL > 3600 {
		return fmt.Errorf("it has policies %v for %d s", token.Data.Policies, token.Data.TTL)
	}
	return nil
}

// serfHealth is what Consul thinks of a node.
func serfHealth(ctx context.Context, w *stack.World, region, node string) (string, error) {
	var checks []struct{ CheckID, Status string }
	if err := w.Consul(region).Get(ctx, "/v1/health/node/"+node, &checks); err != nil {
		return "", err
	}
	for _, c := range checks {
		if c.CheckID == "serfHealth" {
			return c.Status, nil
		}
	}
	return "absent", nil
}

// nomadStatus is what Nomad thinks of a node.
func nomadStatus(ctx context.Context, w *stack.World, region, node string) (string, error) {
	var nodes []struct{ Name, Status string }
	if err := w.Nomad(region).Get(ctx, "/v1/nodes", &nodes); err != nil {
		return "", err
	}
	for _, n := range nodes {
		if n.Name == node {
			return n.Status, nil
		}
	}
	return "absent", nil
}

func whole(t *testing.T, w *stack.World, region string) {
	t.Helper()
	eventually(t, 2*time.Minute, region+" is whole", func(ctx context.Context) error {
		return errors.Join(w.ConsulWhole(ctx, region), w.NomadWhole(ctx, region))
	})
}

// lost waits until both Consul and Nomad gave a node up.
func lost(t *testing.T, w *stack.World, region, node string) {
	t.Helper()
	eventually(t, 2*time.Minute, "Consul and Nomad give "+node+" up", func(ctx context.Context) error {
		health, err := serfHealth(ctx, w, region, node)
		if err != nil || health == "passing" {
			return fmt.Errorf("consul: %q %w", health, err)
		}
		status, err := nomadStatus(ctx, w, region, node)
		if err != nil || status == "ready" {
			return fmt.Errorf("nomad: %q %w", status, err)
		}
		return nil
	})
}

func TestOneRegionAndItsVerbs(t *testing.T) {
	const grace = 3 * time.Second // three nodes have to be given up
	w := start(t, stack.Options{Regions: []string{"east"}, Shape: small, HeartbeatGrace: grace})
	const node = "east-media-1"
	whole(t, w, "east")
	deploy(t, w, "east", "gateway", "gateway", "encounters")
	deploy(t, w, "east", "sfu", "media", "drain/sfu")
	deploy(t, w, "east", "turn", "relay", "drain/turn")
	anonymous := w.Consul("east")
	anonymous.Token = ""
	var refused *stack.StatusError
	require.ErrorAs(t, anonymous.Get(t.Context(), "/v1/kv/wardline/drain/sfu/"+node, nil), &refused)
	require.Equal(t, 403, refused.Code, "default deny")

	task := func() (int, error) {
		m, err := w.Machine(node)
		if err != nil {
			return 0, err
		}
		processes, err := m.Processes()
		for _, p := range processes {
			if p.Task == "sfu" {
				return p.PID, nil
			}
		}
		return 0, errors.Join(err, errors.New("no task runs"))
	}
	first, err := task()
	require.NoError(t, err)

	t.Log("a dead Nomad client leaves its task alone")
	require.NoError(t, w.Kill(t.Context(), node, "nomad"))
	same, err := task()
	require.NoError(t, err)
	require.Equal(t, first, same)
	require.Contains(t, w.Status(), "down")

	t.Log("cut off, a node is given up by its servers and keeps its task; healed, it is taken back")
	require.NoError(t, w.Cut(t.Context(), node, ""))
	require.NoError(t, w.Cut(t.Context(), node, ""), "again")
	lost(t, w, "east", node)
	require.NoError(t, w.Heal(t.Context(), node, ""))
	whole(t, w, "east")

	t.Log("a killed task is started again")
	runs := func() bool { first, err = task(); return err == nil }
	if !assert.Eventually(new(assert.CollectT), runs, time.Minute, 200*time.Millisecond) {
		t.Log("Nomad does not start it on a node that it took back, until its agent is restarted (docs/operations.md, limits of today)")
		require.NoError(t, w.Kill(t.Context(), node, "nomad"))
		require.NoError(t, w.Heal(t.Context(), node, ""))
	}
	eventually(t, time.Minute, "the task runs", func(context.Context) (err error) { first, err = task(); return err })
	require.NoError(t, w.Kill(t.Context(), node, "sfu"))
	eventually(t, time.Minute, "the task runs again", func(context.Context) error {
		pid, err := task()
		if err == nil && pid == first {
			err = errors.New("still the first one")
		}
		return err
	})

	t.Log("paused, a node is given up; resumed, it is back")
	require.NoError(t, w.Pause(t.Context(), node, ""))
	lost(t, w, "east", node)
	require.NoError(t, w.Resume(t.Context(), node, ""))
	whole(t, w, "east")

	t.Log("powered off without a word, and on again")
	require.NoError(t, w.PowerOff(t.Context(), node))
	_, err = w.Machine(node)
	require.ErrorIs(t, err, machine.ErrOff)
	lost(t, w, "east", node)
	require.NoError(t, w.PowerOn(t.Context(), node))
	whole(t, w, "east")
	eventually(t, time.Minute, "the task runs after power came back", func(context.Context) error { _, err := task(); return err })

	require.ErrorIs(t, w.Kill(t.Context(), node, "nobody"), plan.ErrInvalid)
	require.ErrorIs(t, w.Perform(t.Context(), "shout", nil), plan.ErrInvalid)
	require.ErrorIs(t, w.Perform(t.Context(), "cut", nil), plan.ErrInvalid)
	require.ErrorIs(t, w.Cut(t.Context(), "nowhere", ""), plan.ErrInvalid)
}

// reachable says whether one node reaches another's Consul within a short time, and how long a connection takes.
func reachable(t *testing.T, w *stack.World, from, to string) (time.Duration, error) {
	t.Helper()
	m, err := w.Machine(from)
	require.NoError(t, err)
	nodes, err := w.Plan().Targets(to)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	begun := time.Now()
	conn, err := m.Dial(ctx, "tcp", net.JoinHostPort(nodes[0].Addr.String(), strconv.Itoa(8501)))
	if err != nil {
		return 0, err
	}
	return time.Since(begun), conn.Close()
}

func TestTwoRegionsAndTheLinksBetweenThem(t *testing.T) {
	const delay = 40 * time.Millisecond
	artifacts := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(artifacts, "file"), []byte("content"), 0o600))
	w := start(t, stack.Options{Regions: []string{"east", "west"}, Shape: small, Delay: delay, Artifacts: artifacts})
	whole(t, w, "east")
	whole(t, w, "west")
	deploy(t, w, "west", "gateway", "gateway", "encounters", "east")

	m, err := w.Machine("west-guest-1")
	require.NoError(t, err)
	require.NoError(t, m.Run(t.Context(), "curl", "-sf", w.ArtifactURL()+"/file"))

	took, err := reachable(t, w, "east-guest-1", "west-media-1")
	require.NoError(t, err)
	require.GreaterOrEqual(t, took, 2*delay, "a round trip takes both ways' delay")
	_, err = reachable(t, w, "east-guest-1", "east-media-1")
	require.NoError(t, err)

	t.Log("two nodes of a region cut off from each other still reach everybody else")
	require.NoError(t, w.Cut(t.Context(), "east-guest-1", "east-media-1"))
	_, err = reachable(t, w, "east-guest-1", "east-media-1")
	require.Error(t, err)
	_, err = reachable(t, w, "east-guest-1", "west-media-1")
	require.NoError(t, err)
	require.NoError(t, w.Heal(t.Context(), "east-media-1", "east-guest-1"))
	_, err = reachable(t, w, "east-guest-1", "east-media-1")
	require.NoError(t, err)

	t.Log("a node cut off from the other region alone")
	require.NoError(t, w.Cut(t.Context(), "east-guest-1", "west"))
	_, err = reachable(t, w, "east-guest-1", "west-media-1")
	require.Error(t, err)
	require.NoError(t, w.Heal(t.Context(), "east-guest-1", ""))
	_, err = reachable(t, w, "east-guest-1", "west-media-1")
	require.NoError(t, err)

	t.Log("a region cut off works on by itself")
	require.NoError(t, w.Perform(t.Context(), "cut", []string{"east"}))
	require.Contains(t, w.Status(), "cut: east")
	_, err = reachable(t, w, "west-guest-1", "east-media-1")
	require.Error(t, err)
	require.NoError(t, w.Consul("west").Put(t.Context(), "/v1/kv/wardline/drain/test", "x", nil), "without the primary")
	require.NoError(t, w.Consul("east").Put(t.Context(), "/v1/kv/wardline/drain/test", "x", nil))
	deploy(t, w, "west", "turn", "relay", "drain/turn")
	require.NoError(t, w.Perform(t.Context(), "heal", []string{"east"}))
	whole(t, w, "east")
	whole(t, w, "west")

	t.Log("a region without power")
	require.NoError(t, w.PowerOff(t.Context(), "east"))
	_, err = reachable(t, w, "west-guest-1", "east-media-1")
	require.Error(t, err)
	require.NoError(t, w.PowerOn(t.Context(), "east"))
	whole(t, w, "east")
	whole(t, w, "west")
	deploy(t, w, "east", "gateway", "gateway", "encounters", "west")
}

func TestStartAndStopRepeatedly(t *testing.T) {
	for range 5 {
		w := start(t, stack.Options{Regions: []string{"east"}, Shape: small})
		spaces := namespaces(t, w)
		begun := time.Now()
		require.NoError(t, w.Close())
		t.Logf("stopped in %.1f s", time.Since(begun).Seconds())
		require.Empty(t, leftovers(t, w, spaces))
	}
}
