package secrets

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
)

// maxBadgeName bounds a display name, in bytes of UTF-8.
const maxBadgeName = 1 << 10

// ErrBadge says that a sealed display name does not open: it was changed, moved to another participant, or
// its secret has been rotated out.
var ErrBadge = errors.New("badge does not open")

// SealBadge encrypts a display name, so that encounter records hold nothing personal (AES-256-GCM, key
// derived with HKDF-SHA256, RFC 5869). It opens only under the same key, which is
// "tenant/encounter/participant". name is at most 1024 bytes.
func SealBadge(s Shared, key, name string) ([]byte, error) {
	if len(name) > maxBadgeName {
		return nil, fmt.Errorf("seal badge: name of %d bytes, at most %d", len(name), maxBadgeName)
	}
	if len(s.Current) == 0 {
		return nil, fmt.Errorf("seal badge: shared secret %q is empty", RosterSecret)
	}
	aeadKey, err := badgeKey(s.Current)
	if err != nil {
		return nil, fmt.Errorf("seal badge: %w", err)
	}
	aead, err := newAEAD(aeadKey)
	if err != nil {
		return nil, fmt.Errorf("seal badge: %w", err)
	}
	return aead.Seal(nil, nil, []byte(name), []byte(key)), nil //nolint:gosec // G407: the AEAD makes its own nonce
}

// OpenBadge decrypts a display name sealed with the current or the previous secret. It fails with ErrBadge.
func OpenBadge(s Shared, key string, sealed []byte) (string, error) {
	for _, secret := range [][]byte{s.Current, s.Previous} {
		if len(secret) == 0 {
			continue
		}
		aeadKey, err := badgeKey(secret)
		if err != nil {
			return "", fmt.Errorf("open badge: %w", err)
		}
		aead, err := newAEAD(aeadKey)
		if err != nil {
			return "", fmt.Errorf("open badge: %w", err)
		}
		if name, err := aead.Open(nil, nil, sealed, []byte(key)); err == nil {
			return string(name), nil
		}
	}
	return "", ErrBadge
}

func badgeKey(secret []byte) ([]byte, error) {
	return hkdf.Key(sha256.New, secret, nil, "wardline badge v1", dataKeyBytes)
}
