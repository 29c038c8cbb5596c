//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package secrets

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes the exclusive lock of an open file without waiting; false means somebody else has it.
// The lock ends when the file is closed, so a process that dies leaves none behind.
func tryLock(file *os.File) (bool, error) {
	err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
		return false, nil
	}
	return err == nil, err
}

// private reports whether only the owner can use a file or folder of these permissions.
func private(mode os.FileMode) bool { return mode.Perm()&0o077 == 0 }
