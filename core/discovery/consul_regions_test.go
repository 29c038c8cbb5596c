package discovery

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"

	policies "github.com/wardline/wardline/jobs/consul"
	"github.com/wardline/wardline/test/stack/render"
)

// workloads signs workload identities as a region's Nomad does.
type workloads struct {
	signer jose.Signer
	public string // PEM
}

func newWorkloads(t *testing.T) workloads {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	return workloads{signer, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}
}

// identity is the JWT of a job's task.
func (w workloads) identity(t *testing.T, job string) string {
	t.Helper()
	return w.sign(t, job, map[string]any{"nomad_namespace": "default", "nomad_job_id": job})
}

func (w workloads) sign(t *testing.T, job string, claims map[string]any) string {
	t.Helper()
	now := time.Now()
	text, err := jwt.Signed(w.signer).Claims(jwt.Claims{
		Audience: jwt.Audience{"consul.io"}, Expiry: jwt.NewNumericDate(now.Add(time.Hour)),
		NotBefore: jwt.NewNumericDate(now.Add(-time.Minute)), IssuedAt: jwt.NewNumericDate(now), Subject: job,
	}).Claims(claims).Serialize()
	require.NoError(t, err)
	return text
}

// trust writes the components' policies and roles, and an auth method of the workloads, as an operator does.
func (a realAgent) trust(t *testing.T, method string, w workloads) {
	t.Helper()
	acl := a.client(t, consulQuickPace).api.ACL()
	rules, err := policies.Policies()
	require.NoError(t, err)
	home, err := policies.HomePolicies()
	require.NoError(t, err)
	role := func(name, text string) {
		policy, _, err := acl.PolicyCreate(&api.ACLPolicy{Name: name, Rules: text}, nil)
		require.NoError(t, err, name)
		_, _, err = acl.RoleCreate(&api.ACLRole{Name: name, Policies: []*api.ACLLink{{ID: policy.ID}}}, nil)
		require.NoError(t, err)
	}
	for job, text := range rules {
		role(render.ComponentRole(job), text)
	}
	for job, text := range home {
		role(render.HomeRole(job), text)
	}
	people, err := policies.PeoplesPolicies()
	require.NoError(t, err)
	for person, text := range people {
		_, _, err := acl.PolicyCreate(&api.ACLPolicy{Name: "wardline-" + person, Rules: text}, nil)
		require.NoError(t, err, person)
	}
	_, _, err = acl.AuthMethodCreate(&api.ACLAuthMethod{Name: method, Type: "jwt", Config: map[string]any{
		"JWTValidationPubKeys": []string{w.public}, "JWTSupportedAlgs": []string{"ES256"}, "BoundAudiences": []string{"consul.io"},
		"ClaimMappings": map[string]string{
			"nomad_namespace": "nomad_namespace", "nomad_job_id": "nomad_job_id", "nomad_service": "nomad_service",
		},
	}}, nil)
	require.NoError(t, err)
	for _, rule := range render.Bindings(method, method == render.AuthMethod(a.Datacenter)) {
		_, _, err = acl.BindingRuleCreate(&api.ACLBindingRule{
			AuthMethod: rule.AuthMethod, BindType: api.BindingRuleBindType(rule.BindType), BindName: rule.BindName, Selector: rule.Selector,
		}, nil)
		require.NoError(t, err)
	}
}

// component is a client as a task of the job has it, on a client agent: its own token from a file, those of
// other datacenters by logging in there.
func (a realAgent) component(t *testing.T, w workloads, job string, there realAgent) (*Consul, ConsulConfig) {
	t.Helper()
	login := a.client(t, consulQuickPace)
	own, _, err := login.api.ACL().Login(&api.ACLLoginParams{AuthMethod: "nomad-eu-test", BearerToken: w.identity(t, job)}, nil)
	require.NoError(t, err)
	token, identity := a.File(job+".token"), a.File(job+".jwt")
	require.NoError(t, os.WriteFile(token, []byte(own.SecretID), 0o600))
	require.NoError(t, os.WriteFile(identity, []byte(w.identity(t, job)), 0o600))
	config := a.config()
	config.Tokens = NewConsulTokenFile(token, nil)
	config.Login = ConsulLogin{JWTFile: identity}
	config.AgentPort = there.Port
	c, err := newConsul(config, normalButSoon)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c, config
}

// normalButSoon is the normal pace, of which only the list of regions is read more often.
var normalButSoon = func() consulPace {
	p := consulNormalPace
	p.regions = 500 * time.Millisecond
	return p
}()

// generous is what a second's work may take on a machine with much else to do. What does not work fails, or takes longer.
const generous = 3 * time.Second

// within requires a call to end without an error in that time.
func within(t *testing.T, limit time.Duration, what string, call func() error) {
	t.Helper()
	began := time.Now()
	require.NoError(t, call(), what)
	require.Less(t, time.Since(began), limit, what)
}

func TestConsulOtherRegionsWithoutOwnServers(t *testing.T) {
	t.Parallel()
	here, nomad := startConsul(t), newWorkloads(t)
	there := here.federate(t)
	member := here.member(t)
	here.trust(t, "nomad-eu-test", nomad)
	there.trust(t, "nomad-eu-test", nomad)
	c, _ := member.component(t, nomad, "gateway", there)
	far := there.client(t, consulQuickPace)
	require.NoError(t, far.Register(t.Context(), there.service("sfu-2")))
	us := c.KV("us-test")
	const key = "wardline/encounters/t/e"
	require.Eventually(t, func() bool { return len(c.routes.to("us-test")) == 2 }, patience, tick, "the other region's servers are learned")
	entry, err := us.CompareAndSet(t.Context(), key, []byte("1"), 0)
	require.NoError(t, err)
	_, err = c.Get(t.Context(), key)
	require.ErrorIs(t, err, ErrNotFound, "each region has its own keys")
	watch, services := us.Watch(t.Context(), key), c.WatchServices(t.Context(), SFUService)
	require.Equal(t, entry, next(t, watch))
	awaitServices(t, services, only("sfu-2"))
	regions, err := c.Regions(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"eu-test", "us-test"}, regions)

	here.Kill()
	began := time.Now()
	_, err = c.Get(t.Context(), key)
	require.ErrorIs(t, err, ErrUnavailable)
	require.Less(t, time.Since(began), generous, "own requests fail fast")
	within(t, generous, "get", func() error { _, err := us.Get(t.Context(), key); return err })
	within(t, generous, "set", func() error {
		entry, err = us.CompareAndSet(t.Context(), key, []byte("2"), entry.Index)
		return err
	})
	require.Equal(t, entry, next(t, watch), "a watch goes on")
	within(t, generous, "list", func() error { _, err := us.List(t.Context(), "wardline/encounters/"); return err })
	within(t, generous, "services", func() error { _, err := c.Services(t.Context(), SFUService); return err })
	require.NoError(t, far.Register(t.Context(), there.service("sfu-3")))
	awaitServices(t, services, func(list []Service) bool { return len(list) == 2 && !list[1].Stale })
	regions, err = c.Regions(t.Context())
	require.NoError(t, err)
	require.Len(t, regions, 2)

	t.Log("a new identity: the login is new too, and has to go there directly")
	c.logins.mu.Lock()
	old := c.logins.logins["us-test"].held.token
	clear(c.logins.logins)
	c.logins.mu.Unlock()
	within(t, generous, "get with a login", func() error { _, err := us.Get(t.Context(), key); return err })
	c.logins.mu.Lock()
	held := c.logins.logins["us-test"].held.token
	c.logins.mu.Unlock()
	require.NotEqual(t, old, held)

	t.Log("a token that is gone is replaced without anybody noticing")
	c.logins.logOut(t.Context(), "us-test", held)
	_, err = us.Get(t.Context(), key)
	require.NoError(t, err)

	here.Restart(t)
	require.Eventually(t, func() bool {
		_, err := c.CompareAndSet(t.Context(), key, []byte("own"), 0)
		return err == nil
	}, patience, tick)

	c.logins.mu.Lock()
	held = c.logins.logins["us-test"].held.token
	c.logins.mu.Unlock()
	require.NoError(t, c.Close())
	gone := there.config()
	gone.Tokens = ConsulToken(held)
	after, err := newConsul(gone, consulQuickPace)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, after.Close()) })
	_, err = after.Get(t.Context(), key)
	require.ErrorContains(t, err, "ACL not found", "closing logs out")
	require.NotContains(t, err.Error(), held)
}

func TestConsulRegionCutOffAndBack(t *testing.T) {
	t.Parallel()
	here := startConsul(t)
	there := here.federate(t)
	config := here.config()
	config.AgentPort = there.Port
	c, err := newConsul(config, normalButSoon)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	far := there.client(t, consulQuickPace)
	require.NoError(t, far.Register(t.Context(), there.service("sfu-2")))
	require.NoError(t, c.Register(t.Context(), here.service("sfu-1")))
	require.Eventually(t, func() bool { return len(c.routes.to("us-test")) == 2 }, patience, tick)
	us := c.KV("us-test")
	entry, err := us.CompareAndSet(t.Context(), "key", []byte("1"), 0)
	require.NoError(t, err)
	watch, services := us.Watch(t.Context(), "key"), c.WatchServices(t.Context(), SFUService)
	require.Equal(t, entry, next(t, watch))
	stale := func(first, second bool) func([]Service) bool {
		return func(list []Service) bool { return len(list) == 2 && list[0].Stale == first && list[1].Stale == second }
	}
	awaitServices(t, services, stale(false, false))

	there.Suspend(t) // as if cut off: connections stay, nothing comes back
	for what, call := range map[string]func(ctx context.Context) error{
		"get":  func(ctx context.Context) error { _, err := us.Get(ctx, "key"); return err },
		"set":  func(ctx context.Context) error { _, err := us.CompareAndSet(ctx, "key", nil, 1); return err },
		"list": func(ctx context.Context) error { _, err := us.List(ctx, "key"); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		began := time.Now()
		require.Error(t, call(ctx), what)
		require.Less(t, time.Since(began), generous, "%s: the caller's deadline counts", what)
		cancel()
	}
	awaitServices(t, services, stale(false, true))
	list, err := c.Services(t.Context(), SFUService)
	require.NoError(t, err)
	require.True(t, stale(false, true)(list))
	within(t, generous, "the own region", func() error { _, err := c.List(t.Context(), "key"); return err })

	there.Signal(t, syscall.SIGCONT)
	healed := time.Now()
	awaitServices(t, services, stale(false, false))
	require.Eventually(t, func() bool {
		entry, err = us.CompareAndSet(t.Context(), "key", []byte("2"), entry.Index)
		return err == nil
	}, patience, tick)
	require.Equal(t, entry, next(t, watch))
	require.Less(t, time.Since(healed), 4*generous, "back within seconds of healing")
}

func TestConsulLoginRefused(t *testing.T) {
	t.Parallel()
	here, nomad, stranger := startConsul(t), newWorkloads(t), newWorkloads(t)
	there := here.federate(t)
	here.trust(t, "nomad-eu-test", nomad)
	there.trust(t, "nomad-eu-test", stranger)
	c, config := here.component(t, nomad, "sfu", there)
	var err error
	require.Eventually(t, func() bool {
		_, err = c.KV("us-test").Get(t.Context(), "wardline/drain/x")
		return err != nil && strings.Contains(err.Error(), "no known key")
	}, patience, tick)
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorContains(t, err, "nomad-eu-test")
	require.ErrorContains(t, err, "us-test")
	refused := err
	identity, err := os.ReadFile(config.Login.JWTFile)
	require.NoError(t, err)
	require.NotContains(t, refused.Error(), string(identity))
	_, err = c.CompareAndSet(t.Context(), "wardline/drain/sfu/sfu-1", []byte("{}"), 0)
	require.NoError(t, err, "the own region does not care")
	_, err = c.CompareAndSet(t.Context(), "wardline/encounters/t/e", nil, 0)
	require.ErrorIs(t, err, ErrUnavailable, "and each component has its limits")
}

func TestConsulLoginToTheOwnRegionToo(t *testing.T) {
	t.Parallel()
	agent, nomad := startConsul(t), newWorkloads(t)
	agent.trust(t, "nomad-eu-test", nomad)
	config := agent.config()
	config.Tokens, config.Login = nil, ConsulLogin{JWTFile: agent.File("own.jwt"), Method: "nomad-eu-test"}
	require.NoError(t, os.WriteFile(config.Login.JWTFile, []byte(nomad.identity(t, "sfu")), 0o600))
	c, err := newConsul(config, consulQuickPace)
	require.NoError(t, err)
	_, err = c.CompareAndSet(t.Context(), "wardline/drain/sfu/sfu-1", []byte("{}"), 0)
	require.NoError(t, err)
	_, err = c.CompareAndSet(t.Context(), "wardline/encounters/t/e", nil, 0)
	require.ErrorIs(t, err, ErrUnavailable, "what the role does not allow")

	tokens := func() (issued []*api.ACLTokenListEntry) {
		all, _, err := agent.client(t, consulQuickPace).api.ACL().TokenList(nil)
		require.NoError(t, err)
		for _, one := range all {
			if one.AuthMethod == "nomad-eu-test" {
				issued = append(issued, one)
			}
		}
		return issued
	}
	held := tokens()
	require.Len(t, held, 1)
	_, err = agent.client(t, consulQuickPace).api.ACL().TokenDelete(held[0].AccessorID, nil)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := c.Get(t.Context(), "wardline/drain/sfu/sfu-1")
		return err == nil
	}, patience, tick, "a token that is gone is replaced")
	require.NoError(t, c.Close())
	require.Empty(t, tokens(), "nothing is left at the end")

	config.Login.Method = ""
	_, err = newConsul(config, consulQuickPace)
	require.ErrorIs(t, err, ErrInvalid)
}
