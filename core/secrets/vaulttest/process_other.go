//go:build !linux

package vaulttest

import "syscall"

var dieWithParent = &syscall.SysProcAttr{}
