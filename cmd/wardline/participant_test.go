package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/observe/observetest"
	"github.com/wardline/wardline/edge/client"
)

// watched is what a command printed so far.
type watched struct{ observetest.Text }

func (w *watched) await(t *testing.T, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(w.String(), text) }, 20*time.Second, 5*time.Millisecond, "%s: %s", text, w)
}

// startDevHere runs dev in this process and returns its URL.
func startDevHere(t *testing.T, data string, extra ...string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var output, logs watched
	exit := make(chan int, 1)
	go func() {
		exit <- execute(ctx, append([]string{
			"dev", "--data", data, "--http", "127.0.0.1:0", "--media", "127.0.0.1:0", "--turn", "127.0.0.1:0", "--admin", "127.0.0.1:0",
		}, extra...), &output, &logs)
	}()
	t.Cleanup(func() {
		cancel()
		require.Equal(t, exitOK, <-exit, &logs)
	})
	output.await(t, "Ctrl-C")
	return regexp.MustCompile(`(https?://\S+)/visit#`).FindStringSubmatch(output.String())[1]
}

func joinToken(t *testing.T, data, role, id string) string {
	t.Helper()
	var token bytes.Buffer
	require.Equal(t, exitOK, execute(t.Context(), []string{
		"token", "--data", data, "--encounter", "visit", "--role", role, "--participant", id,
	}, &token, io.Discard))
	return token.String()
}

// joining is a participant that runs in this process.
type joining struct {
	out, logs watched
	stdin     *io.PipeWriter
	leave     context.CancelFunc
	ended     chan error
}

func join(t *testing.T, token string, o participantOptions) *joining {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	stdin, writer := io.Pipe()
	p := &joining{stdin: writer, leave: cancel, ended: make(chan error, 1)}
	o.logLevel = "debug"
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		p.ended <- runParticipant(ctx, o, stdin, &p.out, &p.logs)
	}()
	t.Cleanup(func() { cancel(); _ = writer.Close(); <-stopped })
	_, err := io.WriteString(writer, token)
	require.NoError(t, err)
	return p
}

func TestParticipantsHaveAVisitAndLeave(t *testing.T) {
	data := t.TempDir()
	url := startDevHere(t, data, "--plain-http")
	token := joinToken(t, data, "provider", "d-1")
	provider := join(t, token, participantOptions{gateways: []string{url}, admit: true})
	patient := join(t, joinToken(t, data, "patient", "p-1"), participantOptions{gateways: []string{url}, untilStdin: true})
	provider.out.await(t, `"from":"p-1","source":"camera"`)
	patient.out.await(t, `"from":"d-1","source":"camera"`)
	provider.out.await(t, `"event":"stats"`)
	for line := range strings.Lines(patient.out.String()) {
		var event client.Event
		require.NoError(t, json.Unmarshal([]byte(line), &event), line)
		require.NotEmpty(t, event.Kind)
		require.WithinDuration(t, time.Now(), event.T, time.Minute)
	}
	require.NoError(t, patient.stdin.Close())
	require.NoError(t, <-patient.ended, "its parent is gone")
	require.NoError(t, provider.stdin.Close(), "which means nothing to who does not wait for it")
	require.Empty(t, provider.ended)
	provider.leave()
	require.NoError(t, <-provider.ended)
	provider.out.await(t, `"event":"ended","code":"left"`)
	require.NotContains(t, provider.out.String()+provider.logs.String(), strings.TrimSpace(token))

	removed := join(t, "no-such-token\n", participantOptions{gateways: []string{url}})
	err := <-removed.ended
	require.EqualError(t, err, "join: refused: token-malformed")
	_, ranInto := errors.AsType[*runError](err)
	require.True(t, ranInto)
}

func TestParticipantWithoutReaderLeaves(t *testing.T) {
	data := t.TempDir()
	url := startDevHere(t, data, "--plain-http")
	output, writer := io.Pipe()
	require.NoError(t, output.Close())
	o := participantOptions{gateways: []string{url}, logLevel: "error"}
	err := runParticipant(t.Context(), o, strings.NewReader(joinToken(t, data, "patient", "p-1")), writer, io.Discard)
	require.ErrorIs(t, err, client.ErrNeverJoined)
}

// stuck is a reader of the log that stops at its first line, until it is released.
type stuck struct {
	once    sync.Once
	reached chan struct{}
	release chan struct{}
}

// Write implements io.Writer.
func (s *stuck) Write(p []byte) (int, error) {
	s.once.Do(func() { close(s.reached) })
	<-s.release
	return len(p), nil
}

// TestNobodyReadingTheLogKeepsNoParticipant has a gateway that sends what gets into the log.
func TestNobodyReadingTheLogKeepsNoParticipant(t *testing.T) {
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		socket, err := websocket.Accept(w, r, nil)
		for err == nil {
			err = socket.Write(r.Context(), websocket.MessageText, []byte("no message"))
		}
	}))
	defer gateway.Close()
	for name, run := range map[string]func(ctx context.Context, stderr io.Writer){
		"participant": func(ctx context.Context, stderr io.Writer) {
			o := participantOptions{gateways: []string{gateway.URL}, logLevel: "warn"}
			_ = runParticipant(ctx, o, strings.NewReader("token\n"), io.Discard, stderr)
		},
		"load": func(ctx context.Context, stderr io.Writer) {
			root := newRoot()
			root.SetOut(io.Discard)
			root.SetErr(stderr)
			root.SetArgs([]string{
				"load", "--data", drillFolder(t, gateway.URL), "--gateway", gateway.URL, "--log-level", "warn", "--progress", "none",
			})
			_ = root.ExecuteContext(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, leave := context.WithCancel(t.Context())
			log := &stuck{reached: make(chan struct{}), release: make(chan struct{})}
			ended := make(chan struct{})
			go func() { defer close(ended); run(ctx, log) }()
			<-log.reached
			leave()
			select {
			case <-ended:
			case <-time.After(20 * time.Second):
				t.Error("it did not leave")
			}
			close(log.release)
			<-ended
		})
	}
}

func TestParticipantRefusesWhatItCannotUse(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	good := participantOptions{gateways: []string{"https://127.0.0.1:1"}, logLevel: "error"}
	for name, test := range map[string]struct {
		change func(*participantOptions)
		stdin  string
		says   []string
	}{
		"no token":        {func(*participantOptions) {}, "\n", []string{"standard input", "join token"}},
		"no input":        {func(*participantOptions) {}, "", []string{"standard input", "join token"}},
		"an endless line": {func(*participantOptions) {}, strings.Repeat("secret", maxTokenLine), []string{"standard input", "at most"}},
		"no such CA":      {func(o *participantOptions) { o.caFile = empty + "x" }, "secret\n", []string{"--ca-file", "no such file"}},
		"an empty CA":     {func(o *participantOptions) { o.caFile = empty }, "secret\n", []string{"--ca-file", "no PEM"}},
		"a log level":     {func(o *participantOptions) { o.logLevel = "loud" }, "secret\n", []string{"--log-level", "warn"}},
		"a gateway":       {func(o *participantOptions) { o.gateways = []string{"here"} }, "secret\n", []string{"gateway", "https://"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := good
			test.change(&o)
			err := runParticipant(t.Context(), o, strings.NewReader(test.stdin), io.Discard, io.Discard)
			require.Error(t, err)
			_, ranInto := errors.AsType[*runError](err)
			require.False(t, ranInto, "a wrong command line")
			for _, text := range test.says {
				require.ErrorContains(t, err, text)
			}
			require.NotContains(t, err.Error(), "secret")
		})
	}
	var errs bytes.Buffer
	require.Equal(t, exitUsage, execute(t.Context(), []string{"participant"}, io.Discard, &errs))
	require.Contains(t, errs.String(), `"gateway" not set`)
}

func TestParticipantTrustsTheAuthorityItIsGiven(t *testing.T) {
	data := t.TempDir()
	url := startDevHere(t, data)
	token := joinToken(t, data, "patient", "p-1")
	trusting := join(t, token, participantOptions{gateways: []string{url}, caFile: filepath.Join(secretsDir(data), "ca.pem")})
	trusting.out.await(t, `"event":"joined"`)
	trusting.leave()
	require.NoError(t, <-trusting.ended)
	doubting := join(t, token, participantOptions{gateways: []string{url}})
	doubting.out.await(t, `"error":"unreachable"`)
	doubting.leave()
	require.ErrorIs(t, <-doubting.ended, client.ErrNeverJoined)
}
