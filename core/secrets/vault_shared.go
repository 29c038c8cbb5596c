package secrets

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
)

// sharedVersions are the newest version of a shared secret and the one before, as KV keeps them. That they are
// versions of one path lets an operator rotate what an operator cannot read.
type sharedVersions struct {
	newest sharedVersion
	before sharedVersion // without a value where there is none
}

type sharedVersion struct {
	version
	value []byte
}

// view orders the two for somebody who has adopted one of the versions: mint with Current, accept both.
func (s sharedVersions) view(adopted int) Shared {
	if adopted < s.newest.number && len(s.before.value) > 0 {
		return Shared{Current: s.before.value, Previous: s.newest.value}
	}
	return Shared{Current: s.newest.value, Previous: s.before.value}
}

// versions is all that an adoption needs to know.
func (s sharedVersions) versions() []version {
	if len(s.before.value) == 0 {
		return []version{s.newest.version}
	}
	return []version{s.newest.version, s.before.version}
}

// sharedSecrets are the shared secrets that were asked for, by name.
type sharedSecrets struct {
	vault *Vault

	mu    sync.Mutex
	named map[string]*sharedEntry
}

type sharedEntry struct {
	answer *cached[sharedVersions]

	mu sync.Mutex
	adoption
}

func (s *sharedSecrets) entry(name string) *sharedEntry {
	s.mu.Lock()
	defer s.mu.Unlock()
	entry, ok := s.named[name]
	if !ok {
		v := s.vault
		entry = &sharedEntry{answer: newCached(v.tasks, v.pace, func(ctx context.Context) (sharedVersions, error) {
			return v.ensureShared(ctx, name)
		})}
		s.named[name] = entry
	}
	return entry
}

func sharedDataPath(name string) string {
	return SharedMount + "/data/" + SharedPath + "/" + name
}

func sharedMetadataPath(name string) string {
	return SharedMount + "/metadata/" + SharedPath + "/" + name
}

func checkSharedName(name string) error {
	if !labelPattern.MatchString(name) {
		return fmt.Errorf("shared secret %.40q: must match %s", name, labelPattern)
	}
	return nil
}

// Shared implements Keeper. A version that another process made becomes Current once it has been there for a while;
// until then it is Previous, which is accepted too.
func (v *Vault) Shared(ctx context.Context, name string) (Shared, error) {
	if err := checkSharedName(name); err != nil {
		return Shared{}, err
	}
	entry := v.shared.entry(name)
	versions, err := entry.answer.get(ctx)
	if err != nil {
		return Shared{}, fmt.Errorf("shared secret %q: %w", name, err)
	}
	entry.mu.Lock()
	defer entry.mu.Unlock()
	return versions.view(entry.choose(versions.versions(), time.Now(), v.pace.settle)), nil
}

// RotateShared implements Keeper. It writes without reading, so that an operator needs not be able to read.
func (v *Vault) RotateShared(ctx context.Context, name string) error {
	if err := checkSharedName(name); err != nil {
		return err
	}
	latest, _, err := v.sharedVersion(ctx, name)
	if err == nil {
		err = v.replaceShared(ctx, name, latest)
	}
	if errors.Is(err, errRejected) {
		err = fmt.Errorf("%w (somebody else may have rotated it just now)", err)
	}
	if err != nil {
		return fmt.Errorf("rotate shared secret %q: %w", name, err)
	}
	return nil
}

// replaceShared makes the version after latest and takes it into use here; errRejected if there is one already.
func (v *Vault) replaceShared(ctx context.Context, name string, latest int) error {
	if err := v.writeShared(ctx, name, latest); err != nil {
		return err
	}
	entry := v.shared.entry(name)
	entry.mu.Lock()
	entry.made(latest + 1)
	entry.mu.Unlock()
	entry.answer.expire()
	return nil
}

// sharedVersion is the newest version there is of a shared secret and when it was made by Vault's clock; 0 where
// there is none, and the zero time where Vault does not say.
func (v *Vault) sharedVersion(ctx context.Context, name string) (int, time.Time, error) {
	secret, err := v.client.read(ctx, sharedMetadataPath(name), nil)
	if errors.Is(err, ErrNotFound) {
		return 0, time.Time{}, nil
	}
	if err != nil {
		return 0, time.Time{}, err
	}
	latest, err := intField(secret.Data, "current_version")
	if err != nil {
		return 0, time.Time{}, err
	}
	versions, _ := secret.Data["versions"].(map[string]any)
	described, _ := versions[strconv.Itoa(latest)].(map[string]any)
	return latest, timeField(described, "created_time"), nil
}

// writeShared makes the version after latest, unless somebody else has made it.
func (v *Vault) writeShared(ctx context.Context, name string, latest int) error {
	fresh := make([]byte, sharedBytes)
	if _, err := rand.Read(fresh); err != nil {
		return err
	}
	_, err := v.client.write(ctx, sharedDataPath(name), map[string]any{
		"options": map[string]any{"cas": latest},
		// Printable, because other TURN servers take theirs from a text file.
		"data": map[string]any{"value": base64.RawURLEncoding.EncodeToString(fresh)},
	})
	return err
}

// ensureShared reads a shared secret and makes it where there is none; all who do so at once get the same.
func (v *Vault) ensureShared(ctx context.Context, name string) (sharedVersions, error) {
	versions, err := v.readShared(ctx, name)
	if !errors.Is(err, ErrNotFound) {
		return versions, err
	}
	if err := v.writeShared(ctx, name, 0); err != nil && !errors.Is(err, errRejected) {
		return sharedVersions{}, fmt.Errorf("there is none yet, and making it failed: %w", err)
	}
	return v.readShared(ctx, name)
}

func (v *Vault) readShared(ctx context.Context, name string) (sharedVersions, error) {
	// A rotation between the two reads can take the older version away; then there is a newer pair.
	for attempt := 0; ; attempt++ {
		newest, err := v.readSharedVersion(ctx, name, 0)
		if err != nil || newest.number == 1 {
			return sharedVersions{newest: newest}, err
		}
		before, err := v.readSharedVersion(ctx, name, newest.number-1)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return sharedVersions{}, err
		}
		if err == nil || attempt > 0 {
			return sharedVersions{newest: newest, before: before}, nil
		}
	}
}

// readSharedVersion reads one version, 0 being the newest, and says which one it is.
func (v *Vault) readSharedVersion(ctx context.Context, name string, number int) (sharedVersion, error) {
	path := sharedDataPath(name)
	var query map[string][]string
	if number > 0 {
		query = map[string][]string{"version": {strconv.Itoa(number)}}
	}
	secret, err := v.client.read(ctx, path, query)
	if err != nil {
		return sharedVersion{}, err
	}
	read, err := parseShared(secret)
	if err != nil {
		return sharedVersion{}, fmt.Errorf("vault %s: %w", path, err)
	}
	return read, nil
}

// parseShared reads an answer of KV version 2. A version that was deleted is ErrNotFound.
func parseShared(secret *api.Secret) (sharedVersion, error) {
	metadata, _ := secret.Data["metadata"].(map[string]any)
	number, err := intField(metadata, "version")
	if err != nil {
		return sharedVersion{}, err
	}
	data, ok := secret.Data["data"].(map[string]any)
	if !ok {
		return sharedVersion{}, ErrNotFound
	}
	text, _ := data["value"].(string)
	if len(strings.TrimSpace(text)) < sharedBytes {
		return sharedVersion{}, fmt.Errorf("version %d: value of %d bytes, at least %d", number, len(text), sharedBytes)
	}
	return sharedVersion{version{number, timeField(metadata, "created_time")}, []byte(text)}, nil
}
