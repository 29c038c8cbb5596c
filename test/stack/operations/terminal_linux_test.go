package operations

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/test/stack/machine"
)

// patience is how long one block may take.
const patience = 5 * time.Minute

// endMark tells the end of a block's output.
const endMark = "=== end of block ==="

// fileMark ends a file that is typed in.
const fileMark = "=== end of file ==="

// terminal is a shell that stays open on a machine, as the reader's would: variables, functions and the folder last from
// block to block. It ends with the first command that fails.
type terminal struct {
	name  string
	input io.WriteCloser
	lines chan string
	ended sync.WaitGroup
	// transcript is given what is typed and said, if it is there.
	transcript io.Writer
}

func openTerminal(t *testing.T, m *machine.Machine) *terminal {
	t.Helper()
	shell := exec.Command("/bin/bash", "--noprofile", "--norc", "-euo", "pipefail", "-s")
	shell.Env = []string{"HOME=/root", "USER=root", "LANG=C.UTF-8", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	shell.Dir = "/"
	input, err := shell.StdinPipe()
	require.NoError(t, err)
	output, err := shell.StdoutPipe()
	require.NoError(t, err)
	shell.Stderr = shell.Stdout
	require.NoError(t, m.Start(shell))
	term := &terminal{name: m.Name(), input: input, lines: make(chan string, 1024)}
	term.ended.Go(func() {
		defer close(term.lines)
		scanner := bufio.NewScanner(output)
		scanner.Buffer(nil, 1<<20)
		for scanner.Scan() {
			term.lines <- scanner.Text()
		}
		_ = shell.Wait()
	})
	require.NoError(t, term.run("cd"))
	return term
}

// run types commands and waits until the last one is done. The error of a failed one carries what was said.
func (t *terminal) run(commands string) error {
	if t.transcript != nil {
		fmt.Fprintf(t.transcript, "%s# %s\n", t.name, commands)
	}
	// Read whole before it runs, so that a command that reads standard input does not eat the next one.
	_, err := fmt.Fprintf(t.input, "{ %s\n} </dev/null; printf '\\n%%s\\n' '%s'\n", strings.TrimSuffix(commands, "\n"), endMark)
	if err != nil {
		return fmt.Errorf("terminal of %s: %w", t.name, err)
	}
	var said []string
	late := time.After(patience)
	for {
		select {
		case line, ok := <-t.lines:
			if !ok {
				return fmt.Errorf("on %s a command failed: %s", t.name, strings.Join(said, "\n"))
			}
			if line == endMark {
				return nil
			}
			said = append(said, line)
			if t.transcript != nil {
				fmt.Fprintln(t.transcript, line)
			}
		case <-late:
			return fmt.Errorf("on %s nothing ended within %s: %s", t.name, patience, strings.Join(said, "\n"))
		}
	}
}

// write puts a file where the terminal is.
func (t *terminal) write(path, text string) error {
	return t.run(fmt.Sprintf("cat >%q <<'%s'\n%s%s", path, fileMark, text, fileMark))
}

// wait waits for the shell's end, after its machine's.
func (t *terminal) wait() {
	_ = t.input.Close()
	for range t.lines {
		continue // nobody reads it any more
	}
	t.ended.Wait()
}
