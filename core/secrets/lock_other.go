//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package secrets

import "os"

// tryLock always succeeds where flock does not exist: only one process at a time may use the folder there.
func tryLock(*os.File) (bool, error) { return true, nil }

// private cannot be told from permission bits where access lists decide.
func private(os.FileMode) bool { return true }
