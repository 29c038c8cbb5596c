package secrets

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/wardline/wardline/core/signaling"
)

// tenantKeyName is which tenants Vault can name a key after: it takes no name that ends in '.' or '-'.
var tenantKeyName = regexp.MustCompile(`[A-Za-z0-9_]$`)

func tenantPath(operation, tenant string) (string, error) {
	if !signaling.ValidID(tenant) || !tenantKeyName.MatchString(tenant) {
		return "", fmt.Errorf("tenant %.70q: 1 to 64 letters, digits, '.', '_' or '-', "+
			"the first a letter or digit, the last a letter, digit or '_'", tenant)
	}
	return TenantMount + "/" + strings.Replace(operation, "NAME", tenant, 1), nil
}

// onTenant asks for an operation of a tenant's key.
func (v *Vault) onTenant(ctx context.Context, tenant, operation string, body map[string]any) (map[string]any, error) {
	path, err := tenantPath(operation, tenant)
	if err != nil {
		return nil, err
	}
	secret, err := v.client.write(ctx, path, body)
	if err != nil {
		return nil, fmt.Errorf("key of tenant %q: %w", tenant, err)
	}
	if secret == nil {
		return nil, nil
	}
	return secret.Data, nil
}

// NewDataKey implements Keeper. While Vault does not answer it hands out keys that were prefetched for tenants seen
// before, a few each.
func (v *Vault) NewDataKey(ctx context.Context, tenant string) (DataKey, error) {
	if err := ctx.Err(); err != nil {
		return DataKey{}, err
	}
	if _, err := tenantPath("", tenant); err != nil {
		return DataKey{}, err
	}
	return v.pool.take(ctx, tenant)
}

// fetchDataKey asks Vault for a data key.
func (v *Vault) fetchDataKey(ctx context.Context, tenant string) (DataKey, error) {
	data, err := v.onTenant(ctx, tenant, "datakey/plaintext/NAME", map[string]any{"bits": dataKeyBytes * 8})
	if err != nil {
		return DataKey{}, err
	}
	plain, err := decodeDataKey(data)
	if err != nil {
		return DataKey{}, fmt.Errorf("data key of tenant %q: %w", tenant, err)
	}
	wrapped, _ := data["ciphertext"].(string)
	if !wellWrapped(wrapped) {
		return DataKey{}, fmt.Errorf("data key of tenant %q: the answer has no wrapped key", tenant)
	}
	return DataKey{Plain: plain, Wrapped: []byte(wrapped)}, nil
}

func decodeDataKey(data map[string]any) ([]byte, error) {
	text, _ := data["plaintext"].(string)
	plain, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(plain) != dataKeyBytes {
		return nil, fmt.Errorf("not a key of %d bytes", dataKeyBytes) // the decoder's error could quote the key
	}
	return plain, nil
}

var wrappedPattern = regexp.MustCompile(`^vault:v[1-9]\d{0,8}:([A-Za-z0-9+/]+={0,2})$`)

// wellWrapped reports whether a text is how transit writes a ciphertext. Strict base64, because otherwise several
// texts would stand for one wrapped key.
func wellWrapped(text string) bool {
	found := wrappedPattern.FindStringSubmatch(text)
	if found == nil {
		return false
	}
	_, err := base64.StdEncoding.Strict().DecodeString(found[1])
	return err == nil
}

// onWrapped is onTenant for an operation on a wrapped key. One that Vault rejects is ErrTampered.
func (v *Vault) onWrapped(ctx context.Context, tenant, operation string, wrapped []byte) (map[string]any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if _, err := tenantPath("", tenant); err != nil {
		return nil, err
	}
	if !wellWrapped(string(wrapped)) {
		return nil, fmt.Errorf("data key of tenant %q: %w", tenant, ErrTampered)
	}
	data, err := v.onTenant(ctx, tenant, operation, map[string]any{"ciphertext": string(wrapped)})
	if errors.Is(err, errRejected) {
		err = fmt.Errorf("%w: %w", ErrTampered, err)
	}
	return data, err
}

// Unwrap implements Keeper.
func (v *Vault) Unwrap(ctx context.Context, tenant string, wrapped []byte) ([]byte, error) {
	data, err := v.onWrapped(ctx, tenant, "decrypt/NAME", wrapped)
	if err != nil {
		return nil, err
	}
	plain, err := decodeDataKey(data)
	if err != nil {
		return nil, fmt.Errorf("data key of tenant %q: %w: %w", tenant, ErrTampered, err)
	}
	return plain, nil
}

// Rewrap implements Keeper.
func (v *Vault) Rewrap(ctx context.Context, tenant string, wrapped []byte) ([]byte, error) {
	data, err := v.onWrapped(ctx, tenant, "rewrap/NAME", wrapped)
	if err != nil {
		return nil, err
	}
	renewed, _ := data["ciphertext"].(string)
	if !wellWrapped(renewed) {
		return nil, fmt.Errorf("data key of tenant %q: the answer has no wrapped key", tenant)
	}
	return []byte(renewed), nil
}

// CreateTenant implements Keeper.
func (v *Vault) CreateTenant(ctx context.Context, tenant string) error {
	_, err := v.onTenant(ctx, tenant, "keys/NAME", map[string]any{"type": "aes256-gcm96"})
	return err
}

// RotateTenant implements Keeper.
func (v *Vault) RotateTenant(ctx context.Context, tenant string) error {
	_, err := v.onTenant(ctx, tenant, "keys/NAME/rotate", nil)
	if err == nil {
		v.pool.drop(tenant) // they are wrapped under the version before
	}
	return err
}
