//go:build !linux

package discovery

import "syscall"

var dieWithParent = &syscall.SysProcAttr{}
