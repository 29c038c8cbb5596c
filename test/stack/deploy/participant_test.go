//go:build linux

package deploy_test

import (
	"bufio"
	"encoding/json"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/test/stack/deploy"
)

// event is a line of wardline participant (docs/drills.md).
type event struct {
	Event  string  `json:"event"`
	Region string  `json:"region"`
	SFU    string  `json:"sfu"`
	Epoch  uint64  `json:"epoch"`
	MS     float64 `json:"ms"`
	Path   string  `json:"path"`
	From   string  `json:"from"`
}

// participant is somebody without a browser on a guest node.
type participant struct {
	leave func()

	mu     sync.Mutex
	events []event
}

// join has the bearer of a token take part at a region's gateway until they leave, at the latest when the test ends.
func (w running) join(t *testing.T, node, region, token string, flags ...string) *participant {
	t.Helper()
	m, err := w.Machine(node)
	require.NoError(t, err)
	url, err := deploy.GatewayURL(w.World, region)
	require.NoError(t, err)
	args := append([]string{"participant", "--gateway", url, "--ca-file", w.RootFile(), "--until-stdin-closes"}, flags...)
	cmd := exec.Command(w.release.Binary, args...) // without a context: it ends with its standard input
	input, err := cmd.StdinPipe()
	require.NoError(t, err)
	output, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, m.Start(cmd))
	_, err = input.Write([]byte(token + "\n"))
	require.NoError(t, err)
	p := &participant{}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(output); lines.Scan(); {
			p.note(lines.Bytes())
		}
	}()
	p.leave = sync.OnceFunc(func() {
		_ = input.Close()
		<-read
		require.NoError(t, cmd.Wait(), node)
	})
	t.Cleanup(p.leave)
	return p
}

func (p *participant) note(line []byte) {
	var e event
	if json.Unmarshal(line, &e) != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, e)
}

// last is the newest event of a kind.
func (p *participant) last(kind string) (found event, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		if e.Event == kind {
			found, ok = e, true
		}
	}
	return found, ok
}

// hears waits for a second's worth of packets from somebody, heard from now on.
func (p *participant) hears(t *testing.T) {
	t.Helper()
	seen := func() (count int) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, e := range p.events {
			if e.Event == "stats" {
				count++
			}
		}
		return count
	}
	before := seen()
	require.Eventually(t, func() bool { return seen() > before+1 }, time.Minute, 20*time.Millisecond, "media arrives")
}

// newest is the last event of a kind, which there is.
func (p *participant) newest(t *testing.T, kind string) event {
	t.Helper()
	found, ok := p.last(kind)
	require.True(t, ok, kind)
	return found
}

// longestGap is the longest silence of somebody that has ended.
func (p *participant) longestGap(from string) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	longest := 0.0
	for _, e := range p.events {
		if e.Event == "gap" && e.From == from {
			longest = max(longest, e.MS)
		}
	}
	return time.Duration(longest * float64(time.Millisecond))
}
