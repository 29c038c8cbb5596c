package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/observe/observetest"
	"github.com/wardline/wardline/edge/client"
	"github.com/wardline/wardline/test/e2e/devtest"
)

// process is a program that a test can do harm to.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	events chan client.Event
	log    observetest.Text
	done   chan struct{}
}

// startProcess runs the binary until the test ends. What it prints is events.
func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, done: make(chan struct{}), events: make(chan client.Event, 10_000)}
	p.cmd = exec.CommandContext(t.Context(), devtest.Binary, args...)
	p.cmd.Env = devtest.Environment()
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.Stderr = &p.log
	var err error
	p.stdin, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.done)
		defer close(p.events)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			var event client.Event
			if json.Unmarshal(lines.Bytes(), &event) == nil {
				p.events <- event
			}
			_, _ = fmt.Fprintln(&p.log, lines.Text())
		}
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Signal(syscall.SIGCONT)
		p.signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(10 * time.Second):
			p.signal(syscall.SIGKILL)
			<-p.done
		}
		if t.Failed() {
			t.Logf("%s: %s", strings.Join(args, " "), &p.log)
		}
	})
	return p
}

func (p *process) signal(s os.Signal) { _ = p.cmd.Process.Signal(s) }

// exit waits for the end and returns the exit code.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(15 * time.Second):
		p.t.Fatalf("%s does not end", p.cmd.Args[1])
	}
	return p.cmd.ProcessState.ExitCode()
}

// await reads events until one is as wanted, and fails on any that must not come before it.
func (p *process) await(what string, wanted func(client.Event) bool, never ...client.Kind) client.Event {
	p.t.Helper()
	late := time.After(20 * time.Second)
	for {
		select {
		case event, open := <-p.events:
			if !open {
				p.t.Fatalf("ended while waiting for %s", what)
			}
			if wanted(event) {
				return event
			}
			require.NotContains(p.t, never, event.Kind, "%+v while waiting for %s", event, what)
		case <-late:
			p.t.Fatalf("waiting for %s", what)
		}
	}
}

func (p *process) awaitKind(kind client.Kind, never ...client.Kind) client.Event {
	p.t.Helper()
	return p.await(string(kind), func(e client.Event) bool { return e.Kind == kind }, never...)
}

// hears waits for sound and pictures of somebody on a leg.
func (p *process) hears(from string, leg uint32) {
	p.t.Helper()
	missing := map[string]bool{"microphone": true, "camera": true}
	p.await("media of "+from, func(e client.Event) bool {
		if e.Kind == client.Media && e.From == from && e.Leg == leg {
			delete(missing, e.Source)
		}
		return len(missing) == 0
	})
}

// flows waits for a whole second without a hole.
func (p *process) flows(from string, never ...client.Kind) {
	p.t.Helper()
	p.await("a good second of "+from, func(e client.Event) bool {
		return e.Kind == client.Stats && e.From == from && e.Packets > 40 && e.LongestGapMs < 150
	}, never...)
}

// region is two gateways, two SFUs and a relay in processes of their own.
type region struct {
	*dev
	gateways, sfus map[string]*process
	urls           map[string]string
}

func startRegion(t *testing.T) *region {
	t.Helper()
	r := &region{
		dev: &dev{&devtest.Dev{T: t, Data: t.TempDir()}}, urls: map[string]string{},
		gateways: map[string]*process{}, sfus: map[string]*process{},
	}
	startProcess(t, "turn", "--data", r.Data, "--turn", "127.0.0.1:0")
	for _, id := range []string{"sfu-1", "sfu-2"} {
		r.sfus[id] = startProcess(t, "sfu", "--data", r.Data, "--id", id, "--media", "127.0.0.1:0")
	}
	for _, id := range []string{"gateway-1", "gateway-2"} {
		before := r.newestURL()
		r.gateways[id] = startProcess(t, "gateway", "--data", r.Data, "--id", id, "--plain-http", "--http", "127.0.0.1:0")
		require.Eventually(t, func() bool { return r.newestURL() != before }, 30*time.Second, 10*time.Millisecond, id)
		r.urls[id] = r.newestURL()
	}
	for id, url := range r.urls {
		for _, other := range r.urls {
			waitFor(t, id+" knows all gateways", url+"/v1/regions", other)
		}
	}
	return r
}

// newestURL is that of the gateway that started last, as "wardline token" finds it.
func (r *region) newestURL() string {
	var state struct{ URL string }
	content, err := os.ReadFile(filepath.Join(r.Data, "dev.json"))
	if err != nil || json.Unmarshal(content, &state) != nil {
		return ""
	}
	return state.URL
}

// participant joins a visit through these gateways, the first first.
func (r *region) participant(role, id string, flags []string, gateways ...string) *process {
	r.T.Helper()
	args := append([]string{"participant"}, flags...)
	for _, gateway := range gateways {
		args = append(args, "--gateway", r.urls[gateway])
	}
	p := startProcess(r.T, args...)
	_, err := fmt.Fprintln(p.stdin, r.Token("visit", role, id))
	require.NoError(r.T, err)
	return p
}

// visit has two people meet, and returns the SFU where they did.
func (r *region) visit() (provider, patient *process, sfu string) {
	r.T.Helper()
	provider = r.participant("provider", "d-1", []string{"--admit"}, "gateway-1", "gateway-2")
	patient = r.participant("patient", "p-1", []string{"--relay"}, "gateway-1", "gateway-2")
	require.Equal(r.T, "waiting", patient.awaitKind(client.Joined).State)
	sfu = patient.awaitKind(client.Placed).SFU
	patient.hears("d-1", 1)
	provider.hears("p-1", 1)
	return provider, patient, sfu
}

func TestParticipantsHaveAVisit(t *testing.T) {
	t.Parallel()
	r := startRegion(t)
	provider, patient, _ := r.visit()
	path := func(want string) func(client.Event) bool {
		return func(e client.Event) bool { return e.Kind == client.Stats && e.Path == want && e.RTTMs > 0 }
	}
	provider.await("a direct path", path("host"))
	patient.await("a relayed path", path("relay"))
	provider.flows("p-1")
	patient.flows("d-1")
	require.NotContains(t, provider.log.String(), "eyJ", "no token is printed")

	t.Run("one is told to stop", func(t *testing.T) {
		patient.signal(syscall.SIGTERM)
		require.Equal(t, "left", patient.awaitKind(client.Bye).Code)
		require.Equal(t, "left", patient.awaitKind(client.Ended).Code)
		require.Zero(t, patient.exit())
	})
	t.Run("the other's parent dies", func(t *testing.T) {
		orphan := r.participant("patient", "p-2", []string{"--until-stdin-closes", "--no-publish"}, "gateway-2")
		orphan.awaitKind(client.Admitted)
		require.NoError(t, orphan.stdin.Close())
		require.Equal(t, "left", orphan.awaitKind(client.Ended).Code)
		require.Zero(t, orphan.exit())
	})
	t.Run("somebody who is refused says so", func(t *testing.T) {
		other := startDev(t)
		stranger := startProcess(t, "participant", "--gateway", r.urls["gateway-1"])
		_, err := fmt.Fprintln(stranger.stdin, other.Token("visit", "patient", "p-1"))
		require.NoError(t, err)
		require.Equal(t, "token-unknown-key", stranger.awaitKind(client.Refused).Code)
		require.Equal(t, 1, stranger.exit())
		require.Contains(t, stranger.log.String(), "token-unknown-key")
	})
}

func TestParticipantsMeetAgainWhenTheirSFUDies(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "frozen": syscall.SIGSTOP} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startRegion(t)
			provider, patient, sfu := r.visit()
			provider.flows("p-1")
			patient.flows("d-1")
			r.sfus[sfu].signal(harm)
			for _, each := range []struct {
				*process
				other string
			}{{provider, "p-1"}, {patient, "d-1"}} {
				placed := each.awaitKind(client.Placed, client.Lost)
				require.NotEqual(t, sfu, placed.SFU)
				require.Greater(t, placed.Epoch, uint64(1))
				longest := 0.0 // a gap under 150 ms is none
				each.await("a good second of "+each.other+" on the new leg", func(e client.Event) bool {
					if e.Kind == client.Gap {
						require.Equal(t, each.other, e.From)
						require.InDelta(t, e.Ms, e.End.Sub(e.Start).Seconds()*1000, 1)
						longest = max(longest, e.Ms)
					}
					return e.Kind == client.Stats && e.From == each.other && e.Leg == placed.Leg && e.Packets > 40 && e.LongestGapMs < 150
				}, client.Lost)
				require.Less(t, longest, 3000.0)
				t.Logf("%s was not heard for %.0f ms", each.other, longest)
			}
		})
	}
}

func TestMediaNeverStopsWhenAGatewayDies(t *testing.T) {
	t.Parallel()
	r := startRegion(t)
	provider, patient, _ := r.visit()
	provider.flows("p-1")
	patient.flows("d-1")
	r.gateways["gateway-1"].signal(syscall.SIGKILL)
	for _, each := range []struct {
		*process
		other string
	}{{provider, "p-1"}, {patient, "d-1"}} {
		lost := each.awaitKind(client.Lost)
		require.Equal(t, r.urls["gateway-1"], lost.Gateway)
		joined := each.awaitKind(client.Joined, client.Placed, client.Media)
		require.Equal(t, r.urls["gateway-2"], joined.Gateway)
		require.True(t, joined.Resumed)
		require.Less(t, joined.T.Sub(lost.T), 2*time.Second)
		for range 3 {
			stats := each.await("more media", func(e client.Event) bool {
				return e.Kind == client.Stats && e.From == each.other
			}, client.Placed, client.Media, client.Silent)
			require.Less(t, stats.LongestGapMs, 300.0)
		}
	}
}
