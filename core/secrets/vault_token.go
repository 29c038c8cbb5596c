package secrets

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
)

// tokenVersion is one version of the token key: its public half and what it is known by.
type tokenVersion struct {
	version
	public PublicKey
}

// tokenVersions are those whose signatures count, newest first; there is at least one.
type tokenVersions []tokenVersion

func (v tokenVersions) latest() int { return v[0].number }

// versions is all that an adoption needs to know.
func (v tokenVersions) versions() []version {
	versions := make([]version, len(v))
	for i, one := range v {
		versions[i] = one.version
	}
	return versions
}

// parseTokenVersions reads what transit tells of a key. Versions below its minimum are retired and not listed.
func parseTokenVersions(data map[string]any) (tokenVersions, error) {
	listed, ok := data["keys"].(map[string]any)
	if !ok {
		return nil, errors.New("the answer lists no key versions")
	}
	least, err := intField(data, "min_decryption_version")
	if err != nil {
		return nil, err
	}
	versions := make(tokenVersions, 0, len(listed))
	for name, value := range listed {
		number, err := strconv.Atoi(name)
		if err != nil || number < 1 {
			return nil, fmt.Errorf("key version %.20q: must be a number from 1", name)
		}
		if number < least {
			continue
		}
		described, _ := value.(map[string]any)
		text, _ := described["public_key"].(string)
		key, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(key) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("key version %d: no Ed25519 public key", number)
		}
		versions = append(versions, tokenVersion{
			version{number, timeField(described, "creation_time")}, PublicKey{ID: Thumbprint(key), Key: key},
		})
	}
	if len(versions) == 0 {
		return nil, errors.New("the key has no version that counts")
	}
	slices.SortFunc(versions, func(a, b tokenVersion) int { return b.number - a.number })
	return versions, nil
}

// intField reads a number as Vault's client decodes it.
func intField(data map[string]any, name string) (int, error) {
	number, ok := data[name].(json.Number)
	if !ok {
		return 0, fmt.Errorf("%s: not a number", name)
	}
	value, err := strconv.Atoi(number.String())
	if err != nil {
		return 0, fmt.Errorf("%s: not a whole number", name)
	}
	return value, nil
}

// timeField reads a time as Vault writes it; one that is not there is zero.
func timeField(data map[string]any, name string) time.Time {
	text, _ := data[name].(string)
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return at
}

// parseSignature reads "vault:vN:BASE64" of a known version.
func parseSignature(text string, version int) ([]byte, error) {
	encoded, found := strings.CutPrefix(text, "vault:v"+strconv.Itoa(version)+":")
	signature, err := base64.StdEncoding.DecodeString(encoded)
	if !found || err != nil || len(signature) != ed25519.SignatureSize {
		return nil, fmt.Errorf("not an Ed25519 signature of version %d", version)
	}
	return signature, nil
}

// signingVersion is the adoption of token key versions, shared by those who sign at once.
type signingVersion struct {
	mu sync.Mutex
	adoption
}

func (s *signingVersion) choose(versions tokenVersions, now time.Time, settle time.Duration) tokenVersion {
	s.mu.Lock()
	defer s.mu.Unlock()
	number := s.adoption.choose(versions.versions(), now, settle)
	return versions[slices.IndexFunc(versions, func(one tokenVersion) bool { return one.number == number })]
}

func (s *signingVersion) made(number int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.adoption.made(number)
}

func tokenKeyPath(parts ...string) string {
	return TokenMount + "/" + strings.Join(parts, "/")
}

func (v *Vault) readTokenVersions(ctx context.Context) (tokenVersions, error) {
	path := tokenKeyPath("keys", TokenKey)
	secret, err := v.client.read(ctx, path, nil)
	if err != nil {
		return nil, err
	}
	versions, err := parseTokenVersions(secret.Data)
	if err != nil {
		return nil, fmt.Errorf("vault %s: %w", path, err)
	}
	return versions, nil
}

// Sign implements Keeper. A version that another process made is signed with once it has been published for a while.
func (v *Vault) Sign(ctx context.Context, payload func(keyID string) ([]byte, error)) ([]byte, error) {
	signature, used, err := v.signOnce(ctx, payload)
	if !errors.Is(err, errRejected) && !errors.Is(err, errInternal) {
		return signature, err
	}
	// Vault answered, so the version may have been retired after it was cached.
	v.keys.expire()
	again, chosen, retryErr := v.signOnce(ctx, payload)
	if chosen == used {
		return nil, err
	}
	return again, retryErr
}

func (v *Vault) signOnce(ctx context.Context, payload func(keyID string) ([]byte, error)) ([]byte, int, error) {
	versions, err := v.keys.get(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("token keys: %w", err)
	}
	key := v.signing.choose(versions, time.Now(), v.pace.settle)
	message, err := payload(key.public.ID)
	if err != nil {
		return nil, key.number, fmt.Errorf("payload to sign: %w", err)
	}
	path := tokenKeyPath("sign", TokenKey)
	secret, err := v.client.write(ctx, path, map[string]any{
		"input": base64.StdEncoding.EncodeToString(message), "key_version": key.number,
	})
	if err != nil {
		return nil, key.number, fmt.Errorf("sign: %w", err)
	}
	signature, err := parseSignature(textField(secret, "signature"), key.number)
	if err == nil && !ed25519.Verify(key.public.Key, message, signature) {
		err = errors.New("the signature does not verify with the published key")
	}
	if err != nil {
		return nil, key.number, fmt.Errorf("sign: vault %s: %w", path, err)
	}
	return signature, key.number, nil
}

// textField reads a text of an answer; one that is not there is empty.
func textField(secret *api.Secret, name string) string {
	if secret == nil {
		return ""
	}
	text, _ := secret.Data[name].(string)
	return text
}

// PublicKeys implements Keeper. While Vault does not answer it returns the keys of the last answer.
func (v *Vault) PublicKeys(ctx context.Context) ([]PublicKey, error) {
	versions, err := v.keys.get(ctx)
	if err != nil {
		return nil, fmt.Errorf("token keys: %w", err)
	}
	public := make([]PublicKey, 0, len(versions))
	for _, version := range versions {
		public = append(public, version.public)
	}
	return public, nil
}

// RotateTokenKey implements Keeper. Other processes sign with the new version once it has been published for a
// while; rotations closer together than that end a key that is still in use.
func (v *Vault) RotateTokenKey(ctx context.Context) error {
	return v.rotateTokenKey(ctx, 0)
}

// rotateTokenKey makes a new version and retires those before inUse; 0 means before the last but one.
func (v *Vault) rotateTokenKey(ctx context.Context, inUse int) error {
	secret, err := v.client.write(ctx, tokenKeyPath("keys", TokenKey, "rotate"), nil)
	if err != nil {
		return fmt.Errorf("rotate token key: %w", err)
	}
	var latest int
	if secret == nil {
		return errors.New("rotate token key: Vault did not say the new version")
	}
	if latest, err = intField(secret.Data, "latest_version"); err != nil {
		return fmt.Errorf("rotate token key: %w", err)
	}
	least, err := intField(secret.Data, "min_decryption_version") // what is retired stays so
	if err != nil {
		return fmt.Errorf("rotate token key: %w", err)
	}
	_, err = v.client.write(ctx, tokenKeyPath("keys", TokenKey, "config"), map[string]any{
		"min_decryption_version": max(1, least, cmp.Or(inUse, latest-1)),
	})
	if err != nil {
		return fmt.Errorf("rotate token key: version %d is in use, but older ones are not retired: %w", latest, err)
	}
	v.signing.made(latest)
	v.keys.expire()
	return nil
}
