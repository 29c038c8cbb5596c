// Package secrets is every key, certificate and shared secret a component needs.
//
// Keeper is kept by a Vault cluster in production and by a folder on local disk in dev. Both pass
// the same conformance suite, secretstest.
package secrets

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"time"
)

// Errors every implementation returns, wrapped with what was asked for.
var (
	// ErrUnavailable says that the keeper cannot be reached or is sealed; trying later may help.
	ErrUnavailable = errors.New("secrets unavailable")
	// ErrNotFound says that the named key, secret or tenant does not exist.
	ErrNotFound = errors.New("secret not found")
	// ErrDenied says that the keeper refuses: by policy, or because it does not accept who asks.
	ErrDenied = errors.New("secrets access denied")
	// ErrTampered says that a wrapped key does not open under the given tenant.
	ErrTampered = errors.New("wrapped key does not open")
)

// Names of shared secrets.
const (
	// TURNSecret is what TURN REST credentials are made with.
	TURNSecret = "turn"
	// RosterSecret seals display names in encounter records.
	RosterSecret = "roster"
)

// Roles a certificate can be issued for: its DNS name is role + ".wardline.internal".
const (
	GatewayRole = "gateway"
	SFURole     = "sfu"
	TURNRole    = "turn"
	// NameSuffix follows the role in a certificate's DNS name.
	NameSuffix = ".wardline.internal"
)

// Roles of jobs that log in to Vault now and then and have no certificate.
const (
	// RotatorRole rotates what is old.
	RotatorRole = "rotator"
	// BackupRole takes snapshots.
	BackupRole = "backup"
)

// PublicKey is one key that verifies signatures, as published in the JWKS.
type PublicKey struct {
	ID  string
	Key ed25519.PublicKey
}

// Shared is a rotating shared secret: mint with Current, accept both.
type Shared struct {
	Current []byte
	// Previous is empty until the first rotation.
	Previous []byte
}

// DataKey is an envelope-encryption key: Plain seals records and is never stored, Wrapped is stored.
type DataKey struct {
	Plain   []byte // 32 bytes, AES-256
	Wrapped []byte
}

// Keeper holds the secrets of one region.
type Keeper interface {
	// Sign signs with the newest token key, whose private half never leaves the keeper (Ed25519, RFC
	// 8032). The payload may need the key's id, so payload is called with it.
	Sign(ctx context.Context, payload func(keyID string) ([]byte, error)) (signature []byte, err error)
	// PublicKeys lists every key whose signatures are to be accepted: after a rotation the new and the
	// previous one.
	PublicKeys(ctx context.Context) ([]PublicKey, error)
	// RotateTokenKey makes a new token key; the previous one keeps verifying until the next rotation.
	RotateTokenKey(ctx context.Context) error

	// Shared returns a shared secret, created on first use.
	Shared(ctx context.Context, name string) (Shared, error)
	// RotateShared replaces Current, which becomes Previous.
	RotateShared(ctx context.Context, name string) error

	// Certificates returns a source of a role's certificate, kept fresh until ctx ends. hosts are
	// further DNS names and IP addresses it should be valid for.
	Certificates(ctx context.Context, role string, hosts ...string) (CertificateSource, error)

	// NewDataKey makes a data key under the tenant's key-encryption key. ErrNotFound if the tenant has none.
	NewDataKey(ctx context.Context, tenant string) (DataKey, error)
	// Unwrap opens a wrapped data key. ErrTampered if it was not wrapped for this tenant.
	Unwrap(ctx context.Context, tenant string, wrapped []byte) ([]byte, error)
	// Rewrap renews a wrapped key under the newest version of the tenant's key without revealing it.
	Rewrap(ctx context.Context, tenant string, wrapped []byte) ([]byte, error)
	// CreateTenant makes a tenant's key-encryption key; making it again changes nothing.
	CreateTenant(ctx context.Context, tenant string) error
	// RotateTenant adds a version to the tenant's key; older wrapped keys still open.
	RotateTenant(ctx context.Context, tenant string) error
}

// CertificateSource hands out the newest certificate, so that renewal drops no connection.
type CertificateSource interface {
	// Server returns a configuration that presents the certificate and, with peers, demands a client
	// certificate of one of those roles (mutual TLS). TLS 1.3 only with peers, else 1.2 and up.
	Server(peers ...string) *tls.Config
	// Client returns a configuration that presents the certificate and accepts only a server of role peer.
	Client(peer string) *tls.Config
	// NotAfter is when the certificate in hand ends.
	NotAfter() time.Time
}
