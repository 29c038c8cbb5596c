package access

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"

	"github.com/wardline/wardline/core/secrets"
)

const (
	// MaxJWKSBytes bounds a key set that ParseJWKS accepts.
	MaxJWKSBytes = 64 << 10
	// maxJWKSKeys bounds how many keys are in it.
	maxJWKSKeys = 64
	// maxKeyID bounds a "kid", in bytes.
	maxKeyID = 128
)

// JWKS renders public keys as a JSON Web Key Set (RFC 7517; Ed25519 as in RFC 8037).
func JWKS(keys []secrets.PublicKey) ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: make([]jose.JSONWebKey, 0, len(keys))}
	for _, key := range keys {
		if key.ID == "" || len(key.ID) > maxKeyID {
			return nil, fmt.Errorf("key set: kid %.140q: must be 1 to %d bytes", key.ID, maxKeyID)
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key.Key, KeyID: key.ID, Algorithm: string(jose.EdDSA), Use: "sig"})
	}
	encoded, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	return encoded, nil
}

// ParseJWKS reads the Ed25519 signature keys of a JSON Web Key Set. Keys of other kinds are skipped, as RFC
// 7517 section 5 asks; private keys, keys without "kid", two of one "kid" and sets without a usable key are
// errors.
func ParseJWKS(data []byte) ([]secrets.PublicKey, error) {
	if len(data) > MaxJWKSBytes {
		return nil, fmt.Errorf("key set: %d bytes, at most %d", len(data), MaxJWKSBytes)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("key set: not JSON with an array \"keys\": %w", err)
	}
	if len(set.Keys) > maxJWKSKeys {
		return nil, fmt.Errorf("key set: %d keys, at most %d", len(set.Keys), maxJWKSKeys)
	}
	var keys []secrets.PublicKey
	seen := make(map[string]bool)
	for i, raw := range set.Keys {
		key, err := parseJWK(raw)
		if err != nil {
			return nil, fmt.Errorf("key set: key %d: %w", i+1, err)
		}
		if key == nil {
			continue
		}
		if seen[key.ID] {
			return nil, fmt.Errorf("key set: key %d: kid %q is used twice", i+1, key.ID)
		}
		seen[key.ID] = true
		keys = append(keys, *key)
	}
	if len(keys) == 0 {
		return nil, errors.New("key set: no Ed25519 signature key (kty OKP, crv Ed25519, use sig, alg EdDSA)")
	}
	return keys, nil
}

// parseJWK returns nil for a key of another kind.
func parseJWK(raw json.RawMessage) (*secrets.PublicKey, error) {
	// Looked at before the library decodes it, which also takes private and symmetric keys.
	var outline struct {
		Type      string          `json:"kty"`
		Curve     string          `json:"crv"`
		Use       string          `json:"use"`
		Algorithm string          `json:"alg"`
		Private   json.RawMessage `json:"d"`
		Symmetric json.RawMessage `json:"k"`
	}
	if err := json.Unmarshal(raw, &outline); err != nil {
		return nil, errors.New("not a JSON object with text members kty, crv, use, alg")
	}
	if outline.Private != nil || outline.Symmetric != nil {
		return nil, errors.New("holds a private or symmetric key; publish the public half only")
	}
	if outline.Type != "OKP" || outline.Curve != "Ed25519" ||
		(outline.Use != "" && outline.Use != "sig") ||
		(outline.Algorithm != "" && outline.Algorithm != string(jose.EdDSA) && outline.Algorithm != "Ed25519") {
		return nil, nil //nolint:nilnil // a key to skip is neither a key nor an error
	}
	var parsed jose.JSONWebKey
	if err := parsed.UnmarshalJSON(raw); err != nil {
		return nil, err
	}
	public, ok := parsed.Key.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("is %T, must be an Ed25519 public key", parsed.Key)
	}
	if parsed.KeyID == "" || len(parsed.KeyID) > maxKeyID {
		return nil, fmt.Errorf("kid %.140q: must be 1 to %d bytes", parsed.KeyID, maxKeyID)
	}
	return &secrets.PublicKey{ID: parsed.KeyID, Key: public}, nil
}
