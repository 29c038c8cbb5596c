package tenants

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/google/renameio/v2"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/secrets"
)

// fileSuffix follows a tenant's name.
const fileSuffix = ".jwks.json"

// Dir keeps keys as files TENANT.jwks.json in a folder. Files may be added and replaced while it is in use.
type Dir struct {
	dir string

	mu    sync.Mutex
	cache map[string]file
}

// file is a parsed file and what it looked like on disk then.
type file struct {
	info fs.FileInfo
	keys []secrets.PublicKey
}

var _ access.TenantKeys = (*Dir)(nil)

// OpenDir uses a folder, which need not exist before the first Register.
func OpenDir(dir string) *Dir {
	return &Dir{dir: dir, cache: make(map[string]file)}
}

func (d *Dir) path(tenant string) string { return filepath.Join(d.dir, tenant+fileSuffix) }

// TenantKeys implements access.TenantKeys. It reads the file again when it has changed.
func (d *Dir) TenantKeys(ctx context.Context, tenant string) ([]secrets.PublicKey, error) {
	if err := checkName(tenant); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	path := d.path(tenant)
	d.mu.Lock()
	defer d.mu.Unlock()
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		delete(d.cache, tenant)
		return nil, unknown(tenant)
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
	d.cache[tenant] = file{info: info, keys: keys}
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
	content, err := io.ReadAll(io.LimitReader(file, access.MaxJWKSBytes+1))
	if err != nil {
		return nil, err
	}
	keys, err := access.ParseJWKS(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return keys, nil
}

// Register replaces a tenant's keys in one step.
func (d *Dir) Register(ctx context.Context, tenant string, keys []secrets.PublicKey) error {
	content, err := encode(tenant, keys)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return fmt.Errorf("register tenant %q: %w", tenant, err)
	}
	if err := renameio.WriteFile(d.path(tenant), content, 0o600); err != nil {
		return fmt.Errorf("register tenant %q: %w", tenant, err)
	}
	d.forget(tenant)
	return nil
}

// Remove takes a tenant's keys away; it is no error if there are none.
func (d *Dir) Remove(ctx context.Context, tenant string) error {
	if err := errors.Join(checkName(tenant), ctx.Err()); err != nil {
		return err
	}
	if err := os.Remove(d.path(tenant)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove tenant %q: %w", tenant, err)
	}
	d.forget(tenant)
	return nil
}

func (d *Dir) forget(tenant string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.cache, tenant)
}

// List returns the names of tenants with registered keys, in order.
func (d *Dir) List(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(d.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list tenants: %w", err)
	}
	var names []string
	for _, entry := range entries {
		if name, found := strings.CutSuffix(entry.Name(), fileSuffix); found && checkName(name) == nil {
			names = append(names, name)
		}
	}
	return names, nil
}
