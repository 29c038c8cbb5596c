// Package operations runs docs/operations.md: its files are written and its commands run, in the order of the page, on
// bare machines with the real servers.
package operations

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// page is where the page is, as seen from this package.
var page = filepath.Join("..", "..", "..", "docs", "operations.md")

// block is one fenced block of the page that is run or written.
type block struct {
	// Line is where it starts, Heading the last heading before it.
	Line    int
	Heading string
	// On names the terminals it is for; File is the path it is written to, empty for commands.
	On   []string
	File string
	// Reason says why commands are not run; empty for those that are.
	Reason string
	Text   string
}

// parse reads the page's blocks. A block says for itself what becomes of it, after its language:
//
//	sh run-on=here          commands, run in the terminal of that name
//	hcl file=PATH on=here   a file, relative to where the terminal is
//	sh norun REASON         commands that nobody can run here
//	text                    something to look at
func parse(page string) ([]block, error) {
	var (
		blocks  []block
		heading string
		open    *block
		text    []string
		number  int
	)
	for line := range strings.Lines(page) {
		line = strings.TrimSuffix(line, "\n")
		number++
		fence, fenced := strings.CutPrefix(line, "```")
		switch {
		case open != nil && line == "```":
			open.Text = strings.Join(text, "\n") + "\n"
			blocks, open, text = append(blocks, *open), nil, nil
		case open != nil:
			text = append(text, line)
		case fenced:
			b, err := describe(fence)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", number, err)
			}
			b.Line, b.Heading = number, heading
			open = &b
		case strings.HasPrefix(line, "#"):
			heading = strings.TrimSpace(strings.TrimLeft(line, "#"))
		}
	}
	if open != nil {
		return nil, fmt.Errorf("line %d: the block does not end", open.Line)
	}
	return blocks, nil
}

// describe reads what stands behind the fence.
func describe(info string) (block, error) {
	var b block
	language, rest, _ := strings.Cut(info, " ")
	if reason, ok := strings.CutPrefix(rest, "norun"); ok {
		b.Reason = strings.TrimSpace(reason)
		if b.Reason == "" {
			return b, errors.New("norun: say why")
		}
		return b, nil
	}
	for _, word := range strings.Fields(rest) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "run-on", "on":
			b.On = strings.Split(value, ",")
		case "file":
			b.File = value
		default:
			return b, fmt.Errorf("%q: must be run-on=, file=, on= or norun", word)
		}
	}
	switch {
	case language == "text" && rest == "":
		b.Reason = "something to look at"
	case language == "sh" && b.File == "" && len(b.On) == 0:
		return b, errors.New("commands need run-on=TERMINAL or norun REASON")
	case language != "sh" && (b.File == "" || len(b.On) == 0):
		return b, fmt.Errorf("a file needs file=PATH and on=TERMINAL, language %q", language)
	}
	return b, nil
}

func read(t *testing.T) []block {
	t.Helper()
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	blocks, err := parse(string(text))
	require.NoError(t, err)
	return blocks
}

func TestBlocksSayWhatBecomesOfThem(t *testing.T) {
	t.Parallel()
	blocks, err := parse("# A\n```sh run-on=here\nls\n```\ntext\n## B\n```hcl file=a/b.hcl on=here,server\nx = 1\n\ny = 2\n```\n" +
		"```sh norun needs a browser\nopen\n```\n```text\nout\n```\n")
	require.NoError(t, err)
	require.Equal(t, []block{
		{Line: 2, Heading: "A", On: []string{"here"}, Text: "ls\n"},
		{Line: 7, Heading: "B", On: []string{"here", "server"}, File: "a/b.hcl", Text: "x = 1\n\ny = 2\n"},
		{Line: 12, Heading: "B", Reason: "needs a browser", Text: "open\n"},
		{Line: 15, Heading: "B", Reason: "something to look at", Text: "out\n"},
	}, blocks)
	for _, wrong := range []string{
		"```sh\nls\n```\n", "```sh norun\nls\n```\n", "```hcl\nx = 1\n```\n", "```hcl file=a\nx = 1\n```\n", "```sh run-at=here\nls\n```\n",
		"```sh run-on=here\nls\n",
	} {
		_, err := parse(wrong)
		require.Error(t, err, wrong)
	}
}

func TestThePageIsRunNearlyWhole(t *testing.T) {
	t.Parallel()
	commands, skipped := 0, 0
	for _, b := range read(t) {
		if b.File == "" {
			commands++
		}
		if b.Reason != "" {
			skipped++
		}
		for _, name := range b.On {
			require.True(t, slices.Contains(terminals(), name), "line %d: no terminal %q, there are %v", b.Line, name, terminals())
		}
	}
	require.Greater(t, commands, 20)
	require.Less(t, skipped*10, commands, "blocks that are not run stay few")
}
