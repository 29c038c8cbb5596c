package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// running is a component that runs in this process.
type running struct {
	logs watched
	stop context.CancelFunc
	exit chan int
}

// startMember runs a component until the test ends.
func startMember(t *testing.T, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	r := &running{stop: cancel, exit: make(chan int, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.exit <- execute(ctx, args, io.Discard, &r.logs)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		if t.Failed() {
			t.Logf("wardline %s said:\n%s", args[0], &r.logs)
		}
	})
	return r
}

// ready is what /ready of an admin port says.
type ready struct {
	Status string `json:"status"`
	Checks []struct {
		Name  string `json:"name"`
		Ready bool   `json:"ready"`
		Error string `json:"error"`
	} `json:"checks"`
}

// failing are the checks that fail, by name, and why.
func (r ready) failing() map[string]string {
	failing := make(map[string]string)
	for _, check := range r.Checks {
		if !check.Ready {
			failing[check.Name] = check.Error
		}
	}
	return failing
}

func adminGet(t *testing.T, address, path string) (int, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, http.NoBody)
	require.NoError(t, err)
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, body
}

func readyOf(t *testing.T, address string) ready {
	t.Helper()
	_, body := adminGet(t, address, "/ready")
	var r ready
	if body != nil {
		require.NoError(t, json.Unmarshal(body, &r))
	}
	return r
}

// writeIdentity writes what stands for a workload identity.
func writeIdentity(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nomad_vault.jwt")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// TestAStartWithoutVaultKeepsTryingAndSaysSo needs no Vault: nobody listens where it should be.
func TestAStartWithoutVaultKeepsTryingAndSaysSo(t *testing.T) {
	for _, component := range []string{"gateway", "sfu", "turn"} {
		t.Run(component, func(t *testing.T) {
			data, admin := filepath.Join(t.TempDir(), "data"), freeAddress(t)
			r := startMember(t, component, "--data", data, "--admin", admin,
				"--vault", "https://"+freeAddress(t), "--vault-jwt-file", writeIdentity(t, "identity-text"))
			require.Eventually(t, func() bool {
				return strings.Contains(readyOf(t, admin).failing()["start"], "waiting for Vault")
			}, 20*time.Second, 10*time.Millisecond)
			status, body := adminGet(t, admin, "/ready")
			require.Equal(t, http.StatusServiceUnavailable, status)
			require.Contains(t, string(body), "connection refused")
			status, _ = adminGet(t, admin, "/live")
			require.Equal(t, http.StatusOK, status)
			require.Empty(t, r.exit)
			r.logs.await(t, "login to vault failed, trying again")

			begin := time.Now()
			r.stop()
			require.Equal(t, exitOK, <-r.exit)
			require.Less(t, time.Since(begin), 5*time.Second)
			require.NotContains(t, r.logs.String(), "identity-text")
			require.NoDirExists(t, secretsDir(data), "no key falls back to the disk")
			require.NoDirExists(t, tenantsDir(data))
		})
	}
}

func TestVaultFlagsOfComponents(t *testing.T) {
	identity := writeIdentity(t, "identity")
	for says, args := range map[string][]string{
		"--vault-jwt-file: needed":   {"--vault", "https://127.0.0.1:1"},
		"--vault: needed with":       {"--vault-jwt-file", identity},
		"must be https":              {"--vault", "http://127.0.0.1:1", "--vault-jwt-file", identity},
		"vault authority":            {"--vault", "https://127.0.0.1:1", "--vault-jwt-file", identity, "--vault-ca-file", identity},
		`vault role "Not a role"`:    {"--vault", "https://127.0.0.1:1", "--vault-jwt-file", identity, "--vault-role", "Not a role"},
		`--admin "nowhere": must be`: {"--admin", "nowhere"},
	} {
		code, _, errs := runCommand(t, "", append([]string{"sfu", "--data", t.TempDir()}, args...)...)
		require.Equal(t, exitUsage, code, "%v: %s", args, errs)
		require.Contains(t, lastLine(errs), says)
	}
}

// TestWrongFlagsStopAStartThatCouldOnlyWait is of one with nobody at Consul and Vault, which would wait for them.
func TestWrongFlagsStopAStartThatCouldOnlyWait(t *testing.T) {
	away := []string{
		"--region", "east", "--node", "east-1", "--consul", "https://127.0.0.1:1",
		"--vault", "https://127.0.0.1:1", "--vault-jwt-file", writeIdentity(t, "identity"),
	}
	for says, args := range map[string][]string{
		`--capacity 0: must be at least 1`:           {"sfu", "--capacity", "0"},
		`--media "7200": must be HOST:PORT`:          {"sfu", "--media", "7200"},
		`--control ":x": the port must be`:           {"sfu", "--control", ":x"},
		`--advertise "here": must be an IP address`:  {"sfu", "--advertise", "192.0.2.1,here"},
		`--id "a b": 1 to 64 letters`:                {"sfu", "--id", "a b"},
		`invalid: --node "a b": must match`:          {"sfu", "--node", "a b"},
		`invalid: --region "a b": must match`:        {"turn", "--region", "a b"},
		`--drain-timeout -1s: must not be`:           {"sfu", "--drain-timeout", "-1s"},
		`--turn "3478": must be HOST:PORT`:           {"turn", "--turn", "3478"},
		`--turn-tls "5349": must be HOST:PORT`:       {"turn", "--turn-tls", "5349"},
		`--relay-ip "0.0.0.0": must be an IP`:        {"turn", "--turn", "0.0.0.0:0"},
		`--relay-ports "1-2": must be MIN-MAX`:       {"turn", "--relay-ports", "1-2"},
		`--allow-peer: peer "x": must be IP:PORT`:    {"turn", "--allow-peer", "x"},
		`--control "x": must be HOST:PORT`:           {"turn", "--control", "x"},
		`--http "8443": must be HOST:PORT`:           {"gateway", "--http", "8443"},
		`--plain-http: --http 192.0.2.1:80 is not a`: {"gateway", "--plain-http", "--http", "192.0.2.1:80"},
		`--public-url "x": must be https://HOST`:     {"gateway", "--public-url", "x"},
		`--regions "a b": must be names of regions`:  {"gateway", "--regions", "east,a b"},
		`--internal "x": must be HOST:PORT`:          {"gateway", "--internal", "x"},
		`--internal ":7101": must be the address`:    {"gateway", "--internal", ":7101"},
		`--control "[::]:1": must be the address`:    {"sfu", "--control", "[::]:1"},
		`--turn ":3478": must be the address`:        {"turn", "--turn", ":3478", "--relay-ip", "192.0.2.1"},
		`--turn-tls "0.0.0.0:1": must be the add`:    {"turn", "--turn-tls", "0.0.0.0:1"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		var errs bytes.Buffer
		args = slices.Concat(args[:1], []string{"--data", filepath.Join(t.TempDir(), "data")}, away, args[1:]) // the last of two wins
		code := execute(ctx, args, io.Discard, &errs)
		cancel()
		require.Equal(t, exitUsage, code, "%v: %s", args, &errs)
		require.True(t, strings.HasPrefix(errs.String(), "wardline: "+says), errs.String())
	}
}

func TestWhoAnnouncesItselfSaysWhereItIsReached(t *testing.T) {
	for address, there := range map[string]bool{
		"192.0.2.1:7201": true, "[2001:db8::1]:7201": true, "relay.example:5349": true,
		"0.0.0.0:7201": false, "[::]:7201": false, ":7201": false,
	} {
		require.Equal(t, there, (&commonOptions{register: true}).reachable("--control", address) == nil, address)
		require.NoError(t, (&commonOptions{}).reachable("--control", address), "somebody else announces it")
	}
}

// TestNoComponentIsAloneByMistake is of one whose agent's address got lost: it would serve, and find nobody.
func TestNoComponentIsAloneByMistake(t *testing.T) {
	file := writeIdentity(t, "token")
	for _, component := range []string{"gateway", "sfu", "turn"} {
		for _, flag := range []string{"--consul-token-file", "--consul-jwt-file", "--consul-ca-file"} {
			code, _, errs := runCommand(t, "", component, "--data", t.TempDir(), "--admin", "nowhere", flag, file)
			require.Equal(t, exitUsage, code, errs)
			require.Contains(t, errs, "--consul: needed")
		}
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

func TestVaultRoleIsTheComponent(t *testing.T) {
	for _, cmd := range newRoot().Commands() {
		if flag := cmd.Flags().Lookup("vault-role"); flag != nil {
			require.Equal(t, cmd.Name(), flag.DefValue)
		}
	}
	require.NotNil(t, newGateway().Flags().Lookup("vault-role"))
}

// freeAddress is where nobody listens at the moment.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := listen(t.Context(), "--test", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().String()
}

func TestALogThatIsNotReadHoldsNobodyUp(t *testing.T) {
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	defer writer.Close()
	p, err := newProcess(commonOptions{logLevel: "info"}, "sfu", writer)
	require.NoError(t, err)
	logged := make(chan struct{})
	go func() {
		defer close(logged)
		for range 10_000 { // ten times what the pipe and the process keep
			p.log.Info().Msg("a line that would stop who logs, such as who forwards media, once the pipe is full")
		}
	}()
	select {
	case <-logged:
	case <-time.After(10 * time.Second):
		t.Error("it stands still")
	}
	require.NoError(t, reader.Close())
	<-logged
	p.close()
	scraped := httptest.NewRecorder()
	p.admin.Handler().ServeHTTP(scraped, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	require.Regexp(t, `(?m)^wardline_log_lines_lost_total [1-9]`, scraped.Body.String())
}
