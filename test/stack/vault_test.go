//go:build linux

package stack_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/secrets"
	stack "github.com/wardline/wardline/test/stack"
	"github.com/wardline/wardline/test/stack/plan"
	"github.com/wardline/wardline/test/stack/render"
	vaultpolicies "github.com/wardline/wardline/vault-policies"
)

// serves says whether a region's Vault answers what only an unsealed one can.
func serves(w *stack.World, region string) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		return w.Vault(region).Get(ctx, "/v1/wardline/token/keys/join-token", nil)
	}
}

// tokenKey is the public half of a region's token key.
func tokenKey(t *testing.T, w *stack.World, region string) string {
	t.Helper()
	var key struct {
		Data struct {
			Keys map[string]struct {
				PublicKey string `json:"public_key"`
			}
		}
	}
	require.NoError(t, w.Vault(region).Get(t.Context(), "/v1/wardline/token/keys/join-token", &key))
	require.Len(t, key.Data.Keys, 1)
	return key.Data.Keys["1"].PublicKey
}

func TestVaultAndItsVerbs(t *testing.T) {
	w := start(t, stack.Options{Regions: []string{"east", "west"}, Shape: plan.Shape{Guests: 1}})
	key := tokenKey(t, w, "east")
	require.NotEqual(t, key, tokenKey(t, w, "west"), "keys of a region are its own")
	require.NoError(t, serves(w, "east")(t.Context()))
	t.Run("it is set up as the files say", func(t *testing.T) { isApplied(t, w, "east") })
	t.Run("it can be wrong about policies", func(t *testing.T) { makesPolicyMistakes(t, w) })
	t.Run("it audits to two files", func(t *testing.T) { audits(t, w, "east") })
	t.Run("its intermediate can be replaced", func(t *testing.T) { replacesIntermediate(t, w, "east") })
	t.Run("what opens it is kept from others", func(t *testing.T) { keepsKeys(t, w) })

	for name, verbs := range map[string]struct {
		breaks, heals []string
		shows         string
	}{
		"sealed":      {[]string{"seal", "east"}, []string{"unseal", "east"}, "sealed"},
		"and healed":  {[]string{"seal", "east-server"}, []string{"heal", "east"}, "sealed"},
		"killed":      {[]string{"kill", "east", "vault"}, []string{"heal", "east-server"}, "down"},
		"paused":      {[]string{"pause", "east-server", "vault"}, []string{"resume", "east-server", "vault"}, "silent"},
		"cut off":     {[]string{"cut", "east-server"}, []string{"heal", "east-server"}, "cut"},
		"powered off": {[]string{"poweroff", "east-server"}, []string{"poweron", "east-server"}, "off"},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, w.Perform(t.Context(), verbs.breaks[0], verbs.breaks[1:]))
			eventually(t, time.Minute, "Vault serves no more", fails(serves(w, "east"))) // a stop reaches a process a little later
			require.Contains(t, line(w.Status(), "east-server"), verbs.shows)
			require.NoError(t, serves(w, "west")(t.Context()), "a region fails by itself")
			require.NoError(t, w.Perform(t.Context(), verbs.heals[0], verbs.heals[1:]))
			eventually(t, time.Minute, "Vault serves again", serves(w, "east"))
			require.Contains(t, line(w.Status(), "east-server"), "running  running  running")
			require.Equal(t, key, tokenKey(t, w, "east"))
		})
	}
	require.ErrorIs(t, w.Seal(t.Context(), "east-guest-1"), plan.ErrInvalid)
	require.ErrorIs(t, w.Kill(t.Context(), "east-guest-1", "vault"), plan.ErrInvalid)
	require.ErrorIs(t, w.NewIntermediate(t.Context(), "north"), plan.ErrInvalid)
}

// fails is a probe that succeeds where another fails.
func fails(probe func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if probe(ctx) == nil {
			return errors.New("it does not fail")
		}
		return nil
	}
}

// line is the line of a text that begins with a word.
func line(text, word string) string {
	for l := range strings.Lines(text) {
		if strings.HasPrefix(l, word+" ") {
			return l
		}
	}
	return ""
}

// isApplied asks what `wardline secrets apply --dry-run` would do.
func isApplied(t *testing.T, w *stack.World, region string) {
	t.Helper()
	authority, err := os.ReadFile(w.CAFile())
	require.NoError(t, err)
	client, err := secrets.NewVaultClient(secrets.VaultConfig{
		Address: w.Vault(region).URL, Token: w.Vault(region).Token, CAFile: w.CAFile(), Timeout: time.Minute,
	})
	require.NoError(t, err)
	defer client.CloneConfig().HttpClient.CloseIdleConnections()
	applier := &vaultpolicies.Applier{Client: client, DryRun: true}
	plan, err := applier.Apply(t.Context(), vaultpolicies.Settings{
		Region: region, JWKSURL: w.Nomad(region).URL + "/.well-known/jwks.json", JWKSCA: string(authority),
	})
	require.NoError(t, err)
	require.NotEmpty(t, plan)
	for _, change := range plan {
		require.Equal(t, vaultpolicies.Unchanged, change.Action, "%s", change)
	}
}

// makesPolicyMistakes denies, and sees that as a difference from what the files say.
func makesPolicyMistakes(t *testing.T, w *stack.World) {
	t.Helper()
	policy := func(component vaultpolicies.Component) string {
		var answer struct{ Data struct{ Policy string } }
		require.NoError(t, w.Vault("east").Get(t.Context(), "/v1/sys/policies/acl/"+component.PolicyName(), &answer))
		return answer.Data.Policy
	}
	gateway, sfu := policy(vaultpolicies.Gateway), policy(vaultpolicies.SFU)
	for _, verbs := range [][][]string{
		{{"deny", "east", "gateway"}, {"allow", "east"}},
		{{"deny", "east-server"}, {"heal", "east"}},
	} {
		require.NoError(t, w.Perform(t.Context(), verbs[0][0], verbs[0][1:]))
		require.Contains(t, line(w.Status(), "east-server"), "denying")
		require.NotEqual(t, gateway, policy(vaultpolicies.Gateway))
		require.Equal(t, len(verbs[0]) > 2, sfu == policy(vaultpolicies.SFU), "one, or all")
		require.NoError(t, w.Perform(t.Context(), verbs[1][0], verbs[1][1:]))
		isApplied(t, w, "east")
	}
	require.ErrorContains(t, w.Perform(t.Context(), "deny", []string{"east", "operator"}), "must be one of [gateway sfu")
}

func audits(t *testing.T, w *stack.World, region string) {
	t.Helper()
	devices := render.AuditDevices(filepath.Join(w.Dir(), region+"-server"))
	require.Len(t, devices, 2)
	for _, device := range devices {
		info, err := os.Stat(device.Path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		text, err := os.ReadFile(device.Path)
		require.NoError(t, err)
		require.Contains(t, string(text), "wardline/token/keys/join-token", "what was asked")
		require.NotContains(t, string(text), w.Vault(region).Token)
	}
}

// replacesIntermediate looks at who signs a certificate, before and after.
func replacesIntermediate(t *testing.T, w *stack.World, region string) {
	t.Helper()
	root, err := os.ReadFile(w.RootFile())
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(root))
	issue := func() (leaf *x509.Certificate, options x509.VerifyOptions) {
		var issued struct {
			Data struct {
				Certificate string
				Chain       []string `json:"ca_chain"`
			}
		}
		body := map[string]string{"common_name": "sfu" + secrets.NameSuffix}
		require.NoError(t, w.Vault(region).Put(t.Context(), "/v1/wardline/pki/issue/sfu", body, &issued))
		block, _ := pem.Decode([]byte(issued.Data.Certificate))
		leaf, err := x509.ParseCertificate(block.Bytes)
		require.NoError(t, err)
		options = x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
		require.True(t, options.Intermediates.AppendCertsFromPEM([]byte(strings.Join(issued.Data.Chain, "\n"))))
		return leaf, options
	}
	before, options := issue()
	require.NoError(t, w.NewIntermediate(t.Context(), region))
	after, others := issue()
	require.NotEqual(t, before.AuthorityKeyId, after.AuthorityKeyId, "another intermediate signs")
	_, err = after.Verify(others)
	require.NoError(t, err)
	_, err = before.Verify(options)
	require.NoError(t, err, "certificates of the one before stay good")
}

// keepsKeys looks for the root token and the unseal keys in everything below the world's folder but the file for people.
func keepsKeys(t *testing.T, w *stack.World) {
	t.Helper()
	access := w.Access()
	var values []string
	for _, region := range w.Plan().Names() {
		kept := access.Vaults[region]
		require.Len(t, kept.UnsealKeys, render.VaultShares)
		values = append(append(values, kept.RootToken), kept.UnsealKeys...)
	}
	found := map[string]bool{}
	require.NoError(t, filepath.WalkDir(w.Dir(), func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil // agents write and remove files
		}
		for _, value := range values {
			if strings.Contains(string(text), value) {
				found[path] = true
			}
		}
		return err
	}))
	file := stack.AccessFile(w.Dir())
	require.Equal(t, map[string]bool{file: true}, found)
	for _, private := range []string{file, filepath.Join(filepath.Dir(w.RootFile()), "root.key")} {
		info, err := os.Stat(private)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), private)
	}
}
