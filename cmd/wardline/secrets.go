package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/wardline/wardline/core/secrets"
	vaultpolicies "github.com/wardline/wardline/vault-policies"
)

func newSecrets() *cobra.Command {
	var vault operatorVault
	cmd := &cobra.Command{
		Use:   "secrets",
		Short: "Set up a region's Vault, rotate what it keeps, back it up",
		Long: `Set up a region's Vault, rotate what it keeps, back it up.

"apply" brings mounts, keys, roles and policies to the state of vault-policies. It needs a token that
may do so, as "intermediate" and "restore" do; the operator's policy is enough to rotate and to back up.`,
		Args: onlyOthers,
		RunE: showHelp,
	}
	vault.bind(cmd)
	cmd.AddCommand(newSecretsApply(&vault), newSecretsRotate(&vault), newSecretsBackup(&vault), newSecretsRestore(&vault),
		newSecretsRoot(), newSecretsIntermediate(&vault))
	return cmd
}

// applyOptions are the flags of "wardline secrets apply".
type applyOptions struct {
	settings vaultpolicies.Settings
	caFile   string
	keyFiles []string
	dryRun   bool
}

func newSecretsApply(vault *operatorVault) *cobra.Command {
	var o applyOptions
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Bring a region's Vault to the state of vault-policies",
		Long: `Bring a region's Vault to the state of vault-policies: mounts, keys, PKI roles, JWT roles, policies.
It prints one line a thing: create, update, unchanged, conflict (cannot be changed, a person has to
decide) or missing. Doing it again changes nothing; what was changed by hand is changed back.`,
		Example: `  wardline secrets apply --region east --jwks-url https://nomad.east.example:4646/.well-known/jwks.json --dry-run`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.read(); err != nil {
				return err
			}
			return vault.keeper(cmd, func(config secrets.VaultConfig, keeper *secrets.Vault) error {
				return o.apply(cmd, config, keeper)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.settings.Region, "region", "", "Nomad region whose workloads may log in (required)")
	f.StringVar(&o.settings.Namespace, "namespace", "default", "Nomad namespace of the jobs")
	f.StringVar(&o.settings.JWKSURL, "jwks-url", "", "https URL of the region's Nomad keys: https://NOMAD:4646/.well-known/jwks.json")
	f.StringVar(&o.caFile, "jwks-ca-file", "", "PEM authority of --jwks-url (default: those of Vault's system)")
	f.StringSliceVar(&o.keyFiles, "jwt-key-file", nil, "PEM public key of the region's Nomad, instead of --jwks-url; repeatable")
	f.StringSliceVar(&o.settings.GatewayHosts, "gateway-host", nil, "further DNS name of gateways' certificates; repeatable")
	f.StringSliceVar(&o.settings.TURNHosts, "turn-host", nil, "further DNS name of relays' certificates; repeatable")
	f.DurationVar(&o.settings.CertificateTTL, "certificate-ttl", 12*time.Hour, "how long certificates live, 1m to 168h")
	f.BoolVar(&o.dryRun, "dry-run", false, "print the plan and change nothing")
	cobra.CheckErr(cmd.MarkFlagRequired("region"))
	return cmd
}

// read takes in the files and says which flag is wrong, before Vault is asked.
func (o *applyOptions) read() error {
	if o.caFile != "" {
		content, err := os.ReadFile(o.caFile)
		if err != nil {
			return fmt.Errorf("--jwks-ca-file: %w", err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(content) {
			return fmt.Errorf("--jwks-ca-file %s: must be a PEM certificate", o.caFile)
		}
		o.settings.JWKSCA = string(content)
	}
	for _, path := range o.keyFiles {
		content, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("--jwt-key-file: %w", err)
		}
		if !isPublicKey(content) {
			return fmt.Errorf("--jwt-key-file %s: must be a PEM public key", path)
		}
		o.settings.JWTKeys = append(o.settings.JWTKeys, string(content))
	}
	return o.settings.Check()
}

// isPublicKey reports whether Vault takes it for a public key, which may be that of a certificate.
func isPublicKey(content []byte) bool {
	block, _ := pem.Decode(content)
	if block == nil {
		return false
	}
	_, keyErr := x509.ParsePKIXPublicKey(block.Bytes)
	_, certificateErr := x509.ParseCertificate(block.Bytes)
	return keyErr == nil || certificateErr == nil
}

func (o *applyOptions) apply(cmd *cobra.Command, config secrets.VaultConfig, keeper *secrets.Vault) error {
	client, err := secrets.NewVaultClient(config)
	if err != nil {
		return err
	}
	applier := &vaultpolicies.Applier{Client: client, Rotator: keeper, DryRun: o.dryRun}
	plan, err := applier.Apply(cmd.Context(), o.settings)
	return errors.Join(plan.Write(cmd.OutOrStdout()), err)
}

const (
	rootCertificateFile = "root.pem"
	rootKeyFile         = "root.key"
	// maxPEM bounds what is read as a request or a chain, in bytes.
	maxPEM = 64 << 10
)

func newSecretsRoot() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "root",
		Short: "Keep the root authority, on a machine without a network",
		Args:  onlyOthers,
		RunE:  showHelp,
	}
	cmd.PersistentFlags().StringVar(&dir, "dir", "root-ca", "folder with "+rootCertificateFile+" and "+rootKeyFile)
	cmd.AddCommand(
		&cobra.Command{
			Use:   "create",
			Short: "Make the root authority of all regions; it lives ten years",
			Args:  cobra.NoArgs,
			RunE:  func(*cobra.Command, []string) error { return failed(createRoot(dir)) },
		},
		&cobra.Command{
			Use:   "sign",
			Short: "Sign a region's intermediate: the request from standard input, the chain to standard output",
			Args:  cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return failed(signIntermediate(cmd, dir))
			},
		},
	)
	return cmd
}

func createRoot(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	path := filepath.Join(dir, rootKeyFile)
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s exists: a new root would end the trust in the one before", path)
	}
	root, err := vaultpolicies.NewRoot(time.Now())
	if err != nil {
		return err
	}
	return errors.Join(
		renameio.WriteFile(path, root.Key, 0o600),
		renameio.WriteFile(filepath.Join(dir, rootCertificateFile), root.Certificate, 0o644),
	)
}

func signIntermediate(cmd *cobra.Command, dir string) error {
	certificate, err := os.ReadFile(filepath.Join(dir, rootCertificateFile))
	if err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	key, err := os.ReadFile(filepath.Join(dir, rootKeyFile))
	if err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	request, err := readAllInput(cmd, maxPEM)
	if err != nil {
		return err
	}
	chain, err := vaultpolicies.Root{Certificate: certificate, Key: key}.Sign(request, time.Now())
	if err != nil {
		return err
	}
	_, err = cmd.OutOrStdout().Write(chain)
	return err
}

func newSecretsIntermediate(vault *operatorVault) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "intermediate",
		Short: "Give a region its intermediate authority, or a new one",
		Example: `  wardline secrets intermediate request --region east > east.csr
  wardline secrets root sign < east.csr > east.pem     # on the machine of the root
  wardline secrets intermediate install < east.pem`,
		Args: onlyOthers,
		RunE: showHelp,
	}
	var region string
	request := &cobra.Command{
		Use:   "request",
		Short: "Have Vault make a key and print the certificate request for it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return vault.keeper(cmd, func(config secrets.VaultConfig, _ *secrets.Vault) error {
				client, err := secrets.NewVaultClient(config)
				if err != nil {
					return err
				}
				request, err := vaultpolicies.RequestIntermediate(cmd.Context(), client, region)
				if err != nil {
					return err
				}
				_, err = cmd.OutOrStdout().Write(request)
				return err
			})
		},
	}
	request.Flags().StringVar(&region, "region", "", "region the authority is for, part of its name (required)")
	cobra.CheckErr(request.MarkFlagRequired("region"))
	install := &cobra.Command{
		Use:   "install",
		Short: "Install the signed chain from standard input; certificates of the one before stay good",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return vault.keeper(cmd, func(config secrets.VaultConfig, _ *secrets.Vault) error {
				client, err := secrets.NewVaultClient(config)
				if err != nil {
					return err
				}
				chain, err := readAllInput(cmd, maxPEM)
				if err != nil {
					return err
				}
				return vaultpolicies.InstallIntermediate(cmd.Context(), client, chain)
			})
		},
	}
	cmd.AddCommand(request, install)
	return cmd
}
