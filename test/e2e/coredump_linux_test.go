package e2e

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestNoCrashLeavesKeysInACoreDump(t *testing.T) {
	var before unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_CORE, &before))
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: before.Max, Max: before.Max}))
	t.Cleanup(func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_CORE, &before)) })

	d := startDev(t) // inherits the limit
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", d.Cmd.Process.Pid))
	require.NoError(t, err)
	require.Regexp(t, `(?m)^Max core file size +0 +0 `, string(limits))
	if before.Max == 0 {
		return // nothing here could dump in the first place
	}
	own, err := os.ReadFile("/proc/self/limits")
	require.NoError(t, err)
	require.NotRegexp(t, `(?m)^Max core file size +0 `, string(own), "the control")
}
