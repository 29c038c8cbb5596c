//go:build !unix

package main

// forbidCoreDumps has nothing to forbid: this system writes none by itself.
func forbidCoreDumps() error { return nil }
