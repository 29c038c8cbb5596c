//go:build linux

package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/test/stack/ca"
	"github.com/wardline/wardline/test/stack/machine"
	"github.com/wardline/wardline/test/stack/plan"
	"github.com/wardline/wardline/test/stack/render"
	vaultpolicies "github.com/wardline/wardline/vault-policies"
)

const (
	// vaultTimeout bounds one request that sets Vault up.
	vaultTimeout = 30 * time.Second
	// unsealWithin bounds how long a Vault that was started again may take until it serves.
	unsealWithin = 30 * time.Second
	// glance bounds how long a look at a Vault's state may take.
	glance = time.Second
)

// Files of the root authority in the world's folder, as `wardline secrets root sign --dir` takes them.
const (
	rootDir             = "root-ca"
	rootCertificateFile = "root.pem"
	rootKeyFile         = "root.key"
)

// makeRoot makes the root authority of Wardline's own certificates, which no server of the world sees the key of.
func (w *World) makeRoot() (err error) {
	if w.root, err = vaultpolicies.NewRoot(time.Now()); err != nil {
		return fmt.Errorf("make the root authority: %w", err)
	}
	dir := filepath.Dir(w.RootFile())
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the root authority: %w", err)
	}
	for name, content := range map[string][]byte{rootCertificateFile: w.root.Certificate, rootKeyFile: w.root.Key} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return fmt.Errorf("write the root authority: %w", err)
		}
	}
	return nil
}

// RootFile is the certificate that everybody who meets Wardline's components trusts, beside its key.
func (w *World) RootFile() string { return filepath.Join(w.dir, rootDir, rootCertificateFile) }

// Vault is the API of a region's Vault with the root token; nil in a world without Vault. region must exist.
func (w *World) Vault(region string) *API {
	kept := w.secrets.Vaults[region]
	if kept == nil {
		return nil
	}
	r, _ := w.plan.Region(region)
	return &API{URL: render.VaultURL(r.Server()), Header: "X-Vault-Token", Token: kept.RootToken, Client: w.HTTPClient()}
}

// hasVault says whether a node runs Vault.
func (w *World) hasVault(n *node) bool { return n.Kind == plan.Server && w.binaries[vaultAgent] != "" }

// localVault is the API of a node's Vault by the node's own loopback, where no cut is in the way.
func (w *World) localVault(n *node) *API {
	api := w.Vault(n.Region)
	api.Client = &http.Client{Transport: &http.Transport{
		TLSClientConfig: w.authority.ClientTLS(), DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return n.machine.Dial(ctx, network, net.JoinHostPort("127.0.0.1", strconv.Itoa(render.VaultHTTPS)))
		},
	}}
	return api
}

// bootstrapVault starts a region's Vault, initializes and unseals it, and gives it what Wardline needs of it. The region's
// Nomad, whose workloads it trusts, is there.
func (w *World) bootstrapVault(ctx context.Context, server *node) error {
	if err := w.startAgent(server, vaultAgent); err != nil {
		return err
	}
	err := w.wait(ctx, server.Region+": Vault answers", func(ctx context.Context) error {
		return w.Vault(server.Region).Get(ctx, "/v1/sys/init", nil)
	})
	if err != nil {
		return err
	}
	if err := w.initVault(ctx, server); err != nil {
		return fmt.Errorf("vault of %s: %w", server.Region, err)
	}
	if err := w.applyPolicies(ctx, server); err != nil {
		return fmt.Errorf("vault of %s: %w", server.Region, err)
	}
	if err := w.NewIntermediate(ctx, server.Region); err != nil {
		return err
	}
	w.progress.say("%s: Vault is set up", server.Region)
	return nil
}

// initVault makes the keys, unseals and switches auditing on before anything is kept.
func (w *World) initVault(ctx context.Context, server *node) error {
	request := map[string]int{"secret_shares": render.VaultShares, "secret_threshold": render.VaultThreshold}
	var made struct {
		Keys  []string `json:"keys_base64"`
		Token string   `json:"root_token"`
	}
	if err := w.Vault(server.Region).Put(ctx, "/v1/sys/init", request, &made); err != nil {
		return err
	}
	*w.secrets.Vaults[server.Region] = render.VaultSecrets{UnsealKeys: made.Keys, RootToken: made.Token}
	if err := w.unseal(ctx, server); err != nil {
		return err
	}
	for _, device := range render.AuditDevices(server.dir) {
		body := map[string]any{"type": "file", "options": map[string]string{"file_path": device.Path}}
		if err := w.Vault(server.Region).Put(ctx, "/v1/sys/audit/"+device.Name, body, nil); err != nil {
			return err
		}
	}
	return nil
}

// vaultConfig is how to administer the Vault of a region.
func (w *World) vaultConfig(server *node) secrets.VaultConfig {
	vault := w.Vault(server.Region)
	return secrets.VaultConfig{
		Address: vault.URL, Token: vault.Token, CAFile: filepath.Join(server.dir, "tls", ca.CAFile), Timeout: vaultTimeout,
	}
}

// applyPolicies does what `wardline secrets apply` does.
func (w *World) applyPolicies(ctx context.Context, server *node) error {
	config := w.vaultConfig(server)
	client, err := secrets.NewVaultClient(config)
	if err != nil {
		return err
	}
	defer client.CloneConfig().HttpClient.CloseIdleConnections()
	keeper, err := secrets.OpenVault(ctx, config)
	if err != nil {
		return err
	}
	applier := &vaultpolicies.Applier{Client: client, Rotator: keeper}
	_, err = applier.Apply(ctx, vaultpolicies.Settings{
		Region: server.Region, JWKSURL: w.Nomad(server.Region).URL + "/.well-known/jwks.json", JWKSCA: string(w.authority.PEM()),
		CertificateTTL: w.certificateTTL,
	})
	return errors.Join(err, keeper.Close())
}

// NewIntermediate gives a region's Vault a new intermediate authority, signed by the root. Certificates of the one before
// stay good.
func (w *World) NewIntermediate(ctx context.Context, region string) error {
	r, ok := w.plan.Region(region)
	if !ok || w.Vault(region) == nil {
		return fmt.Errorf("%w: no region %q with a Vault: regions are %v", plan.ErrInvalid, region, w.plan.Names())
	}
	client, err := secrets.NewVaultClient(w.vaultConfig(w.nodes[r.Server().Name]))
	if err != nil {
		return fmt.Errorf("intermediate of %s: %w", region, err)
	}
	defer client.CloneConfig().HttpClient.CloseIdleConnections()
	request, err := vaultpolicies.RequestIntermediate(ctx, client, region)
	if err != nil {
		return err
	}
	chain, err := w.root.Sign(request, time.Now())
	if err != nil {
		return err
	}
	return vaultpolicies.InstallIntermediate(ctx, client, chain)
}

// unseal unseals a node's Vault if it is sealed, and waits until it serves.
func (w *World) unseal(ctx context.Context, n *node) error {
	api := w.localVault(n)
	return w.until(ctx, func(ctx context.Context) error {
		sealed, err := sealed(ctx, api)
		if err != nil {
			return err
		}
		if sealed {
			for _, key := range w.secrets.Vaults[n.Region].UnsealKeys[:render.VaultThreshold] {
				if err := api.Put(ctx, "/v1/sys/unseal", map[string]string{"key": key}, nil); err != nil {
					return err
				}
			}
		}
		return api.Get(ctx, "/v1/auth/token/lookup-self", nil) // once it leads
	})
}

func sealed(ctx context.Context, api *API) (bool, error) {
	var status struct{ Sealed bool }
	err := api.Get(ctx, "/v1/sys/seal-status", &status)
	return status.Sealed, err
}

// restartVault starts a node's Vault if it does not run, and unseals it.
func (w *World) restartVault(ctx context.Context, n *node) error {
	if !w.hasVault(n) {
		return nil
	}
	if err := w.startAgentLocked(n, vaultAgent); err != nil {
		return err
	}
	patience, cancel := context.WithTimeout(ctx, unsealWithin)
	defer cancel()
	if err := w.unseal(patience, n); err != nil {
		return fmt.Errorf("unseal the Vault of %s: %w", n.Region, err)
	}
	return w.allow(ctx, n)
}

// Seal seals the Vault of a target, a server or its region: it runs on and serves nothing until Unseal.
func (w *World) Seal(ctx context.Context, target string) error {
	return w.onVaults(target, func(n *node) error { return w.localVault(n).Put(ctx, "/v1/sys/seal", nil, nil) })
}

// Unseal undoes Seal.
func (w *World) Unseal(ctx context.Context, target string) error {
	return w.onVaults(target, func(n *node) error {
		patience, cancel := context.WithTimeout(ctx, unsealWithin)
		defer cancel()
		return w.unseal(patience, n)
	})
}

// onVaults applies do to the Vaults of a target that run.
func (w *World) onVaults(target string, do func(*node) error) error {
	return w.onProcesses(target, vaultAgent, true, func(n *node) error {
		if !w.hasVault(n) {
			return fmt.Errorf("%w: no Vault on %s: there is one on each REGION-server", plan.ErrInvalid, n.Name)
		}
		if !n.running(vaultAgent) {
			return fmt.Errorf("the Vault of %s: %w", n.Region, machine.ErrOff)
		}
		return do(n)
	})
}

// vaultState is what a look at a node's Vault says.
func (w *World) vaultState(n *node) string {
	if !w.hasVault(n) {
		return "-"
	}
	if !n.running(vaultAgent) {
		return "down"
	}
	ctx, cancel := context.WithTimeout(context.Background(), glance)
	defer cancel()
	sealed, err := sealed(ctx, w.localVault(n))
	if err != nil {
		return "silent"
	}
	return either(sealed, "sealed", either(n.denies, "denying", "running"))
}
