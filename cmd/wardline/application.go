package main

import (
	"cmp"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/wardline/wardline/core/secrets"
)

// application is who creates visits by the API: a tenant, with one of its registered keys.
type application struct {
	tenant, keyFile, keyID string
}

func (a *application) bind(f *pflag.FlagSet) {
	f.StringVar(&a.tenant, "tenant", devTenant, "tenant whose visits they are")
	f.StringVar(&a.keyFile, "tenant-key", "", "PEM file with a private API key of the tenant (default: that of the dev tenant in --data)")
	f.StringVar(&a.keyID, "tenant-key-id", "",
		"key id under which the public half is registered (default: its RFC 7638 thumbprint, "+devTenantKeyID+" for the key in --data)")
}

// key reads the private key. data is where the dev tenant's is.
func (a *application) key(data string) (key ed25519.PrivateKey, id string, err error) {
	key, err = readTenantKey(cmp.Or(a.keyFile, tenantKeyPath(data)))
	if err != nil {
		return nil, "", fmt.Errorf("--tenant-key: %w", err)
	}
	if a.keyID != "" || a.keyFile == "" {
		return key, cmp.Or(a.keyID, devTenantKeyID), nil
	}
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return nil, "", errors.New("--tenant-key: not an Ed25519 key")
	}
	return key, secrets.Thumbprint(public), nil
}
