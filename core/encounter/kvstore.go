package encounter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/signaling"
)

// Errors of KVStore alone, wrapped with the key.
var (
	// ErrTooLarge says that a record does not fit into one value.
	ErrTooLarge = errors.New("encounter record too large")
	// ErrDamaged says that a stored record cannot be read; it is never overwritten.
	ErrDamaged = errors.New("encounter record damaged")
	// ErrKey says that a tenant or encounter id cannot be part of a key.
	ErrKey = errors.New("invalid encounter key")
)

// keyPrefix is followed by TENANT/ENCOUNTER.
const keyPrefix = "wardline/encounters/"

// KV is what KVStore needs of a key-value store; discovery.KV has it.
type KV interface {
	Get(ctx context.Context, key string) (discovery.Entry, error)
	CompareAndSet(ctx context.Context, key string, value []byte, index uint64) (discovery.Entry, error)
	Delete(ctx context.Context, key string, index uint64) error
	List(ctx context.Context, prefix string) ([]discovery.Entry, error)
	Watch(ctx context.Context, key string) <-chan discovery.Entry
}

// KVStore is the Store on a key-value store: one JSON value an encounter, its Revision the key's index.
type KVStore struct{ kv KV }

// NewKVStore returns the Store that keeps its records in kv.
func NewKVStore(kv KV) *KVStore { return &KVStore{kv: kv} }

// Get implements Store.
func (s *KVStore) Get(ctx context.Context, key Key) (Encounter, error) {
	path, err := pathOf(key)
	if err != nil {
		return Encounter{}, err
	}
	entry, err := s.kv.Get(ctx, path)
	if errors.Is(err, discovery.ErrNotFound) {
		return Encounter{}, fmt.Errorf("%w: %s", ErrNotFound, path)
	}
	if err != nil {
		return Encounter{}, fmt.Errorf("read encounter %s: %w", path, err)
	}
	return decode(entry)
}

// CompareAndSet implements Store. A record too large for one value is ErrTooLarge.
func (s *KVStore) CompareAndSet(ctx context.Context, e Encounter) (Encounter, error) {
	path, err := pathOf(e.Key)
	if err != nil {
		return Encounter{}, err
	}
	value, err := json.Marshal(e)
	if err != nil {
		return Encounter{}, fmt.Errorf("encode encounter %s: %w", path, err)
	}
	if len(value) > discovery.MaxValueBytes {
		return Encounter{}, fmt.Errorf("%w: %s: %d bytes, at most %d", ErrTooLarge, path, len(value), discovery.MaxValueBytes)
	}
	entry, err := s.kv.CompareAndSet(ctx, path, value, e.Revision)
	if errors.Is(err, discovery.ErrConflict) {
		return Encounter{}, fmt.Errorf("%w: %s", ErrConflict, path)
	}
	if err != nil {
		return Encounter{}, fmt.Errorf("write encounter %s: %w", path, err)
	}
	return decode(entry)
}

// List implements Store. One damaged record must not hide the others from who looks after them.
func (s *KVStore) List(ctx context.Context, tenant string) ([]Encounter, error) {
	prefix := keyPrefix
	if tenant != "" {
		if !signaling.ValidID(tenant) {
			return nil, fmt.Errorf("%w: tenant %.70q", ErrKey, tenant)
		}
		prefix += tenant + "/"
	}
	entries, err := s.kv.List(ctx, prefix)
	if err != nil {
		return nil, fmt.Errorf("list encounters: %w", err)
	}
	out := make([]Encounter, 0, len(entries))
	var damaged []error
	for _, entry := range entries {
		e, err := decode(entry)
		if err != nil {
			damaged = append(damaged, err)
			continue
		}
		out = append(out, e)
	}
	return out, errors.Join(damaged...)
}

// Delete implements Store.
func (s *KVStore) Delete(ctx context.Context, e Encounter) error {
	path, err := pathOf(e.Key)
	if err != nil {
		return err
	}
	err = s.kv.Delete(ctx, path, e.Revision)
	if errors.Is(err, discovery.ErrConflict) {
		return fmt.Errorf("%w: %s", ErrConflict, path)
	}
	if err != nil {
		return fmt.Errorf("delete encounter %s: %w", path, err)
	}
	return nil
}

// Watch implements Store. A damaged or deleted record is not sent: whoever watches keeps the last good one.
func (s *KVStore) Watch(ctx context.Context, key Key) <-chan Encounter {
	out := make(chan Encounter)
	path, err := pathOf(key)
	if err != nil {
		close(out)
		return out
	}
	go forward(s.kv.Watch(ctx, path), out)
	return out
}

// forward decodes entries until in closes. While the reader is busy a newer value takes the older one's place.
func forward(in <-chan discovery.Entry, out chan<- Encounter) {
	defer close(out)
	var newest Encounter
	var ready chan<- Encounter // nil while there is nothing to send
	for {
		select {
		case entry, open := <-in:
			if !open {
				return
			}
			if entry.Value == nil {
				continue
			}
			if e, err := decode(entry); err == nil {
				newest, ready = e, out
			}
		case ready <- newest:
			ready = nil
		}
	}
}

// Validate returns ErrKey if the ids cannot be part of a key.
func (k Key) Validate() error {
	if !signaling.ValidID(k.Tenant) || !signaling.ValidID(k.ID) {
		return fmt.Errorf("%w: tenant %.70q, encounter %.70q", ErrKey, k.Tenant, k.ID)
	}
	return nil
}

func pathOf(key Key) (string, error) {
	if err := key.Validate(); err != nil {
		return "", err
	}
	return keyPrefix + key.Tenant + "/" + key.ID, nil
}

// decode reads a stored record, which comes from outside this process.
func decode(entry discovery.Entry) (Encounter, error) {
	var e Encounter
	if err := json.Unmarshal(entry.Value, &e); err != nil {
		return Encounter{}, fmt.Errorf("%w: %s: %w", ErrDamaged, entry.Key, err)
	}
	if path, err := pathOf(e.Key); err != nil || path != entry.Key {
		named := strings.TrimPrefix(path, keyPrefix)
		return Encounter{}, fmt.Errorf("%w: %s: names itself %q", ErrDamaged, entry.Key, named)
	}
	if err := e.checkLineage(); err != nil {
		return Encounter{}, fmt.Errorf("%w: %s: %w", ErrDamaged, entry.Key, err)
	}
	e.Revision = entry.Index
	return e, nil
}
