//go:build linux

package machine

// OnLesserThread is for tests.
var OnLesserThread = onLesserThread
