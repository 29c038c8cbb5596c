package secrets

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/renameio/v2"
)

const (
	folderMode   = 0o700
	fileMode     = 0o600
	lockName     = "lock"
	lockInterval = 5 * time.Millisecond
	// maxFileBytes bounds what is read into memory; the largest file, a tenant with a thousand key
	// versions, stays far below it.
	maxFileBytes = 1 << 20
)

// folder keeps small JSON documents that only their owner can read. Every file appears whole or not at
// all (a rename), so readers need no lock; writers exclude each other across processes.
type folder struct {
	path string
	// mu keeps the goroutines of this process from polling for the file lock.
	mu sync.Mutex
}

// openFolder makes the folder where it is missing and refuses one that others can use.
func openFolder(path string) (*folder, error) {
	if err := os.MkdirAll(path, folderMode); err != nil {
		return nil, fmt.Errorf("secrets folder: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("secrets folder: %w", err)
	}
	if !private(info.Mode()) {
		return nil, fmt.Errorf("secrets folder %s: mode %#o lets other users in, must be %#o (chmod 700)",
			path, info.Mode().Perm(), folderMode)
	}
	return &folder{path: path}, nil
}

func (f *folder) file(name string) string { return filepath.Join(f.path, filepath.FromSlash(name)) }

// readBytes returns a file's content. It fails with fs.ErrNotExist where there is none, and refuses a file
// that others can read.
func (f *folder) readBytes(name string) ([]byte, error) {
	file, err := os.Open(f.file(name))
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // nothing was written
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !private(info.Mode()) {
		return nil, fmt.Errorf("%s: mode %#o lets other users read it, must be %#o (chmod 600)", file.Name(), info.Mode().Perm(), fileMode)
	}
	if info.Size() > maxFileBytes {
		return nil, fmt.Errorf("%s: %d bytes, at most %d", file.Name(), info.Size(), maxFileBytes)
	}
	return io.ReadAll(file)
}

// document is the content of one file.
type document interface {
	// check refuses what the code never writes, so that a damaged file is noticed before it is used.
	check() error
}

// read decodes and checks a document. A damaged one is an error that names its file.
func (f *folder) read(name string, into document) error {
	content, err := f.readBytes(name)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	err = decoder.Decode(into)
	if err == nil && decoder.More() {
		err = errors.New("more than one document")
	}
	if err != nil {
		// The decoder's own text could quote a secret.
		return fmt.Errorf("%s: damaged (%d bytes, not the expected JSON); restore it from a backup", f.file(name), len(content))
	}
	if err := into.check(); err != nil {
		return fmt.Errorf("%s: damaged (%w); restore it from a backup", f.file(name), err)
	}
	return nil
}

// write replaces a document in one step.
func (f *folder) write(name string, content document) error {
	encoded, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return fmt.Errorf("%s: %w", f.file(name), err)
	}
	return f.writeBytes(name, append(encoded, '\n'))
}

func (f *folder) writeBytes(name string, content []byte) error {
	path := f.file(name)
	if err := os.MkdirAll(filepath.Dir(path), folderMode); err != nil {
		return err
	}
	return renameio.WriteFile(path, content, fileMode)
}

// update runs change while no other process or goroutine updates the folder.
func (f *folder) update(ctx context.Context, change func() error) (err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	lock, err := os.OpenFile(f.file(lockName), os.O_CREATE|os.O_RDWR, fileMode)
	if err != nil {
		return fmt.Errorf("secrets folder: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := waitForLock(ctx, lock); err != nil {
		return err
	}
	return change()
}

func waitForLock(ctx context.Context, lock *os.File) error {
	ticker := time.NewTicker(lockInterval)
	defer ticker.Stop()
	for {
		locked, err := tryLock(lock)
		if err != nil {
			return fmt.Errorf("lock %s: %w", lock.Name(), err)
		}
		if locked {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("lock %s, held by another process: %w", lock.Name(), ctx.Err())
		case <-ticker.C:
		}
	}
}

// ensure reads a document, and where there is none makes it, once for all processes.
func (f *folder) ensure(ctx context.Context, name string, into document, create func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := f.read(name, into)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return f.update(ctx, func() error {
		err := f.read(name, into)
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := create(); err != nil {
			return err
		}
		return f.write(name, into)
	})
}

// change reads a document, changes it and writes it back as one step. A document that cannot be read is
// left as it is.
func (f *folder) change(ctx context.Context, name string, into document, change func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return f.update(ctx, func() error {
		if err := f.read(name, into); err != nil {
			return err
		}
		if err := change(); err != nil {
			return err
		}
		return f.write(name, into)
	})
}
