package vaultpolicies_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/secrets/vaulttest"
	vaultpolicies "github.com/wardline/wardline/vault-policies"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(stopAfter{m}) }

// stopAfter ends the Vault that the tests share before goleak looks.
type stopAfter struct{ m *testing.M }

func (s stopAfter) Run() int {
	code := s.m.Run()
	if shared.server != nil {
		shared.server.Close()
	}
	_ = os.RemoveAll(shared.dir)
	return code
}

var shared struct {
	once   sync.Once
	server *vaulttest.Server
	nomad  *vaulttest.Nomad
	dir    string
	// first and second are the plans of two applications, one after the other; dry the one before both.
	dry, first, second vaultpolicies.Plan
	ready              bool
}

// vault is one Vault, set up.
func vault(t *testing.T) *vaulttest.Server {
	t.Helper()
	vaulttest.Binary(t) // skips every test, not only the first
	shared.once.Do(func() {
		var err error
		shared.dir, err = os.MkdirTemp("", "wardline-vault-") //nolint:usetesting // outlives the first test
		require.NoError(t, err)
		shared.server = vaulttest.Start(t, shared.dir)
		shared.nomad = vaulttest.NewNomad(t, "east")
		shared.dry = apply(t, settings(t), true)
		shared.first = apply(t, settings(t), false)
		shared.second = apply(t, settings(t), false)
		shared.ready = true
	})
	require.True(t, shared.ready, "Vault was not set up, see the first test that failed")
	return shared.server
}

func settings(t *testing.T) vaultpolicies.Settings {
	t.Helper()
	return vaultpolicies.Settings{Region: "east", JWTKeys: []string{shared.nomad.PublicKey(t)}, GatewayHosts: []string{"visit.example.org"}}
}

func applier(t *testing.T, dry bool) *vaultpolicies.Applier {
	t.Helper()
	keeper, err := secrets.OpenVault(t.Context(), secrets.VaultConfig{
		Address: shared.server.Address, CAFile: shared.server.CAFile, Token: shared.server.Root.Token(), Timeout: time.Minute,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, keeper.Close()) })
	return &vaultpolicies.Applier{Client: shared.server.Root, Rotator: keeper, DryRun: dry}
}

func apply(t *testing.T, settings vaultpolicies.Settings, dry bool) vaultpolicies.Plan {
	t.Helper()
	plan, err := applier(t, dry).Apply(t.Context(), settings)
	require.NoError(t, err)
	return plan
}

func count(plan vaultpolicies.Plan, action vaultpolicies.Action) int {
	n := 0
	for _, change := range plan {
		if change.Action == action {
			n++
		}
	}
	return n
}

// changes is how many there are to be made, or were.
func changes(plan vaultpolicies.Plan) int {
	return count(plan, vaultpolicies.Create) + count(plan, vaultpolicies.Update)
}

func TestApplyingTwiceChangesNothing(t *testing.T) {
	vault(t)
	total := len(shared.first)
	require.Equal(t, shared.dry, shared.first, "the dry run says what applying does")
	require.Equal(t, total-1, count(shared.first, vaultpolicies.Create))
	require.Equal(t, 1, count(shared.first, vaultpolicies.Missing), "the intermediate")
	require.Equal(t, total-1, count(shared.second, vaultpolicies.Unchanged), "%v", shared.second)
	var out bytes.Buffer
	require.NoError(t, shared.first.Write(&out))
	require.Contains(t, out.String(), "create     mount      wardline/token\n")
	require.NotContains(t, out.String(), shared.server.Root.Token())
}

func TestApplyingMendsWhatWasChangedByHand(t *testing.T) {
	server := vault(t)
	_, err := server.Root.Logical().Write("wardline/pki/roles/sfu", map[string]any{"allow_any_name": true})
	require.NoError(t, err)
	require.NoError(t, server.Root.Sys().PutPolicy("wardline-sfu", `path "*" { capabilities = ["read"] }`))
	_, err = server.Root.Logical().Write("sys/mounts/wardline/kv/tune", map[string]any{"description": ""})
	require.NoError(t, err)

	dry := apply(t, settings(t), true)
	require.Equal(t, 3, count(dry, vaultpolicies.Update))
	require.Equal(t, dry, apply(t, settings(t), true), "a dry run changes nothing")
	for _, change := range dry {
		if change.Name == "wardline/pki/roles/sfu" {
			require.Contains(t, change.Detail, "allow_any_name")
		}
	}
	apply(t, settings(t), false)
	require.Zero(t, changes(apply(t, settings(t), true)))
}

func TestChangedSettingsAreAnUpdate(t *testing.T) {
	vault(t)
	changed := settings(t)
	changed.GatewayHosts = append(changed.GatewayHosts, "other.example.org")
	plan := apply(t, changed, true)
	require.Equal(t, 1, count(plan, vaultpolicies.Update), "%v", plan)
}

func TestWhatCannotBeChangedIsAConflict(t *testing.T) {
	server := vault(t)
	require.NoError(t, server.Root.Sys().Unmount("wardline/token"))
	require.NoError(t, server.Root.Sys().Mount("wardline/token", &api.MountInput{
		Type: "transit", Description: "Keys that sign join tokens and audit checkpoints.",
	}))
	key := "wardline/token/keys/join-token"
	_, err := server.Root.Logical().Write(key, map[string]any{"type": "ed25519", "exportable": true})
	require.NoError(t, err)
	defer func() {
		require.NoError(t, server.Root.Sys().Unmount("wardline/token"))
		apply(t, settings(t), false)
	}()
	plan, err := applier(t, false).Apply(t.Context(), settings(t))
	require.ErrorIs(t, err, vaultpolicies.ErrConflict)
	require.Equal(t, 1, count(plan, vaultpolicies.Conflict))
	require.Contains(t, plan, vaultpolicies.Change{
		Action: vaultpolicies.Conflict, Kind: "object", Name: key, Detail: "cannot be changed: exportable",
	})
}

// TestPermissionMatrix tries every component at every path group on the real server, each request with a token of
// its own, since some requests end their token.
func TestPermissionMatrix(t *testing.T) {
	server := vault(t)
	require.NoError(t, server.Root.Sys().PutPolicy("nothing", `path "nothing" { capabilities = ["deny"] }`))
	_, err := server.Root.Logical().Write("wardline/tenants/keys/probe-tenant", map[string]any{"type": "aes256-gcm96"})
	require.NoError(t, err)
	allowed, denied := 0, 0
	for _, component := range vaultpolicies.Components() {
		t.Run(string(component), func(t *testing.T) {
			for _, group := range vaultpolicies.Table() {
				for _, probe := range group.Probes {
					status := try(t, server, component, probe)
					asked := group.Name + ": " + probe.Method + " " + probe.Path
					if group.Allows(component) {
						allowed++
						require.NotEqual(t, http.StatusForbidden, status, "is to be allowed: %s", asked)
					} else {
						denied++
						require.Equal(t, http.StatusForbidden, status, "is to be denied: %s", asked)
					}
				}
			}
		})
	}
	t.Logf("%d requests allowed, %d denied", allowed, denied)
	require.Greater(t, allowed, 50)
	require.Greater(t, denied, 250)
}

// try sends a probe as a component and returns the status.
func try(t *testing.T, server *vaulttest.Server, component vaultpolicies.Component, probe vaultpolicies.Probe) int {
	t.Helper()
	client, err := server.Root.Clone()
	require.NoError(t, err)
	client.SetToken(server.TokenOf(t, component.PolicyName()))
	request := client.NewRequest(probe.Method, "/v1/"+probe.Path)
	if probe.Method == http.MethodPut {
		require.NoError(t, request.SetJSONBody(probe.Body))
	}
	//nolint:staticcheck // the one call that takes any method and path as they are
	response, err := client.RawRequestWithContext(t.Context(), request)
	if response != nil {
		defer func() { require.NoError(t, response.Body.Close()) }()
	}
	if refusal, ok := errors.AsType[*api.ResponseError](err); ok {
		return refusal.StatusCode
	}
	require.NoError(t, err)
	return response.StatusCode
}

func TestCertificateRolesSignForTheirOwnNameOnly(t *testing.T) {
	server := vault(t)
	installIntermediate(t, server)
	for _, role := range vaultpolicies.Servers() {
		for _, named := range vaultpolicies.Servers() {
			err := signFor(server, role, string(named)+secrets.NameSuffix)
			if role == named {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, "not allowed", "%s must not be %s", role, named)
			}
		}
		for _, name := range []string{"*" + secrets.NameSuffix, "a." + string(role) + secrets.NameSuffix, "evil.example.org"} {
			require.Error(t, signFor(server, role, name), "%s must not be %s", role, name)
		}
	}
	require.NoError(t, signFor(server, vaultpolicies.Gateway, "visit.example.org"))
	require.Error(t, signFor(server, vaultpolicies.TURN, "visit.example.org"))
	require.Error(t, signFor(server, vaultpolicies.SFU, "localhost"))
}

func installIntermediate(t *testing.T, server *vaulttest.Server) {
	t.Helper()
	root, err := vaultpolicies.NewRoot(time.Now())
	require.NoError(t, err)
	request, err := vaultpolicies.RequestIntermediate(t.Context(), server.Root, "east")
	require.NoError(t, err)
	chain, err := root.Sign(request, time.Now())
	require.NoError(t, err)
	require.Error(t, vaultpolicies.InstallIntermediate(t.Context(), server.Root, root.Certificate), "the root alone")
	require.NoError(t, vaultpolicies.InstallIntermediate(t.Context(), server.Root, chain))
	require.Zero(t, count(apply(t, settings(t), true), vaultpolicies.Missing))
}

// signFor has Vault make and sign a certificate with the role of a component; only a root token may.
func signFor(server *vaulttest.Server, role vaultpolicies.Component, name string) error {
	_, err := server.Root.Logical().Write("wardline/pki/issue/"+string(role), map[string]any{"common_name": name})
	return err
}

// TestNoComponentExtendsItsCertificate asks for the life of the intermediate, which a role's max_ttl does not stop.
func TestNoComponentExtendsItsCertificate(t *testing.T) {
	server := vault(t)
	installIntermediate(t, server)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	for _, component := range vaultpolicies.Servers() {
		request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
			Subject: pkix.Name{CommonName: string(component) + secrets.NameSuffix},
		}, key)
		require.NoError(t, err)
		body := map[string]any{"csr": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request}))}
		client, path := server.Client(t, server.TokenOf(t, component.PolicyName())), "wardline/pki/sign/"+string(component)

		signed, err := client.Logical().Write(path, body)
		require.NoError(t, err, component)
		expiration, ok := signed.Data["expiration"].(json.Number)
		require.True(t, ok)
		ends, err := expiration.Int64()
		require.NoError(t, err)
		require.LessOrEqual(t, time.Until(time.Unix(ends, 0)), 12*time.Hour, component)

		body["not_after"] = time.Now().AddDate(1, 0, 0).Format(time.RFC3339)
		_, err = client.Logical().Write(path, body)
		require.ErrorContains(t, err, "permission denied", component)
	}
}

func TestIdentitiesOfANomadThatPublishesItsKeys(t *testing.T) {
	server := vault(t)
	nomad := vaulttest.NewNomad(t, "east")
	jwks := nomad.JWKS(t)
	published := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(jwks) }))
	defer published.Close()
	defer apply(t, settings(t), false)
	withURL := settings(t)
	withURL.JWTKeys, withURL.JWKSURL = nil, published.URL+"/.well-known/jwks.json"
	withURL.JWKSCA = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: published.Certificate().Raw}))
	require.Equal(t, 1, count(apply(t, withURL, false), vaultpolicies.Update))
	require.Zero(t, changes(apply(t, withURL, true)))

	login := func(identity string) error {
		_, err := server.Client(t, "").Logical().Write("auth/jwt-nomad/login", map[string]any{"role": "sfu", "jwt": identity})
		return err
	}
	require.NoError(t, login(nomad.Identity(t, "sfu", nil)))
	require.Error(t, login(shared.nomad.Identity(t, "sfu", nil)), "the key of before")
}

// TestJobsOfThisRegionLogInAsThemselves tries every workload at every role.
func TestJobsOfThisRegionLogInAsThemselves(t *testing.T) {
	server := vault(t)
	login := server.Client(t, "").Logical()
	for _, job := range vaultpolicies.Workloads() {
		for _, role := range vaultpolicies.Workloads() {
			secret, err := login.Write("auth/jwt-nomad/login", map[string]any{
				"role": string(role), "jwt": shared.nomad.Identity(t, string(job), nil),
			})
			if job != role {
				require.ErrorContains(t, err, "claim", "job %s must not be %s", job, role)
				continue
			}
			require.NoError(t, err)
			require.Equal(t, []string{role.PolicyName()}, secret.Auth.Policies, "not even the default policy")
			require.Equal(t, 3600, secret.Auth.LeaseDuration)
		}
	}
}

func TestSettingsThatAreRefused(t *testing.T) {
	for name, change := range map[string]func(*vaultpolicies.Settings){
		"region":      func(s *vaultpolicies.Settings) { s.Region = "east:*" },
		"namespace":   func(s *vaultpolicies.Settings) { s.Namespace = "*" },
		"needed":      func(s *vaultpolicies.Settings) { s.JWTKeys = nil },
		"--jwks-url":  func(s *vaultpolicies.Settings) { s.JWTKeys, s.JWKSURL = nil, "http://nomad.example" },
		"certificate": func(s *vaultpolicies.Settings) { s.CertificateTTL = time.Second },
	} {
		good := vaultpolicies.Settings{Region: "east", JWTKeys: []string{"key"}}
		change(&good)
		_, err := (&vaultpolicies.Applier{}).Apply(t.Context(), good)
		require.ErrorContains(t, err, strings.Split(name, " ")[0])
	}
}

func TestRootSignsOnlyRequests(t *testing.T) {
	root, err := vaultpolicies.NewRoot(time.Now())
	require.NoError(t, err)
	_, err = root.Sign([]byte("nothing"), time.Now())
	require.ErrorContains(t, err, "not PEM")
	_, err = root.Sign(root.Certificate, time.Now())
	require.Error(t, err)
	other, err := vaultpolicies.NewRoot(time.Now())
	require.NoError(t, err)
	_, err = vaultpolicies.Root{Certificate: root.Certificate, Key: other.Key}.Sign(root.Certificate, time.Now())
	require.ErrorContains(t, err, "does not belong")
	_, err = vaultpolicies.Root{}.Sign(root.Certificate, time.Now())
	require.Error(t, err)
}
