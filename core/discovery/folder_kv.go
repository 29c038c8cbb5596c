package discovery

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// storedEntry is a key's file.
type storedEntry struct {
	Key   string `json:"key"`
	Index uint64 `json:"index"`
	Value []byte `json:"value"`
}

// Get implements KV.
func (f *Folder) Get(ctx context.Context, key string) (Entry, error) {
	if err := cmp.Or(ctx.Err(), checkKey(key)); err != nil {
		return Entry{}, err
	}
	return f.read(key)
}

func (f *Folder) read(key string) (Entry, error) {
	data, err := os.ReadFile(f.path(kvDir, key))
	if errors.Is(err, fs.ErrNotExist) {
		return Entry{}, fmt.Errorf("key %s: %w", key, ErrNotFound)
	}
	if err != nil {
		return Entry{}, fmt.Errorf("key %s: %w", key, err)
	}
	var stored storedEntry
	if err := json.Unmarshal(data, &stored); err != nil {
		return Entry{}, fmt.Errorf("key %s: damaged file: %w", key, err)
	}
	if stored.Key != key || stored.Index == 0 {
		return Entry{}, fmt.Errorf("key %s: damaged file: holds key %.220q with index %d", key, stored.Key, stored.Index)
	}
	return Entry{Key: key, Value: stored.Value, Index: stored.Index}, nil
}

// readForWatch is read with Index 0 for a key that does not exist, and false for one that cannot be read.
func (f *Folder) readForWatch(key string) (Entry, bool) {
	if checkKey(key) != nil {
		return Entry{}, false
	}
	entry, err := f.read(key)
	if errors.Is(err, ErrNotFound) {
		return Entry{Key: key}, true
	}
	return entry, err == nil
}

// CompareAndSet implements KV.
func (f *Folder) CompareAndSet(ctx context.Context, key string, value []byte, index uint64) (Entry, error) {
	if err := cmp.Or(ctx.Err(), checkWrite(key, value)); err != nil {
		return Entry{}, err
	}
	entry := Entry{Key: key, Value: append([]byte{}, value...)}
	err := f.exclusively(key, index, func(uint64) error {
		var err error
		if entry.Index, err = f.nextCount(filepath.Join(f.dir, kvIndexFile)); err != nil {
			return err
		}
		data, err := json.Marshal(storedEntry{Key: key, Index: entry.Index, Value: entry.Value})
		if err != nil {
			return fmt.Errorf("key %s: %w", key, err)
		}
		return f.replace(f.path(kvDir, key), data)
	})
	if err != nil {
		return Entry{}, err
	}
	f.keys.refresh(key)
	return entry, nil
}

// Delete implements KV.
func (f *Folder) Delete(ctx context.Context, key string, index uint64) error {
	if err := cmp.Or(ctx.Err(), checkKey(key)); err != nil {
		return err
	}
	if _, err := f.read(key); errors.Is(err, ErrNotFound) {
		return nil
	}
	err := f.exclusively(key, index, func(held uint64) error {
		if held == 0 {
			return nil
		}
		return os.Remove(f.path(kvDir, key))
	})
	if err != nil {
		return err
	}
	f.keys.refresh(key)
	return nil
}

// exclusively runs write while no other process changes a key, if the key's index is the given one.
func (f *Folder) exclusively(key string, index uint64, write func(held uint64) error) (err error) {
	f.writing.Lock()
	defer f.writing.Unlock()
	lock, err := lockFile(filepath.Join(f.dir, kvLockFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	held, err := f.read(key)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if held.Index != index {
		return conflict(key, index, held.Index)
	}
	return write(held.Index)
}

// nextCount adds one to the counter in a file. The caller holds the lock that guards it.
func (f *Folder) nextCount(path string) (uint64, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	var count uint64
	if err == nil {
		if count, err = strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64); err != nil {
			return 0, fmt.Errorf("counter %s: damaged file: %w", filepath.Base(path), err)
		}
	}
	count++
	return count, f.replace(path, strconv.AppendUint(nil, count, 10))
}

// List implements KV.
func (f *Folder) List(ctx context.Context, prefix string) ([]Entry, error) {
	files, err := os.ReadDir(filepath.Join(f.dir, kvDir))
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	var out []Entry
	for _, file := range files {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		key, ok := nameOf(file.Name())
		if !ok || !strings.HasPrefix(key, prefix) {
			continue
		}
		entry, err := f.read(key)
		if errors.Is(err, ErrNotFound) { // deleted since
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, entry)
	}
	slices.SortFunc(out, func(a, b Entry) int { return cmp.Compare(a.Key, b.Key) })
	return out, nil
}
