package discovery

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"
)

func TestConsulPoliciesOfComponents(t *testing.T) {
	t.Parallel()
	agent, nomad := startConsul(t), newWorkloads(t)
	agent.trust(t, "nomad-eu-test", nomad)
	root := agent.client(t, consulQuickPace)
	require.NoError(t, root.Register(t.Context(), agent.service("sfu-1")))
	require.Eventually(t, func() bool {
		list, err := root.Services(t.Context(), SFUService)
		return err == nil && only("sfu-1")(list)
	}, patience, tick)

	const everybody = "autoscaler gateway operator sfu turn"
	find := func(name string) func(c *Consul) error {
		return func(c *Consul) error { _, err := c.Services(t.Context(), name); return err }
	}
	list := func(prefix string) func(c *Consul) error {
		return func(c *Consul) error { _, err := c.List(t.Context(), prefix); return err }
	}
	write := func(key string) func(c *Consul) error {
		return func(c *Consul) error { _, err := c.CompareAndSet(t.Context(), key, []byte("x"), 0); return err }
	}
	maintain := func(c *Consul) error { return c.SetMaintenance(t.Context(), agent.Node, false, "") }
	clients := make(map[string]*Consul)
	lead := func(c *Consul) error {
		within := 500 * time.Millisecond // who may not is refused until it gives up
		if c == clients["autoscaler"] {
			within = patience
		}
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		leadership, err := c.Campaign(ctx, "autoscaler")
		if err == nil {
			leadership.Release()
		}
		return err
	}
	for who := range strings.FieldsSeq(everybody) {
		clients[who] = agent.as(t, nomad, who)
	}
	for _, test := range []struct {
		what string
		call func(c *Consul) error
		who  string
	}{
		{"find media servers", find(SFUService), everybody},
		{"find relays", find(TURNService), everybody},
		{"find Consul's servers", find(consulService), everybody},
		{"see maintenance mode", func(c *Consul) error { _, err := c.AgentMaintenance(t.Context()); return err }, everybody},
		{"switch maintenance mode", maintain, "autoscaler operator"},
		{"switch it of a service", func(c *Consul) error { return c.SetServiceMaintenance(t.Context(), "sfu-1", false, "") }, "operator"},
		{"list encounters", list("wardline/encounters/"), "autoscaler gateway operator"},
		{"keep an encounter", write("wardline/encounters/t/e"), "gateway"},
		{"keep an answer", write("wardline/idempotency/k"), "gateway"},
		{"tell of a media server's drain", write("wardline/drain/sfu/d"), "operator sfu"},
		{"tell of a relay's drain", write("wardline/drain/turn/d"), "operator turn"},
		{"publish keys", write("wardline/jwks/eu-test"), "gateway"},
		{"lead the autoscalers", lead, "autoscaler"},
		{"write anything else", write("vault/core"), ""},
		{"find anything else", find("payroll"), ""},
	} {
		for who, c := range clients {
			err := test.call(c)
			if errors.Is(err, ErrConflict) { // somebody else was allowed before
				err = nil
			}
			allowed := strings.Contains(test.who, who)
			require.Equal(t, allowed, err == nil, "%s: may %s: %v", who, test.what, err)
		}
	}
}

func TestConsulWorkloadsOfOtherRegionsWriteNoMoreThanEncounters(t *testing.T) {
	t.Parallel()
	agent, nomad := startConsul(t), newWorkloads(t)
	const foreign = "nomad-us-test"
	agent.trust(t, foreign, nomad)
	acl := agent.client(t, consulQuickPace).api.ACL()
	for _, test := range []struct{ job, may, not string }{
		{"gateway", "wardline/encounters/t/e", "wardline/jwks/eu-test"},
		{"gateway", "wardline/encounters/t/e", "wardline/idempotency/k"},
		{"sfu", "", "wardline/drain/sfu/d"},
		{"turn", "", "wardline/drain/turn/d"},
	} {
		token, _, err := acl.Login(&api.ACLLoginParams{AuthMethod: foreign, BearerToken: nomad.identity(t, test.job)}, nil)
		require.NoError(t, err)
		c := agent.with(t, token)
		if test.may != "" {
			_, err = c.CompareAndSet(t.Context(), test.may, []byte("x"), 0)
			require.True(t, err == nil || errors.Is(err, ErrConflict), "%s: %v", test.job, err)
		}
		_, err = c.CompareAndSet(t.Context(), test.not, []byte("x"), 0)
		require.ErrorContains(t, err, "Permission denied", "%s %s", test.job, test.not)
	}
	for _, job := range []string{"home-gateway", "gateway-home"} {
		_, _, err := acl.Login(&api.ACLLoginParams{AuthMethod: foreign, BearerToken: nomad.identity(t, job)}, nil)
		require.ErrorContains(t, err, "Permission denied", job)
	}
}

func TestConsulServicesAreRegisteredForTheOwnNamespaceAlone(t *testing.T) {
	t.Parallel()
	agent, nomad := startConsul(t), newWorkloads(t)
	agent.trust(t, "nomad-eu-test", nomad)
	acl := agent.client(t, consulQuickPace).api.ACL()
	for namespace, allowed := range map[string]bool{"default": true, "billing": false} {
		identity := nomad.sign(t, "sfu", map[string]any{
			"nomad_namespace": namespace, "nomad_job_id": "sfu", "nomad_service": SFUService,
		})
		_, _, err := acl.Login(&api.ACLLoginParams{AuthMethod: "nomad-eu-test", BearerToken: identity}, nil)
		require.Equal(t, allowed, err == nil, "%s: %v", namespace, err)
	}
}

// as is a client with a component's token, or a person's.
func (a realAgent) as(t *testing.T, w workloads, who string) *Consul {
	t.Helper()
	acl := a.client(t, consulQuickPace).api.ACL()
	token, _, err := acl.Login(&api.ACLLoginParams{AuthMethod: "nomad-eu-test", BearerToken: w.identity(t, who)}, nil)
	if who == "operator" {
		require.Error(t, err, "no job becomes an operator by its name")
		token, _, err = acl.TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{Name: "wardline-" + who}}}, nil)
	}
	require.NoError(t, err)
	return a.with(t, token)
}
