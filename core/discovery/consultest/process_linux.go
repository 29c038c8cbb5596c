package consultest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// dieWithParent has the kernel kill a process with the thread that started it, so that a crashed test leaves none.
var dieWithParent = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}

// suspended reports whether every thread of a process has stopped, see proc_pid_stat(5).
func suspended(pid int) bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(threads) == 0 {
		return false
	}
	for _, path := range threads {
		content, err := os.ReadFile(path)
		if err != nil {
			return false
		}
		_, state, found := strings.Cut(string(content[strings.LastIndex(string(content), ")"):]), " ")
		if !found || !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return true
}
