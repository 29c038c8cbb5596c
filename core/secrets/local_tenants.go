package secrets

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/wardline/wardline/core/signaling"
)

const (
	// dataKeyBytes is the size of data keys and of the keys that wrap them: AES-256.
	dataKeyBytes = 32
	// wrapPrefix starts a wrapped key and is followed by the version, ':' and the sealed key in base64.
	wrapPrefix = "local:v"
)

// tenantKey is a tenant's key-encryption key, oldest version first, counted from 1.
type tenantKey struct {
	Tenant   string   `json:"tenant"`
	Versions [][]byte `json:"versions"`
}

func (k *tenantKey) check() error {
	if len(k.Versions) == 0 {
		return errors.New("no key version")
	}
	for i, version := range k.Versions {
		if len(version) != dataKeyBytes {
			return fmt.Errorf("key version %d of %d bytes, must be %d", i+1, len(version), dataKeyBytes)
		}
	}
	return nil
}

func (k *tenantKey) rotate() error {
	fresh := make([]byte, dataKeyBytes)
	if _, err := rand.Read(fresh); err != nil {
		return err
	}
	k.Versions = append(k.Versions, fresh)
	return nil
}

// associated binds a wrapped key to its tenant and version, so neither can be exchanged.
func (k *tenantKey) associated(version int) []byte {
	return []byte("wardline data key/" + k.Tenant + "/" + strconv.Itoa(version))
}

func (k *tenantKey) wrap(plain []byte) ([]byte, error) {
	version := len(k.Versions)
	aead, err := newAEAD(k.Versions[version-1])
	if err != nil {
		return nil, err
	}
	sealed := aead.Seal(nil, nil, plain, k.associated(version)) //nolint:gosec // G407: the AEAD makes its own nonce
	return []byte(wrapPrefix + strconv.Itoa(version) + ":" + base64.StdEncoding.EncodeToString(sealed)), nil
}

func (k *tenantKey) unwrap(wrapped []byte) ([]byte, error) {
	rest, found := strings.CutPrefix(string(wrapped), wrapPrefix)
	number, encoded, separated := strings.Cut(rest, ":")
	version, err := strconv.Atoi(number)
	if !found || !separated || err != nil || version < 1 || version > len(k.Versions) || number != strconv.Itoa(version) {
		return nil, ErrTampered
	}
	// Strict: otherwise several texts would stand for one wrapped key.
	sealed, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || strings.ContainsAny(encoded, "\r\n") {
		return nil, ErrTampered
	}
	aead, err := newAEAD(k.Versions[version-1])
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, sealed, k.associated(version))
	if err != nil || len(plain) != dataKeyBytes {
		return nil, ErrTampered
	}
	return plain, nil
}

// newAEAD returns AES-GCM that puts a random nonce before what it seals.
func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func tenantFile(tenant string) (string, error) {
	if !signaling.ValidID(tenant) {
		return "", fmt.Errorf("tenant %.70q: 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit", tenant)
	}
	return "tenants/" + tenant + ".json", nil
}

// foundTenant says what a missing file means, and notices a file system that ignores the case of names.
func foundTenant(err error, key tenantKey, tenant string) error {
	if err == nil && key.Tenant == tenant {
		return nil
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = ErrNotFound
	}
	return fmt.Errorf("key of tenant %q: %w", tenant, err)
}

func (l *Local) tenantKey(ctx context.Context, tenant string) (*tenantKey, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	file, err := tenantFile(tenant)
	if err != nil {
		return nil, err
	}
	var key tenantKey
	err = l.folder.read(file, &key)
	if err := foundTenant(err, key, tenant); err != nil {
		return nil, err
	}
	return &key, nil
}

// NewDataKey implements Keeper.
func (l *Local) NewDataKey(ctx context.Context, tenant string) (DataKey, error) {
	key, err := l.tenantKey(ctx, tenant)
	if err != nil {
		return DataKey{}, err
	}
	plain := make([]byte, dataKeyBytes)
	if _, err := rand.Read(plain); err != nil {
		return DataKey{}, fmt.Errorf("data key of tenant %q: %w", tenant, err)
	}
	wrapped, err := key.wrap(plain)
	if err != nil {
		return DataKey{}, fmt.Errorf("data key of tenant %q: %w", tenant, err)
	}
	return DataKey{Plain: plain, Wrapped: wrapped}, nil
}

// Unwrap implements Keeper.
func (l *Local) Unwrap(ctx context.Context, tenant string, wrapped []byte) ([]byte, error) {
	key, err := l.tenantKey(ctx, tenant)
	if err != nil {
		return nil, err
	}
	plain, err := key.unwrap(wrapped)
	if err != nil {
		return nil, fmt.Errorf("data key of tenant %q: %w", tenant, err)
	}
	return plain, nil
}

// Rewrap implements Keeper.
func (l *Local) Rewrap(ctx context.Context, tenant string, wrapped []byte) ([]byte, error) {
	key, err := l.tenantKey(ctx, tenant)
	if err != nil {
		return nil, err
	}
	plain, err := key.unwrap(wrapped)
	if err != nil {
		return nil, fmt.Errorf("data key of tenant %q: %w", tenant, err)
	}
	return key.wrap(plain)
}

// CreateTenant implements Keeper.
func (l *Local) CreateTenant(ctx context.Context, tenant string) error {
	file, err := tenantFile(tenant)
	if err != nil {
		return err
	}
	key := tenantKey{Tenant: tenant}
	err = l.folder.ensure(ctx, file, &key, key.rotate)
	return foundTenant(err, key, tenant)
}

// RotateTenant implements Keeper.
func (l *Local) RotateTenant(ctx context.Context, tenant string) error {
	file, err := tenantFile(tenant)
	if err != nil {
		return err
	}
	var key tenantKey
	err = l.folder.change(ctx, file, &key, func() error {
		if key.Tenant != tenant {
			return fs.ErrNotExist
		}
		return key.rotate()
	})
	return foundTenant(err, key, tenant)
}
