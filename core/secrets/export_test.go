package secrets

import (
	"context"
	"time"
)

// AtExit, if set, runs after the tests and before goroutines are counted.
var AtExit func()

// OpenFastVault is OpenVault for tests that cannot wait: caches, rests and looks are short.
func OpenFastVault(ctx context.Context, config VaultConfig, settle, poolAge time.Duration) (*Vault, error) {
	return openVault(ctx, config, vaultPace{
		fresh: 20 * time.Millisecond, patience: 100 * time.Millisecond, settle: settle,
		retry: 10 * time.Millisecond, retryMost: 50 * time.Millisecond,
		denied: 0, poolAge: poolAge, watch: 10 * time.Millisecond,
		reissue: 10 * time.Millisecond, reissueMost: 50 * time.Millisecond,
	})
}

// PoolKeys is how many data keys are held ready for a tenant.
const PoolKeys = poolKeys

// Pooled is how many data keys are ready for a tenant.
func (v *Vault) Pooled(tenant string) int {
	v.pool.mu.Lock()
	defer v.pool.mu.Unlock()
	if held := v.pool.tenants[tenant]; held != nil && !held.filling {
		return len(held.keys)
	}
	return 0
}

// Token is the Vault token in use.
func (v *Vault) Token() string { return v.client.api.Token() }

// Logins counts the successful ones.
func (v *Vault) Logins() int { return v.session.generation() }
