//go:build unix

package clients

import (
	"os/exec"
	"syscall"
)

// detach keeps Ctrl-C on the terminal from ending clients before what was broken is healed.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
