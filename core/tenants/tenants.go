// Package tenants keeps the public API keys that tenants have registered: Dir in a folder of one machine, KV in a
// key-value store that all gateways of a region read. Both pass the same conformance suite, tenantstest.
package tenants

import (
	"fmt"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/signaling"
)

func checkName(tenant string) error {
	if !signaling.ValidID(tenant) {
		return fmt.Errorf("tenant %.70q: must be 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit", tenant)
	}
	return nil
}

// encode renders keys as they are kept: as a JWKS (RFC 7517). What could not be read back is refused.
func encode(tenant string, keys []secrets.PublicKey) ([]byte, error) {
	if err := checkName(tenant); err != nil {
		return nil, err
	}
	content, err := access.JWKS(keys)
	if err == nil {
		_, err = access.ParseJWKS(content)
	}
	if err != nil {
		return nil, fmt.Errorf("register tenant %q: %w", tenant, err)
	}
	return content, nil
}

func unknown(tenant string) error {
	return fmt.Errorf("keys of tenant %q: %w", tenant, secrets.ErrNotFound)
}
