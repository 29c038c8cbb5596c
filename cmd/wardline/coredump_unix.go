//go:build unix

package main

import "golang.org/x/sys/unix"

// forbidCoreDumps keeps the keys in this process's memory out of files, also when it crashes.
func forbidCoreDumps() error { return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) }
