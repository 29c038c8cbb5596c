package access

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/google/renameio/v2"

	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/signaling"
)

// TenantDir holds the registered keys of tenants as files TENANT.jwks.json in a folder. Files may be added
// and replaced while it is in use.
type TenantDir struct {
	dir string

	mu    sync.Mutex
	cache map[string]tenantFile
}

// tenantFile is a parsed file and what it looked like on disk then.
type tenantFile struct {
	info fs.FileInfo
	keys []secrets.PublicKey
}

var _ TenantKeys = (*TenantDir)(nil)

// OpenTenantDir uses a folder, which need not exist before the first Register.
func OpenTenantDir(dir string) *TenantDir {
	return &TenantDir{dir: dir, cache: make(map[string]tenantFile)}
}

func (d *TenantDir) path(tenant string) (string, error) {
	if !signaling.ValidID(tenant) {
		return "", fmt.Errorf("tenant %.70q: %s", tenant, idRule)
	}
	return filepath.Join(d.dir, tenant+".jwks.json"), nil
}

// TenantKeys implements TenantKeys. It reads the file again when it has changed.
func (d *TenantDir) TenantKeys(ctx context.Context, tenant string) ([]secrets.PublicKey, error) {
	path, err := d.path(tenant)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		delete(d.cache, tenant)
		return nil, fmt.Errorf("keys of tenant %q: %w", tenant, secrets.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("keys of tenant %q: %w", tenant, err)
	}
	if cached, found := d.cache[tenant]; found && unchanged(cached.info, info) {
		return cached.keys, nil
	}
	keys, err := readJWKS(path)
	if err != nil {
		return nil, fmt.Errorf("keys of tenant %q: %w", tenant, err)
	}
	d.cache[tenant] = tenantFile{info: info, keys: keys}
	return keys, nil
}

// unchanged also compares which file it is: two replacements may fall into one tick of the file system's clock.
func unchanged(before, after fs.FileInfo) bool {
	return os.SameFile(before, after) && before.ModTime().Equal(after.ModTime()) && before.Size() == after.Size()
}

func readJWKS(path string) ([]secrets.PublicKey, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // nothing was written
	content, err := io.ReadAll(io.LimitReader(file, MaxJWKSBytes+1))
	if err != nil {
		return nil, err
	}
	keys, err := ParseJWKS(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return keys, nil
}

// Register replaces a tenant's keys in one step.
func (d *TenantDir) Register(tenant string, keys []secrets.PublicKey) (err error) {
	path, err := d.path(tenant)
	if err != nil {
		return err
	}
	content, err := JWKS(keys)
	if err != nil {
		return fmt.Errorf("register tenant %q: %w", tenant, err)
	}
	// What would not be read back must not replace what can be.
	if _, err := ParseJWKS(content); err != nil {
		return fmt.Errorf("register tenant %q: %w", tenant, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("register tenant %q: %w", tenant, err)
	}
	if err := renameio.WriteFile(path, content, 0o600); err != nil {
		return fmt.Errorf("register tenant %q: %w", tenant, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.cache, tenant)
	return nil
}
