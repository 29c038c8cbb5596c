package main

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/tenants"
)

func newTenant() *cobra.Command {
	var vault operatorVault
	cmd := &cobra.Command{
		Use:   "tenant",
		Short: "Add tenants and register their API keys",
		Long: `Add tenants and register their API keys.

A tenant has a key in each region's Vault, which wraps the data keys of its records, and public API keys in each
region's Consul, with which gateways verify what its applications sign.`,
		Args: onlyOthers,
		RunE: showHelp,
	}
	vault.bind(cmd)
	cmd.AddCommand(newTenantAdd(&vault), newTenantRotate(&vault), newTenantList(), newTenantRemove())
	return cmd
}

// bindRegistry adds the flags of Consul where it keeps API keys, which no folder can do instead.
func bindRegistry(cmd *cobra.Command, consul *consulOptions) {
	consul.bind(cmd)
	for name, usage := range map[string]string{
		"consul":             "https://HOST:PORT of a Consul agent, which leads to every region's API keys",
		"consul-auth-method": "Consul auth method for --consul-jwt-file",
	} {
		cmd.Flags().Lookup(name).Usage = usage
	}
}

func newTenantAdd(vault *operatorVault) *cobra.Command {
	var consul consulOptions
	var files []string
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Make a tenant's key in Vault and register its API keys in every region's Consul; again changes nothing",
		Long: `Make the key in Vault that wraps a tenant's data keys and, with --key, register the tenant's public API keys in
the Consul of every federated region, in place of those registered before. Doing it again changes nothing, so
what failed in one region is mended by the same command. One that Consul does not list, but where keys were registered
before, is named as failed. Each region has a Vault of its own: run it for each.`,
		Example: `  wardline tenant add clinic --key clinic.pem \
    --consul https://127.0.0.1:8501 --consul-ca-file ca.pem --consul-token-file token`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(files) > 0 && consul.address == "" {
				return errors.New("--consul: needed with --key, to register it")
			}
			keys, err := readPublicKeys(files)
			if err != nil {
				return fmt.Errorf("--key %w", err)
			}
			return vault.keeper(cmd, func(_ secrets.VaultConfig, keeper *secrets.Vault) error {
				if err := keeper.CreateTenant(cmd.Context(), args[0]); err != nil {
					return err
				}
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "tenant has a key: %s\n", args[0]); err != nil || len(keys) == 0 {
					return err
				}
				return registerTenant(cmd, consul, args[0], keys)
			})
		},
	}
	cmd.Flags().StringSliceVar(&files, "key", nil,
		"file with a public Ed25519 API key of the tenant, PEM or JWKS; repeatable. A PEM key's id is its RFC 7638 thumbprint")
	bindRegistry(cmd, &consul)
	return cmd
}

func newTenantRotate(vault *operatorVault) *cobra.Command {
	return &cobra.Command{
		Use:   "rotate NAME",
		Short: "Make a new version of a tenant's key; what older ones wrapped still opens",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return vault.keeper(cmd, func(_ secrets.VaultConfig, keeper *secrets.Vault) error {
				if err := keeper.RotateTenant(cmd.Context(), args[0]); err != nil {
					return err
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "rotated the key of tenant %s\n", args[0])
				return err
			})
		},
	}
}

func newTenantList() *cobra.Command {
	var consul consulOptions
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the tenants whose API keys are registered, their key ids and where",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var rows registrations
			err := inEveryRegion(cmd.Context(), consul, func(in registry) error {
				return rows.read(cmd.Context(), in.region, in.KV)
			})
			if rows.regions == nil && err != nil {
				return err
			}
			return errors.Join(failed(rows.write(cmd.OutOrStdout())), err)
		},
	}
	bindRegistry(cmd, &consul)
	return cmd
}

func newTenantRemove() *cobra.Command {
	var consul consulOptions
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Take a tenant's API keys out of every region's Consul",
		Long: `Take a tenant's API keys out of every region's Consul: what its applications sign is refused within a minute.
A region that Consul does not list, but where keys were registered, is named as failed: run it again once that is back.
Visits go on, and its key in Vault stays, since its records are opened with it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return inEveryRegion(cmd.Context(), consul, func(in registry) error {
				if err := in.Remove(cmd.Context(), args[0]); err != nil {
					return err
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: no API keys of %s any more\n", in.region, args[0])
				return err
			})
		},
	}
	bindRegistry(cmd, &consul)
	return cmd
}

func registerTenant(cmd *cobra.Command, consul consulOptions, tenant string, keys []secrets.PublicKey) error {
	return inEveryRegion(cmd.Context(), consul, func(in registry) error {
		if err := errors.Join(in.Register(cmd.Context(), tenant, keys), in.Remember(cmd.Context(), in.listed)); err != nil {
			return err
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: API keys of %s: %s\n", in.region, tenant, keyIDs(keys))
		return err
	})
}

// registrations are where which keys of a tenant are registered.
type registrations struct {
	regions map[registration][]string
}

// registration is a row of the list: a tenant has one, unless regions differ.
type registration struct{ tenant, keys string }

func (r *registrations) read(ctx context.Context, region string, known *tenants.KV) error {
	names, err := known.List(ctx)
	if err != nil {
		return err
	}
	if r.regions == nil {
		r.regions = make(map[registration][]string)
	}
	for _, name := range names {
		keys, err := known.TenantKeys(ctx, name)
		text := keyIDs(keys)
		if err != nil {
			text = "cannot be read, register them again"
		}
		row := registration{name, text}
		r.regions[row] = append(r.regions[row], region)
	}
	return nil
}

func (r *registrations) write(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TENANT\tKEYS\tREGIONS")
	rows := slices.SortedFunc(maps.Keys(r.regions), func(a, b registration) int {
		return strings.Compare(a.tenant+"\x00"+a.keys, b.tenant+"\x00"+b.keys)
	})
	for _, row := range rows {
		fmt.Fprintf(table, "%s\t%s\t%s\n", row.tenant, row.keys, strings.Join(r.regions[row], ", "))
	}
	return table.Flush()
}

func keyIDs(keys []secrets.PublicKey) string {
	ids := make([]string, 0, len(keys))
	for _, key := range keys {
		ids = append(ids, key.ID)
	}
	return strings.Join(ids, ", ")
}

// readPublicKeys reads the public keys of some files, each PEM (RFC 7468) or a JWKS (RFC 7517).
func readPublicKeys(paths []string) ([]secrets.PublicKey, error) {
	var all []secrets.PublicKey
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		keys, err := parsePublicKeys(content)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, keys...)
	}
	return all, nil
}

func parsePublicKeys(content []byte) ([]secrets.PublicKey, error) {
	block, _ := pem.Decode(content)
	switch {
	case block == nil && strings.HasPrefix(strings.TrimSpace(string(content)), "{"):
		return access.ParseJWKS(content)
	case block == nil:
		return nil, errors.New("holds neither a PEM block nor a JWKS")
	case strings.Contains(block.Type, "PRIVATE KEY"):
		return nil, errors.New("holds a private key; only the public half is registered")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%T, must be an Ed25519 public key", parsed)
	}
	return []secrets.PublicKey{{ID: secrets.Thumbprint(key), Key: key}}, nil
}
