package clients_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/edge/drill"
	"github.com/wardline/wardline/edge/drill/clients"
	"github.com/wardline/wardline/edge/drill/timeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script makes a client of a shell script.
func script(t *testing.T, text string) []string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "client")
	require.NoError(t, os.WriteFile(name, []byte("#!/bin/sh\n"+text), 0o600))
	return []string{"/bin/sh", name}
}

var who = timeline.Person{Visit: "v", Participant: "a"}

func TestAClientIsToldEverythingAndItsTokenIsNoArgument(t *testing.T) {
	t.Parallel()
	c := clients.Processes{
		Command: script(t, `read token; echo "$token|$*"; cat >/dev/null; echo left`), CAFile: "/ca.pem",
		Prefix: func(node string) []string { return []string{"/usr/bin/env", "NODE=" + node} },
	}
	running, err := c.Start(t.Context(), drill.Client{
		Person: who, At: "west-guest-1", Gateways: []string{"https://a", "https://b"}, Token: "secret",
		RTT: map[string]int{"west": 30, "east": 5}, Relay: true, Admit: true,
	})
	require.NoError(t, err)
	lines := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(running.Events())
		lines <- string(text)
	}()
	require.NoError(t, running.Stop(t.Context()), "the end of standard input asks it to leave")
	require.NoError(t, running.Stop(t.Context()), "again does nothing")
	text := <-lines
	require.Equal(t, "secret|--until-stdin-closes --gateway https://a --gateway https://b --ca-file /ca.pem "+
		"--rtt east=5 --rtt west=30 --relay --admit\nleft\n", text)
}

func TestAClientThatDoesNotLeaveIsEnded(t *testing.T) {
	t.Parallel()
	c := clients.Processes{Command: script(t, `exec sleep 600`), Grace: 20 * time.Millisecond}
	running, err := c.Start(t.Context(), drill.Client{Person: who})
	require.NoError(t, err)
	require.ErrorContains(t, running.Stop(t.Context()), "killed")
	_, err = io.ReadAll(running.Events())
	require.True(t, err == nil || os.IsTimeout(err), "%v", err)
}

func TestWhatADyingClientSaidIsTold(t *testing.T) {
	t.Parallel()
	c := clients.Processes{
		Command: script(
			t,
			`read token; i=0; while [ $i -lt 500 ]; do echo "line $i of many" >&2; i=$((i+1)); done; echo the last >&2; exit 3`,
		),
	}
	running, err := c.Start(t.Context(), drill.Client{Person: who, Token: "secret"})
	require.NoError(t, err)
	_, err = io.ReadAll(running.Events())
	require.NoError(t, err)
	err = running.Stop(t.Context())
	require.ErrorContains(t, err, "exit status 3: the last")
	require.NotContains(t, err.Error(), "secret")
}

func TestClientsThatCannotStart(t *testing.T) {
	t.Parallel()
	_, err := clients.Processes{Command: []string{"/no/such/program"}}.Start(t.Context(), drill.Client{Person: who})
	require.ErrorContains(t, err, "/no/such/program")
	_, err = clients.Processes{Command: []string{"/bin/true"}}.Start(t.Context(), drill.Client{Person: who, At: "west-guest-1"})
	require.ErrorIs(t, err, clients.ErrNoWorld)
	// One that ends before it takes its token: either its end or the broken pipe is told.
	running, err := clients.Processes{Command: script(t, `exec <&-; exit 0`)}.Start(
		t.Context(), drill.Client{Person: who, Token: strings.Repeat("x", 1<<20)},
	)
	if err == nil {
		require.NoError(t, running.Stop(t.Context()))
	} else {
		require.ErrorContains(t, err, "hand over the join token")
	}
}
