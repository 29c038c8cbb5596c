package secrets

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/rs/zerolog"
)

// Where a region's Vault keeps what a Keeper asks for; vault-policies makes these mounts and keys.
const (
	// TokenMount is a transit engine: the keys that sign join tokens and audit checkpoints.
	TokenMount = "wardline/token"
	// TenantMount is a transit engine: the key-encryption keys of tenants, one a tenant, named after it.
	TenantMount = "wardline/tenants"
	// SharedMount is a KV version 2 engine: shared secrets under SharedPath.
	SharedMount = "wardline/kv"
	// SharedPath is the folder of shared secrets in SharedMount.
	SharedPath = "shared"
	// PKIMount is a PKI engine: the region's intermediate authority, with one role a component.
	PKIMount = "wardline/pki"
	// LoginMount is the JWT auth method that accepts the region's Nomad workload identities.
	LoginMount = "jwt-nomad"
	// TokenKey is the key in TokenMount that signs join tokens.
	TokenKey = "join-token"
	// CheckpointKey is the key in TokenMount that signs audit checkpoints.
	CheckpointKey = "audit-checkpoint"
)

// defaultVaultTimeout bounds one request to Vault.
const defaultVaultTimeout = 3 * time.Second

// VaultConfig says where a region's Vault is and how to log in. Exactly one of JWTFile and Token is given.
type VaultConfig struct {
	// Address is Vault's base URL, such as "https://vault.service.consul:8200"; https only.
	Address string
	// CAFile is the PEM authority of Vault's own certificate; empty means those of the system.
	CAFile string
	// JWTFile holds the Nomad workload identity, which Nomad replaces before it ends.
	JWTFile string
	// Role is the JWT role to log in as: the component's name.
	Role string
	// Token is a Vault token that somebody else keeps alive, as an operator's; it is not revoked by Close.
	Token string
	// Timeout bounds one request; zero means defaultVaultTimeout.
	Timeout time.Duration
	// Waiting, if not nil, is told after each attempt why OpenVault is not done yet.
	Waiting func(reason error)
	// Log is told of logins, lost and regained access, and renewals that fail.
	Log zerolog.Logger
}

func (c VaultConfig) check() error {
	address, err := url.Parse(c.Address)
	switch {
	case err != nil || address.Scheme != "https" || address.Host == "" || address.User != nil:
		return errors.New("vault address: must be https://HOST[:PORT]")
	case (c.JWTFile == "") == (c.Token == ""):
		return errors.New("vault login: either a workload identity file or a token is needed")
	case c.JWTFile != "" && !labelPattern.MatchString(c.Role):
		return fmt.Errorf("vault role %.40q: must match %s", c.Role, labelPattern)
	case c.Timeout < 0:
		return fmt.Errorf("vault timeout %s: must not be negative", c.Timeout)
	}
	return nil
}

// vaultPace is when things are asked again.
type vaultPace struct {
	// fresh is how old a cached answer may be before Vault is asked again; patience how long somebody who could be
	// given the older answer waits for the new one.
	fresh, patience time.Duration
	// settle is how long a version that another process made is published before this one signs or mints with it:
	// longer than the minute after which gateways and relays look for new keys by themselves.
	settle time.Duration
	// retry and retryMost are the shortest and the longest rest after a failure.
	retry, retryMost time.Duration
	// denied is how often a token that is refused something is replaced by a new login, at most.
	denied time.Duration
	// poolAge is how old a prefetched data key may be while Vault answers.
	poolAge time.Duration
	// watch is how often the identity file and certificates are looked at.
	watch time.Duration
	// reissue and reissueMost are the shortest and the longest rest after a failed renewal of a certificate; a third of
	// its life is left by then.
	reissue, reissueMost time.Duration
}

var normalVaultPace = vaultPace{
	fresh: 5 * time.Second, patience: 500 * time.Millisecond, settle: 90 * time.Second,
	retry: 200 * time.Millisecond, retryMost: 10 * time.Second,
	denied: 30 * time.Second, poolAge: time.Hour, watch: time.Second,
	reissue: time.Second, reissueMost: time.Minute,
}

// Vault is the Keeper of production: one region's Vault cluster. What it has read it keeps, so that visits go on
// while Vault is sealed, gone, slow or refuses; what only Vault can do fails within the configured timeout.
type Vault struct {
	client *vaultClient
	// anonymous logs in.
	anonymous *vaultClient
	session   *session
	pace      vaultPace
	log       zerolog.Logger

	signing signingVersion
	keys    *cached[tokenVersions]
	shared  *sharedSecrets
	pool    *keyPool
	tasks   *tasks
}

var _ Keeper = (*Vault)(nil)

// OpenVault logs in to a region's Vault and keeps the login alive until Close. While Vault cannot be reached it
// tries again until ctx ends; a login that is refused fails at once with ErrDenied.
func OpenVault(ctx context.Context, config VaultConfig) (*Vault, error) {
	return openVault(ctx, config, normalVaultPace)
}

func openVault(ctx context.Context, config VaultConfig, pace vaultPace) (*Vault, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	client, err := newVaultClient(config)
	if err != nil {
		return nil, err
	}
	anonymous, err := newVaultClient(config)
	if err != nil {
		return nil, err
	}
	v := &Vault{client: client, anonymous: anonymous, pace: pace, log: config.Log, tasks: newTasks()}
	v.session = newSession(client, anonymous, config, pace)
	client.session = v.session
	v.keys = newCached(v.tasks, pace, v.readTokenVersions)
	v.shared = &sharedSecrets{vault: v, named: make(map[string]*sharedEntry)}
	v.pool = newKeyPool(v.tasks, pace, v.fetchDataKey)
	if err := v.session.start(ctx, v.tasks); err != nil {
		return nil, errors.Join(fmt.Errorf("open vault: %w", err), v.Close())
	}
	return v, nil
}

// Ready says why Vault is of no use right now, if so: not reachable, sealed, the login refused, or the last request
// to one of its mounts failed. It bounds itself by ctx.
func (v *Vault) Ready(ctx context.Context) error {
	if err := v.client.healthy(ctx); err != nil {
		return err
	}
	if err := v.session.ready(); err != nil {
		return err
	}
	return v.client.failing()
}

// Client is the client that is logged in, for what a Keeper does not do, such as snapshots. It is good until Close.
func (v *Vault) Client() *api.Client { return v.client.api }

// Close ends everything that runs in the background, revokes the login and forgets keys in memory. It takes at
// most two request timeouts.
func (v *Vault) Close() error {
	v.tasks.stop()
	v.session.revoke()
	v.pool.clear()
	v.client.close()
	v.anonymous.close()
	return nil
}

// tasks are the goroutines of one keeper: each ends with its context, and stop waits for them.
type tasks struct {
	life   context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	stopped bool
	wg      sync.WaitGroup
}

func newTasks() *tasks {
	life, cancel := context.WithCancel(context.Background())
	return &tasks{life: life, cancel: cancel}
}

// run starts a goroutine, or reports false where stop was called.
func (t *tasks) run(task func(ctx context.Context)) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return false
	}
	t.wg.Go(func() { task(t.life) })
	return true
}

func (t *tasks) stop() {
	t.cancel()
	t.mu.Lock()
	t.stopped = true
	t.mu.Unlock()
	t.wg.Wait()
}
