package vaulttest

import "syscall"

// dieWithParent has the kernel kill a process with the thread that started it, so that a crashed test leaves none.
var dieWithParent = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
