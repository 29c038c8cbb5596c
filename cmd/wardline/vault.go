package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/tenants"
)

// vaultOptions say which Vault is meant.
type vaultOptions struct{ address, caFile string }

// workloadVault is how a component uses Vault: what it is told and nothing of the environment that Vault's own
// command reads, since a node's token must not become a component's.
type workloadVault struct {
	vaultOptions
	jwtFile, role string
}

func (o *workloadVault) bind(cmd *cobra.Command, component string) {
	f := cmd.Flags()
	f.StringVar(&o.address, "vault", "",
		"https://HOST:PORT of the region's Vault, which then keeps every secret (default: the --data folder)")
	f.StringVar(&o.caFile, "vault-ca-file", "", "PEM file of the authority behind Vault's certificate (default: the system's)")
	f.StringVar(&o.jwtFile, "vault-jwt-file", "",
		"file with the workload identity (JWT) to log in with to Vault; read again when it changes")
	f.StringVar(&o.role, "vault-role", component, "Vault role to log in as")
}

// check says which flag is missing.
func (o *workloadVault) check() error {
	switch {
	case o.address == "" && (o.jwtFile != "" || o.caFile != ""):
		return errors.New("--vault: needed with --vault-jwt-file and --vault-ca-file")
	case o.address != "" && o.jwtFile == "":
		return errors.New("--vault-jwt-file: needed with --vault, to log in")
	}
	return nil
}

// openVault logs in to Vault, however long that takes, and registers tenants where every gateway of the region
// looks for them.
func (p *process) openVault(ctx context.Context) error {
	o := p.options.vault
	vault, err := secrets.OpenVault(ctx, secrets.VaultConfig{
		Address: o.address, CAFile: o.caFile, JWTFile: o.jwtFile, Role: o.role, Log: p.log,
		Waiting: func(reason error) { p.start.wait("Vault", reason) },
	})
	switch {
	case errors.Is(err, secrets.ErrDenied), errors.Is(err, secrets.ErrUnavailable), ctx.Err() != nil:
		return failed(fmt.Errorf("--vault %s: %w", o.address, err))
	case err != nil:
		return fmt.Errorf("--vault %s: %w", o.address, err)
	}
	p.closers = append(p.closers, vault)
	p.keeper, p.vault, p.tenants = vault, vault, tenants.NewKV(p.discovery)
	p.admin.AddDependency("vault", vault.Ready)
	return nil
}

// certificateRetry is the rest before a start that has no certificate yet asks again.
const certificateRetry = time.Second

// certificates has the keeper issue a role's certificate, kept fresh until ctx ends. A start waits for a Vault that
// cannot.
func (p *process) certificates(ctx context.Context, role string, hosts ...string) (secrets.CertificateSource, error) {
	for told := error(nil); ; {
		source, err := p.keeper.Certificates(ctx, role, hosts...)
		if err == nil || p.vault == nil || !errors.Is(err, secrets.ErrUnavailable) {
			return source, failed(err)
		}
		p.start.wait("a certificate", err)
		if !secrets.SameTrouble(told, err) {
			told = err
			p.log.Warn().Err(err).Msg("no certificate yet, trying again")
		}
		select {
		case <-ctx.Done():
			return nil, failed(ctx.Err())
		case <-time.After(certificateRetry):
		}
	}
}

// administrationTimeout bounds one request of an operator, who would rather wait than fail.
const administrationTimeout = 30 * time.Second

// loginTimeout is how long a job waits for a Vault that is away; it is run again.
const loginTimeout = time.Minute

// operatorVault is how a person uses Vault. The token is never a flag: command lines show in process lists.
type operatorVault struct {
	vaultOptions
	tokenFile string
}

func (o *operatorVault) bind(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&o.address, "vault", "", "https URL of the region's Vault (default: VAULT_ADDR)")
	f.StringVar(&o.caFile, "vault-ca-file", "", "PEM authority of Vault's certificate (default: VAULT_CACERT, else the system's)")
	f.StringVar(&o.tokenFile, "vault-token-file", "", "file with a Vault token (default: VAULT_TOKEN, else ~/.vault-token)")
}

// config takes what was not given from where Vault's own command takes it.
func (o *operatorVault) config() (secrets.VaultConfig, error) {
	config, err := o.where()
	if err != nil {
		return config, err
	}
	config.Token, err = o.token()
	return config, err
}

// where is config without a login.
func (o *operatorVault) where() (secrets.VaultConfig, error) {
	config := secrets.VaultConfig{
		Address: o.address, CAFile: o.caFile, Timeout: administrationTimeout, Log: zerolog.Nop(),
	}
	if config.Address == "" {
		config.Address = os.Getenv("VAULT_ADDR")
	}
	if config.Address == "" {
		return config, errors.New("--vault: needed, or VAULT_ADDR")
	}
	if config.CAFile == "" {
		config.CAFile = os.Getenv("VAULT_CACERT")
	}
	return config, nil
}

func (o *operatorVault) token() (string, error) {
	path := o.tokenFile
	if path == "" {
		if token := os.Getenv("VAULT_TOKEN"); token != "" {
			return token, nil
		}
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("--vault-token-file: %w", err)
		}
		path = filepath.Join(home, ".vault-token")
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("--vault-token-file, VAULT_TOKEN or a login with vault login: %w", err)
	}
	token := strings.TrimSpace(string(content))
	if token == "" {
		return "", fmt.Errorf("--vault-token-file %s: empty", path)
	}
	return token, nil
}

// keeper opens the Vault that an operator means and runs what is to be done with it.
func (o *operatorVault) keeper(cmd *cobra.Command, do func(config secrets.VaultConfig, keeper *secrets.Vault) error) error {
	config, err := o.config()
	if err != nil {
		return err
	}
	return withKeeper(cmd, config, do)
}

func withKeeper(cmd *cobra.Command, config secrets.VaultConfig, do func(secrets.VaultConfig, *secrets.Vault) error) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), loginTimeout)
	defer cancel()
	keeper, err := secrets.OpenVault(ctx, config)
	switch {
	case err != nil && ctx.Err() != nil, errors.Is(err, secrets.ErrDenied):
		return failed(err)
	case err != nil: // nothing has been asked yet: what is wrong is the configuration
		return fmt.Errorf("--vault %s: %w", config.Address, err)
	}
	return failed(errors.Join(do(config, keeper), keeper.Close()))
}

// jobLogin is the login of a command that an operator runs by hand and a job on schedule.
type jobLogin struct{ jwtFile, role string }

func (l *jobLogin) bind(cmd *cobra.Command, role string) {
	f := cmd.Flags()
	f.StringVar(&l.jwtFile, "vault-jwt-file", "", "file with a Nomad workload identity to log in with, instead of a token")
	f.StringVar(&l.role, "vault-role", role, "with --vault-jwt-file: Vault role to log in as")
}

// keeper is that of operatorVault, with the job's login if there is one.
func (l *jobLogin) keeper(vault *operatorVault, cmd *cobra.Command, do func(secrets.VaultConfig, *secrets.Vault) error) error {
	if l.jwtFile == "" {
		return vault.keeper(cmd, do)
	}
	if vault.tokenFile != "" {
		return errors.New("--vault-jwt-file and --vault-token-file: only one of them")
	}
	config, err := vault.where()
	if err != nil {
		return err
	}
	config.JWTFile, config.Role = l.jwtFile, l.role
	return withKeeper(cmd, config, do)
}
