package secrets

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
)

// vaultClient makes requests: each bounded in time, with errors that name the path and never what was sent.
type vaultClient struct {
	api       *api.Client
	transport *http.Transport
	// session replaces a token that is refused; nil lets refusals be.
	session *session

	mu sync.Mutex
	// failures are the last outcomes that were not successes, by mount.
	failures map[string]failure
}

// failure is how a request ended, and when.
type failure struct {
	err error
	at  time.Time
}

// failureMemory is how long a failure counts where nobody has asked the mount again.
const failureMemory = time.Minute

// newVaultClient makes a client that takes nothing from the environment, as the library otherwise would: a
// VAULT_SKIP_VERIFY or VAULT_TOKEN of a node must not reach a component.
func newVaultClient(config VaultConfig) (*vaultClient, error) {
	client, transport, err := newAPIClient(config)
	if err != nil {
		return nil, err
	}
	return &vaultClient{api: client, transport: transport, failures: make(map[string]failure)}, nil
}

// NewVaultClient makes a plain client for those who set Vault up, with the address, authority, token and timeout
// of a config. It takes nothing from the environment and repeats nothing.
func NewVaultClient(config VaultConfig) (*api.Client, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	client, _, err := newAPIClient(config)
	return client, err
}

func newAPIClient(config VaultConfig) (*api.Client, *http.Transport, error) {
	timeout := config.Timeout
	if timeout == 0 {
		timeout = defaultVaultTimeout
	}
	roots, err := readRoots(config.CAFile)
	if err != nil {
		return nil, nil, err
	}
	// HTTP/1.1, whose connections end with a request that got no answer; one of HTTP/2 would be used again.
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: timeout}).DialContext,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout: timeout,
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     time.Minute,
	}
	client, err := api.NewClient(&api.Config{
		Address:    config.Address,
		HttpClient: &http.Client{Transport: transport, CheckRedirect: refuseRedirect},
		Timeout:    timeout,
		// Repeating a rotation would end the previous key early, so the library repeats nothing.
		MaxRetries:       0,
		DisableRedirects: true,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("vault client: %w", err)
	}
	client.ClearNamespace()
	client.SetHeaders(http.Header{api.RequestHeaderName: {"true"}})
	client.SetToken(config.Token)
	return client, transport, nil
}

// refuseRedirect keeps a token from following wherever an answer points; a standby forwards by itself.
func refuseRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// readRoots reads a PEM file of authorities; no file means those of the system.
func readRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // what tls.Config takes for the system's
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("vault authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("vault authority %s: holds no PEM certificate", path)
	}
	return roots, nil
}

// read asks for a path. It fails with ErrNotFound where there is nothing.
func (c *vaultClient) read(ctx context.Context, path string, query map[string][]string) (*api.Secret, error) {
	return c.request(ctx, path, func() (*api.Secret, error) {
		secret, err := c.api.Logical().ReadWithDataWithContext(ctx, path, query)
		if err == nil && secret == nil {
			err = errNoAnswer
		}
		return secret, err
	})
}

// write sends a body to a path. The answer is nil where Vault answers with nothing.
func (c *vaultClient) write(ctx context.Context, path string, body map[string]any) (*api.Secret, error) {
	return c.request(ctx, path, func() (*api.Secret, error) {
		return c.api.Logical().WriteWithContext(ctx, path, body)
	})
}

// request runs once, and once more where the token turned out to be lost and a new one was had.
func (c *vaultClient) request(ctx context.Context, path string, send func() (*api.Secret, error)) (*api.Secret, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var used int
	if c.session != nil {
		used = c.session.generation()
	}
	secret, err := send()
	if refused(err) && c.session != nil && c.session.replace(ctx, used) {
		secret, err = send()
	}
	if cause := ctx.Err(); err != nil && cause != nil {
		// What the asker gave up says nothing of Vault.
		return nil, fmt.Errorf("vault %s: %w", path, cause)
	}
	err = vaultError(path, err)
	c.note(path, err)
	return secret, err
}

// note remembers how the last request to a mount ended. That something is not there is no failure.
func (c *vaultClient) note(path string, err error) {
	mount := mountOf(path)
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(err, ErrUnavailable) || errors.Is(err, ErrDenied) {
		c.failures[mount] = failure{err, time.Now()}
	} else {
		delete(c.failures, mount)
	}
}

// mountOf is the part of a path before what the engine defines: two segments for this product's mounts.
func mountOf(path string) string {
	parts := strings.SplitN(path, "/", 3)
	return strings.Join(parts[:min(2, len(parts))], "/")
}

// failing returns a recent failure of a mount, if there is one.
func (c *vaultClient) failing() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, mount := range slices.Sorted(maps.Keys(c.failures)) {
		if last := c.failures[mount]; time.Since(last.at) < failureMemory {
			return last.err
		}
	}
	return nil
}

// healthy asks Vault without a token whether it is unsealed and has a leader.
func (c *vaultClient) healthy(ctx context.Context) error {
	health, err := c.api.Sys().HealthWithContext(ctx)
	switch {
	case err != nil:
		return vaultError("sys/health", err)
	case !health.Initialized:
		return fmt.Errorf("vault: %w: not initialized", ErrUnavailable)
	case health.Sealed:
		return fmt.Errorf("vault: %w: sealed", ErrUnavailable)
	}
	return nil
}

// clockOffset is how far Vault's clock is ahead of this machine's, to the second.
func (c *vaultClient) clockOffset(ctx context.Context) (time.Duration, bool) {
	health, err := c.api.Sys().HealthWithContext(ctx)
	if err != nil || health.ServerTimeUTC == 0 {
		return 0, false
	}
	return time.Until(time.Unix(health.ServerTimeUTC, 0)).Round(time.Second), true
}

func (c *vaultClient) close() { c.transport.CloseIdleConnections() }
