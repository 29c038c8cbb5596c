//go:build linux

package deploy

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/edge/drill/scenario"
	"github.com/wardline/wardline/edge/drill/tenant"
	stack "github.com/wardline/wardline/test/stack"
)

// tenantName is the tenant whose application creates visits in a world.
const tenantName = "dev"

// Files of the tenant, and of the operator who adds it.
const (
	privateKeyFile  = "dev.key.pem"
	publicKeyFile   = "dev.pem"
	consulTokenFile = "consul.token"
)

// TenantKey is the file with the private API key of the tenant that visits of a world belong to.
func TenantKey(w *stack.World) string { return filepath.Join(tenantDir(w), privateKeyFile) }

func tenantDir(w *stack.World) string { return filepath.Join(w.Dir(), "tenant") }

// addTenant makes the tenant's keys and adds it to every region, as an operator would. Adding it again changes nothing.
func addTenant(ctx context.Context, w *stack.World, r Release) error {
	if _, err := os.Stat(TenantKey(w)); err != nil {
		if err := makeTenant(w); err != nil {
			return fmt.Errorf("tenant %s: %w", tenantName, err)
		}
	}
	keys, token := filepath.Join(tenantDir(w), publicKeyFile), filepath.Join(tenantDir(w), consulTokenFile)
	for _, region := range w.Plan().Names() {
		//nolint:gosec // G204: the caller's own binary
		cmd := exec.CommandContext(ctx, r.Binary, "tenant", "add", tenantName, "--key", keys,
			"--consul", w.Consul(region).URL, "--consul-ca-file", w.CAFile(), "--consul-token-file", token)
		cmd.Env = append(os.Environ(), w.Env(region)...)
		if output, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("tenant add in %s: %w: %s", region, err, output)
		}
	}
	return nil
}

// makeTenant leaves the tenant's key pair, and the token with which an operator registers it, in files.
func makeTenant(w *stack.World) error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	registered, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(tenantDir(w), 0o700); err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		privateKeyFile:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		publicKeyFile:   pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: registered}),
		consulTokenFile: []byte(w.Consul(w.Plan().Names()[0]).Token),
	} {
		if err := os.WriteFile(filepath.Join(tenantDir(w), name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// application is the tenant's application, which creates visits.
func application(w *stack.World) (*tenant.Tenant, error) {
	content, err := os.ReadFile(TenantKey(w))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM block", TenantKey(w))
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: %T, must be an Ed25519 key", TenantKey(w), parsed)
	}
	public, _ := key.Public().(ed25519.PublicKey)
	root, err := os.ReadFile(w.RootFile())
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root)
	return tenant.New(tenantName, secrets.Thumbprint(public), key, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}), nil
}

// Person is a participant of a visit.
func Person(name string, role access.Role) scenario.Participant {
	return scenario.Participant{Name: name, Role: role}
}

// Visit has a region's first gateway create a visit, which policy allows in all regions of the world, that one first. It
// returns each person's join token.
func Visit(ctx context.Context, w *stack.World, region string, people ...scenario.Participant) (map[string]string, error) {
	url, err := GatewayURL(w, region)
	if err != nil {
		return nil, err
	}
	app, err := application(w)
	if err != nil {
		return nil, fmt.Errorf("create a visit: %w", err)
	}
	regions := []string{region}
	for _, name := range w.Plan().Names() {
		if name != region {
			regions = append(regions, name)
		}
	}
	created, err := app.Create(ctx, []string{url}, scenario.Visit{Name: "visit", Regions: regions, Participants: people})
	return created.Tokens, err
}
