package secrets

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"
)

// Local is the Keeper for development and tests: a folder on local disk that only its owner can read.
// Several processes may use one folder at once; each sees what the others rotate.
type Local struct {
	folder *folder
	now    func() time.Time
}

var _ Keeper = (*Local)(nil)

// OpenLocal opens the keeper in dir and makes the folder where it is missing. Keys are made when first
// asked for. It refuses a folder that other users can read.
func OpenLocal(dir string) (*Local, error) {
	folder, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	return &Local{folder: folder, now: time.Now}, nil
}

// signingKeysName is the file of the token signing keys.
const signingKeysName = "signing-keys.json"

// tokenKey is an Ed25519 private key in its RFC 8032 seed form.
type tokenKey struct {
	ID   string `json:"id"`
	Seed []byte `json:"seed"`
}

func (k tokenKey) private() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(k.Seed) }

func (k tokenKey) public() PublicKey {
	public := make(ed25519.PublicKey, ed25519.PublicKeySize)
	copy(public, k.private()[ed25519.SeedSize:])
	return PublicKey{ID: k.ID, Key: public}
}

func (k tokenKey) check() error {
	if len(k.Seed) != ed25519.SeedSize {
		return fmt.Errorf("seed of key %q: %d bytes, must be %d", k.ID, len(k.Seed), ed25519.SeedSize)
	}
	if want := Thumbprint(k.public().Key); k.ID != want {
		return fmt.Errorf("key %q: id does not belong to the key, must be %q", k.ID, want)
	}
	return nil
}

// Thumbprint is the RFC 7638 SHA-256 thumbprint of an Ed25519 key (RFC 8037), the usual "kid".
func Thumbprint(key ed25519.PublicKey) string {
	canonical := `{"crv":"Ed25519","kty":"OKP","x":"` + base64.RawURLEncoding.EncodeToString(key) + `"}`
	digest := sha256.Sum256([]byte(canonical))
	return base64.RawURLEncoding.EncodeToString(digest[:])
}

func newTokenKey() (tokenKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return tokenKey{}, fmt.Errorf("token key: %w", err)
	}
	return tokenKey{ID: Thumbprint(public), Seed: private.Seed()}, nil
}

type tokenKeys struct {
	Current  tokenKey  `json:"current"`
	Previous *tokenKey `json:"previous,omitempty"`
}

func (k *tokenKeys) check() error {
	if k.Previous != nil {
		if err := k.Previous.check(); err != nil {
			return err
		}
	}
	return k.Current.check()
}

func (k *tokenKeys) create() (err error) {
	k.Current, err = newTokenKey()
	return err
}

func (l *Local) tokenKeys(ctx context.Context) (tokenKeys, error) {
	var keys tokenKeys
	if err := l.folder.ensure(ctx, signingKeysName, &keys, keys.create); err != nil {
		return tokenKeys{}, fmt.Errorf("token keys: %w", err)
	}
	return keys, nil
}

// Sign implements Keeper.
func (l *Local) Sign(ctx context.Context, payload func(keyID string) ([]byte, error)) ([]byte, error) {
	keys, err := l.tokenKeys(ctx)
	if err != nil {
		return nil, err
	}
	message, err := payload(keys.Current.ID)
	if err != nil {
		return nil, fmt.Errorf("payload to sign: %w", err)
	}
	return ed25519.Sign(keys.Current.private(), message), nil
}

// PublicKeys implements Keeper.
func (l *Local) PublicKeys(ctx context.Context) ([]PublicKey, error) {
	keys, err := l.tokenKeys(ctx)
	if err != nil {
		return nil, err
	}
	public := []PublicKey{keys.Current.public()}
	if keys.Previous != nil {
		public = append(public, keys.Previous.public())
	}
	return public, nil
}

// RotateTokenKey implements Keeper.
func (l *Local) RotateTokenKey(ctx context.Context) error {
	if _, err := l.tokenKeys(ctx); err != nil {
		return err
	}
	var keys tokenKeys
	err := l.folder.change(ctx, signingKeysName, &keys, func() error {
		fresh, err := newTokenKey()
		if err != nil {
			return err
		}
		previous := keys.Current
		keys = tokenKeys{Current: fresh, Previous: &previous}
		return nil
	})
	if err != nil {
		return fmt.Errorf("rotate token key: %w", err)
	}
	return nil
}

// sharedBytes is the entropy of a shared secret.
const sharedBytes = 32

type sharedSecret struct {
	Current  string `json:"current"`
	Previous string `json:"previous,omitempty"`
}

func (s *sharedSecret) check() error {
	if len(s.Current) < sharedBytes {
		return fmt.Errorf("current secret of %d bytes, at least %d", len(s.Current), sharedBytes)
	}
	if s.Previous != "" && len(s.Previous) < sharedBytes {
		return fmt.Errorf("previous secret of %d bytes, at least %d", len(s.Previous), sharedBytes)
	}
	return nil
}

// rotate makes printable secrets, because other TURN servers take theirs from a text file.
func (s *sharedSecret) rotate() error {
	fresh := make([]byte, sharedBytes)
	if _, err := rand.Read(fresh); err != nil {
		return err
	}
	s.Previous, s.Current = s.Current, base64.RawURLEncoding.EncodeToString(fresh)
	return nil
}

func sharedName(name string) (string, error) {
	if !labelPattern.MatchString(name) {
		return "", fmt.Errorf("shared secret %.40q: must match %s", name, labelPattern)
	}
	return "shared-" + name + ".json", nil
}

// Shared implements Keeper.
func (l *Local) Shared(ctx context.Context, name string) (Shared, error) {
	file, err := sharedName(name)
	if err != nil {
		return Shared{}, err
	}
	var secret sharedSecret
	if err := l.folder.ensure(ctx, file, &secret, secret.rotate); err != nil {
		return Shared{}, fmt.Errorf("shared secret %q: %w", name, err)
	}
	shared := Shared{Current: []byte(secret.Current)}
	if secret.Previous != "" {
		shared.Previous = []byte(secret.Previous)
	}
	return shared, nil
}

// RotateShared implements Keeper.
func (l *Local) RotateShared(ctx context.Context, name string) error {
	_, err := l.Shared(ctx, name)
	if err != nil {
		return err
	}
	file, err := sharedName(name)
	if err != nil {
		return err
	}
	var secret sharedSecret
	if err := l.folder.change(ctx, file, &secret, secret.rotate); err != nil {
		return fmt.Errorf("rotate shared secret %q: %w", name, err)
	}
	return nil
}
