package main

import (
	"bytes"
	"context"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/secrets/vaulttest"
	"github.com/wardline/wardline/core/tenants"
	"github.com/wardline/wardline/edge/client"
	"github.com/wardline/wardline/edge/drill/scenario"
	"github.com/wardline/wardline/edge/drill/tenant"
)

// vaultRegion is a region's Vault as an operator sets it up, by commands alone, and the Nomad that it trusts.
type vaultRegion struct {
	*vaulttest.Server
	nomad *vaulttest.Nomad
	// root is the PEM file of the root authority.
	root string
}

func setUpVault(t *testing.T, region, rootDir string) vaultRegion {
	t.Helper()
	r := vaultRegion{
		Server: vaulttest.Start(t, t.TempDir()), nomad: vaulttest.NewNomad(t, region),
		root: filepath.Join(rootDir, rootCertificateFile),
	}
	t.Cleanup(r.Close)
	keyFile := filepath.Join(t.TempDir(), "nomad.pem")
	require.NoError(t, os.WriteFile(keyFile, []byte(r.nomad.PublicKey(t)), 0o600))
	r.command(t, "", "secrets", "apply", "--region", region, "--jwt-key-file", keyFile)
	if _, err := os.Stat(r.root); err != nil {
		r.command(t, "", "secrets", "root", "create", "--dir", rootDir)
	}
	r.newIntermediate(t, rootDir)
	return r
}

// newIntermediate gives the region an intermediate authority signed by a root.
func (r vaultRegion) newIntermediate(t *testing.T, rootDir string) {
	t.Helper()
	request := r.command(t, "", "secrets", "intermediate", "request", "--region", r.nomad.Region)
	r.command(t, r.command(t, request, "secrets", "root", "sign", "--dir", rootDir), "secrets", "intermediate", "install")
}

// vaultAt are the flags that say which Vault: unlike the environment, each test has its own.
func vaultAt(server *vaulttest.Server) []string {
	return []string{"--vault", server.Address, "--vault-ca-file", server.CAFile}
}

// asRoot are the flags of a command on a Vault by its root token.
func asRoot(t *testing.T, server *vaulttest.Server) []string {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte(server.Root.Token()), 0o600))
	return append(vaultAt(server), "--vault-token-file", token)
}

// command runs one of an operator's commands on the region's Vault.
func (r vaultRegion) command(t *testing.T, input string, args ...string) string {
	t.Helper()
	code, out, errs := runCommand(t, input, append(args, asRoot(t, r.Server)...)...)
	require.Equal(t, exitOK, code, "%v: %s", args, errs)
	return out
}

// flags are those of a component of the region.
func (r vaultRegion) flags(t *testing.T, component string) []string {
	t.Helper()
	return append(vaultAt(r.Server), "--vault-jwt-file", writeIdentity(t, r.nomad.Identity(t, component, nil)))
}

// logins counts those whose tokens are still good.
func (r vaultRegion) logins(t *testing.T) int {
	t.Helper()
	listed, err := r.Root.Logical().List("auth/token/accessors")
	require.NoError(t, err)
	keys, ok := listed.Data["keys"].([]any)
	require.True(t, ok)
	return len(keys)
}

// attendee takes part in a visit.
type attendee struct {
	mu     sync.Mutex
	events []client.Event
}

func visit(t *testing.T, config client.Config) *attendee {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	v := &attendee{}
	config.Publish, config.Events = true, func(event client.Event) {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.events = append(v.events, event)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = client.Run(ctx, config) }()
	t.Cleanup(func() { cancel(); <-done })
	return v
}

func (v *attendee) has(match func(client.Event) bool) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.ContainsFunc(v.events, match)
}

// hears waits until audio of somebody comes in through a path, after now.
func (v *attendee) hears(t *testing.T, from, path string) {
	t.Helper()
	now := time.Now()
	require.Eventually(t, func() bool {
		return v.has(func(e client.Event) bool {
			return e.Kind == client.Stats && e.T.After(now) && e.From == from && e.Path == path && e.Packets > 0
		})
	}, 30*time.Second, 20*time.Millisecond, "%s is not heard", from)
}

// TestComponentsLiveOnVault runs every component on a real Vault: a visit over a relay, and one that goes on and
// that more people join while Vault is sealed.
func TestComponentsLiveOnVault(t *testing.T) {
	t.Parallel()
	vaulttest.Binary(t)
	r := setUpVault(t, "east", t.TempDir())
	data, before := t.TempDir(), r.logins(t)
	folder, err := discovery.OpenFolder(discoveryDir(data))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, folder.Close()) })
	key, _, public := writeKeyPair(t)
	registered, err := readPublicKeys([]string{public})
	require.NoError(t, err)
	require.NoError(t, tenants.NewKV(folder).Register(t.Context(), "clinic", registered))

	gateway, admins := freeAddress(t), map[string]string{}
	members := map[string]*running{}
	for component, flags := range map[string][]string{
		"gateway": {"--http", gateway},
		"sfu":     {"--media", "127.0.0.1:0"},
		"turn":    {"--turn", "127.0.0.1:0"},
	} {
		admins[component] = freeAddress(t)
		args := append([]string{component, "--data", data, "--region", "east", "--admin", admins[component]}, flags...)
		members[component] = startMember(t, append(args, r.flags(t, component)...)...)
	}
	for _, member := range members {
		member.logs.await(t, `"message":"serving"`)
	}
	require.Equal(t, before+3, r.logins(t), "each component has a login of its own")

	trusted, err := trustedBy(r.root)
	require.NoError(t, err)
	url := "https://" + gateway
	application := tenant.New("clinic", registered[0].ID, key, trusted)
	created, err := application.Create(t.Context(), []string{url}, scenario.Visit{Participants: []scenario.Participant{
		{Name: "d-1", Role: access.Provider}, {Name: "p-1", Role: access.Patient}, {Name: "i-1", Role: access.Interpreter},
	}})
	require.NoError(t, err, "the API issues tokens that Vault signs")
	person := func(name string, relay bool) client.Config {
		return client.Config{
			Gateways: []string{url}, TLS: trusted.Clone(), Token: created.Tokens[name], RelayOnly: relay, Admit: name == "d-1",
			Log: zerolog.New(t.Output()).Level(zerolog.WarnLevel),
		}
	}
	provider, patient := visit(t, person("d-1", false)), visit(t, person("p-1", true))
	provider.hears(t, "p-1", "host")
	patient.hears(t, "d-1", "relay")

	r.Seal(t)
	for component, admin := range admins {
		require.Eventually(t, func() bool {
			return strings.Contains(readyOf(t, admin).failing()["vault"], "sealed")
		}, 30*time.Second, 50*time.Millisecond, component)
		status, body := adminGet(t, admin, "/ready")
		require.Equal(t, http.StatusOK, status, "%s works on: %s", component, body)
		require.Contains(t, string(body), `"status":"degraded"`)
		status, _ = adminGet(t, admin, "/live")
		require.Equal(t, http.StatusOK, status)
	}
	provider.hears(t, "p-1", "host")
	interpreter := visit(t, person("i-1", true))
	interpreter.hears(t, "p-1", "relay")
	patient.hears(t, "i-1", "relay")

	r.Unseal(t)
	for component, admin := range admins {
		require.Eventually(t, func() bool { return readyOf(t, admin).Status == "ready" }, 70*time.Second, 50*time.Millisecond, component)
	}
	requireNoSecretsIn(t, data, r)
	for _, member := range members {
		member.stop()
		require.Equal(t, exitOK, <-member.exit)
	}
	require.Equal(t, before, r.logins(t), "a clean end revokes the login")
}

// requireNoSecretsIn looks for keys and shared secrets in a folder, and first where they must be found.
func requireNoSecretsIn(t *testing.T, folder string, r vaultRegion) {
	t.Helper()
	keeper, err := secrets.OpenVault(t.Context(), secrets.VaultConfig{Address: r.Address, CAFile: r.CAFile, Token: r.Root.Token()})
	require.NoError(t, err)
	defer func() { require.NoError(t, keeper.Close()) }()
	shared, err := keeper.Shared(t.Context(), secrets.TURNSecret)
	require.NoError(t, err)

	control := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(control, "leak"), shared.Current, 0o600))
	require.NotEmpty(t, filesWith(t, control, shared.Current), "the search finds what is there")
	local, err := secrets.OpenLocal(control + "/secrets")
	require.NoError(t, err)
	_, err = local.PublicKeys(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, filesLike(t, control, secretFiles), "and what the local keeper leaves")

	require.Empty(t, filesWith(t, folder, shared.Current))
	require.Empty(t, filesLike(t, folder, secretFiles))
}

// secretFiles is what files with private keys or tokens look like.
var secretFiles = regexp.MustCompile(`PRIVATE KEY|"seed"|hvs\.|"d":`)

func filesWith(t *testing.T, folder string, secret []byte) []string {
	t.Helper()
	return filesLike(t, folder, regexp.MustCompile(regexp.QuoteMeta(string(secret))))
}

func filesLike(t *testing.T, folder string, pattern *regexp.Regexp) []string {
	t.Helper()
	var found []string
	require.NoError(t, filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err == nil && pattern.Match(bytes.TrimSpace(content)) {
			found = append(found, path)
		}
		return err
	}))
	return found
}
