// Package e2e tests Wardline from outside, as its users meet it: the binary, its ports and its pages.
package e2e

import (
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/test/e2e/devtest"
)

func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "4") // they wait for media most of the time
	os.Exit(devtest.Main(m))
}

// dev is a running "wardline dev".
type dev struct{ *devtest.Dev }

func startDev(t *testing.T, extra ...string) *dev {
	t.Helper()
	return &dev{devtest.Start(t, extra...)}
}

func TestDevPrintsLinksAndStopsCleanly(t *testing.T) {
	d := startDev(t)
	require.Regexp(t, `(?m)^\s+provider\s+http://127\.0\.0\.1:\d+/visit#eyJ`, d.Text())
	require.Regexp(t, `(?m)^\s+patient\s+http://127\.0\.0\.1:\d+/visit#eyJ`, d.Text())
	response := get(t, d.URL+"/visit")
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.NotContains(t, response.Header.Get("Content-Security-Policy"), "unsafe-inline")
	require.Less(t, d.Interrupt(), 5*time.Second)
	require.Zero(t, d.Cmd.ProcessState.ExitCode())
}

func TestSecondInstanceOnBusyPortsFailsWithOneLine(t *testing.T) {
	d := startDev(t)
	address := strings.TrimPrefix(d.URL, "http://")
	_, errs, exit := devtest.Run(t, "dev", "--data", t.TempDir(), "--http", address, "--media", "127.0.0.1:0", "--turn", "127.0.0.1:0",
		"--admin", "127.0.0.1:0")
	require.Equal(t, 1, exit)
	require.Len(t, strings.Split(errs, "\n"), 1, errs)
	require.Contains(t, errs, "--http")
	require.Contains(t, errs, "address already in use")
}

func TestBadCommandLinesSayWhatIsAllowed(t *testing.T) {
	token := func(flags ...string) []string {
		return append([]string{"token", "--encounter", "e", "--participant", "p", "--role", "patient"}, flags...)
	}
	free := func(flags ...string) []string {
		return append([]string{"dev", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--media", "127.0.0.1:0"}, flags...)
	}
	for name, test := range map[string]struct {
		args []string
		says []string
	}{
		"role":         {token("--role", "nurse"), []string{"--role", `"nurse"`, "provider, patient"}},
		"ttl":          {token("--ttl", "48h"), []string{"--ttl 48h", "24h"}},
		"format":       {token("--format", "xml"), []string{`"xml"`, "token, link or json"}},
		"participant":  {token("--participant", "Jane Doe"), []string{"--participant", "letters"}},
		"plain public": {free("--plain-http", "--http", "0.0.0.0:0"), []string{"--plain-http", "loopback"}},
		"media":        {free("--media", "nowhere"), []string{"--media", "HOST:PORT"}},
		"capacity":     {free("--capacity", "0"), []string{"--capacity 0", "at least 1"}},
		"peer":         {free("--turn", "127.0.0.1:0", "--allow-peer", "localhost"), []string{"--allow-peer", "IP:PORT"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, errs, exit := devtest.Run(t, append(test.args, "--data", t.TempDir())...)
			require.Equal(t, 2, exit, errs)
			for _, text := range test.says {
				require.Contains(t, errs, text)
			}
		})
	}
	_, errs, exit := devtest.Run(t, "devv")
	require.Equal(t, 2, exit)
	require.Contains(t, errs, "devv")
}

func TestVersionJSON(t *testing.T) {
	out, _, exit := devtest.Run(t, "version", "--json")
	require.Zero(t, exit)
	var version map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &version))
	require.Contains(t, version, "version")
	require.Contains(t, version, "go")
}

func TestTokenRolesPrintsTheMatrix(t *testing.T) {
	out, _, exit := devtest.Run(t, "token", "roles")
	require.Zero(t, exit)
	for _, word := range []string{"provider", "patient", "scribe", "admit", "publish-screen"} {
		require.Contains(t, out, word)
	}
}

func get(t *testing.T, url string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response
}
