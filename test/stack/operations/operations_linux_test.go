package operations

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// enabled lets the tests that need the real servers run.
const enabled = "WARDLINE_STACK"

func TestThePageFromBareMachinesOn(t *testing.T) {
	if os.Getenv(enabled) != "1" {
		t.Skipf("SKIPPED, NOT TESTED: docs/operations.md on machines with real servers; set %s=1", enabled)
	}
	s := build(t)
	s.checkOut(t, "jobs", "test/drills")
	s.follow(t, read(t))
}

// checkOut puts folders of the repository where the page has its checkout.
func (s *site) checkOut(t *testing.T, folders ...string) {
	t.Helper()
	for _, folder := range folders {
		parent := filepath.Join(s.disk(find("here")), "root", "wardline", filepath.Dir(folder))
		require.NoError(t, os.MkdirAll(parent, 0o755))
		source := filepath.Join(filepath.Dir(page), "..", folder)
		require.NoError(t, exec.CommandContext(t.Context(), "cp", "-r", source, parent).Run())
	}
}

// follow does what the blocks say, and between them what no command can: power and disks.
func (s *site) follow(t *testing.T, blocks []block) {
	t.Helper()
	coming := events()
	heading := ""
	for _, b := range blocks {
		if b.Reason != "" {
			continue
		}
		if b.Heading != heading {
			heading = b.Heading
			coming = s.happen(t, coming, heading, false)
		}
		began := time.Now()
		for _, name := range b.On {
			if b.File != "" {
				require.NoError(t, s.shells[name].write(b.File, b.Text), "line %d", b.Line)
				continue
			}
			require.NoError(t, s.shells[name].run(b.Text), "%s, line %d:\n%s", b.Heading, b.Line, b.Text)
		}
		t.Logf("line %4d  %5.1f s  %v  %s", b.Line, time.Since(began).Seconds(), b.On, b.Heading)
		coming = s.happen(t, coming, heading, true)
	}
	require.Empty(t, coming, "the page has every heading that something happens at")
}

// event is something the page speaks of that no command does, at a heading of the page.
type event struct {
	// heading it happens at: before its first block, or after that one.
	heading string
	after   bool
	do      func(*site, *testing.T, string)
	machine string
}

func events() []event {
	return []event{
		{heading: "Lose a node", do: (*site).powerOff, machine: "east-media-2"},
		{heading: "Lose a node", after: true, do: (*site).powerOn, machine: "east-media-2"},
		{heading: "A node does not come back", do: (*site).powerOff, machine: "east-media-2"},
		{heading: "Lose a region's servers", do: (*site).replace, machine: "east-server"},
		{heading: "Lose a region", do: (*site).powerOff, machine: "west-server"},
	}
}

// happen does what happens at a place of the page, and returns what is still to come.
func (s *site) happen(t *testing.T, to []event, heading string, after bool) []event {
	t.Helper()
	return slices.DeleteFunc(to, func(e event) bool {
		if e.heading != heading || e.after != after {
			return false
		}
		t.Logf("%s: something happens to %s", heading, e.machine)
		e.do(s, t, e.machine)
		return true
	})
}
