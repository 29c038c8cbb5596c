package operations

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/test/stack/machine"
)

func TestATerminalKeepsItsStateAndStopsAtTheFirstFailure(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: terminals on machines, which need root")
	}
	m, err := machine.Boot(t.Context(), "desk")
	require.NoError(t, err)
	require.NoError(t, m.Run(t.Context(), "mount", "-t", "tmpfs", "tmpfs", "/root"))
	shell := openTerminal(t, m)
	defer func() {
		require.NoError(t, m.Close())
		shell.wait()
	}()
	require.NoError(t, shell.write("greeting", "hello $NAME\n\nEOF\n"))
	require.NoError(t, shell.run("export NAME=reader\nsay() {\n  cat <<EOF\n$1 $NAME\nEOF\n}\nmkdir place && cd place\n"))
	require.NoError(t, shell.run("[[ $(say hello) == 'hello reader' && $PWD == /root/place ]] # with a comment"))
	require.NoError(t, shell.run(`grep -x 'hello $NAME' ../greeting && cat`), "standard input is empty, not the next command")
	require.NoError(t, shell.run("false || true"))
	require.ErrorContains(t, shell.run("echo so far so good\nfalse | true\necho too far"), "so far so good")
	require.Error(t, shell.run("true"), "it has ended")
}
