//go:build unix && !aix && !solaris

package discovery

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lockFile waits for the exclusive lock on a file; closing the file, or the end of the process, gives it up.
func lockFile(path string) (*os.File, error) { return flock(path, syscall.LOCK_EX) }

// tryLockFile is lockFile without waiting: the file is nil while somebody else holds the lock.
func tryLockFile(path string) (*os.File, error) {
	file, err := flock(path, syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, nil
	}
	return file, err
}

func flock(path string, how int) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	for {
		err = syscall.Flock(int(file.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
	}
	return file, nil
}
