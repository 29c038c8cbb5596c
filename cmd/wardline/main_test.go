package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"flag"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// asWardline has this test program be wardline.
const asWardline = "TEST_AS_WARDLINE"

func TestMain(m *testing.M) {
	if os.Getenv(asWardline) != "" {
		main()
	}
	for twin := range twins(newRoot()) {
		_ = os.Unsetenv(twin) // somebody may have exported it for wardline
	}
	_ = flag.Set("test.parallel", "6") // they wait for servers most of the time
	goleak.VerifyTestMain(m)
}

// twins are the variables that a command and those under it look at, and what values each of them takes.
func twins(cmd *cobra.Command) map[string][]string {
	found := make(map[string][]string)
	cmd.LocalFlags().VisitAll(func(flag *pflag.Flag) {
		name := environmentName(flag.Name)
		found[name] = append(found[name], strings.TrimSuffix(flag.Value.Type(), "Slice"))
	})
	for _, child := range cmd.Commands() {
		for name, types := range twins(child) {
			found[name] = append(found[name], types...)
		}
	}
	return found
}

func TestAVariableSuitsEveryCommandThatLooksAtIt(t *testing.T) {
	for twin, types := range twins(newRoot()) {
		require.Len(t, slices.Compact(slices.Sorted(slices.Values(types))), 1, twin)
	}
}

func TestEveryFlagHasAnEnvironmentTwin(t *testing.T) {
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	level := flags.String("log-level", "info", "")
	count := flags.Int("capacity", 1, "")
	require.NoError(t, flags.Parse([]string{"--capacity", "7"}))
	environment := map[string]string{"WARDLINE_LOG_LEVEL": "debug", "WARDLINE_CAPACITY": "9"}
	lookup := func(name string) (string, bool) { value, ok := environment[name]; return value, ok }

	require.NoError(t, applyEnvironment(flags, lookup))
	require.Equal(t, "debug", *level)
	require.Equal(t, 7, *count, "the command line wins")

	flags = pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags.Int("capacity", 1, "")
	environment["WARDLINE_CAPACITY"] = "many"
	require.ErrorContains(t, applyEnvironment(flags, lookup), `WARDLINE_CAPACITY="many"`)
}

func TestNoVariableConsents(t *testing.T) {
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	yes := flags.Bool("yes", false, "")
	require.NoError(t, applyEnvironment(flags, func(string) (string, bool) { return "true", true }))
	require.False(t, *yes)
}

func TestEveryWrongVariableHasALine(t *testing.T) {
	t.Setenv("WARDLINE_CAPACITY", "many")
	t.Setenv("WARDLINE_DRAIN_TIMEOUT", "long")
	code, _, errs := runCommand(t, "", "sfu")
	require.Equal(t, exitUsage, code)
	require.Regexp(t, `^wardline: WARDLINE_CAPACITY="many": .*\nwardline: WARDLINE_DRAIN_TIMEOUT="long": .*\n$`, errs)
}

// TestTheCommandLineWinsOverAlternatives is of variables that would be a conflict as flags.
func TestTheCommandLineWinsOverAlternatives(t *testing.T) {
	file := writeIdentity(t, "token")
	for variable, args := range map[string][]string{
		"WARDLINE_DIR":              {"secrets", "backup", "--out", "east.snap", "--vault-token-file", file},
		"WARDLINE_OUT":              {"secrets", "backup", "--dir", "snapshots", "--vault-token-file", file},
		"WARDLINE_VAULT_JWT_FILE":   {"secrets", "backup", "--out", "east.snap", "--vault-token-file", file},
		"WARDLINE_VAULT_TOKEN_FILE": {"secrets", "backup", "--out", "east.snap", "--vault-jwt-file", file},
	} {
		t.Run(variable, func(t *testing.T) {
			t.Setenv(variable, file)
			code, _, errs := runCommand(t, "", append(args, "--vault", "http://vault.example")...)
			require.Equal(t, exitUsage, code)
			require.Contains(t, errs, "must be https", "it came as far as the login")
		})
	}
}

func TestEveryCommandExplainsItself(t *testing.T) {
	var check func(*testing.T, *cobra.Command)
	check = func(t *testing.T, cmd *cobra.Command) {
		t.Helper()
		require.NotEmpty(t, cmd.Short, cmd.CommandPath())
		cmd.Flags().VisitAll(func(flag *pflag.Flag) { require.NotEmpty(t, flag.Usage, cmd.CommandPath()+" --"+flag.Name) })
		for _, child := range cmd.Commands() {
			check(t, child)
		}
	}
	check(t, newRoot())
	for _, shell := range []string{"bash", "zsh", "fish"} {
		var out bytes.Buffer
		require.Equal(t, exitOK, execute(t.Context(), []string{"completion", shell}, &out, io.Discard))
		require.Contains(t, out.String(), "wardline")
	}
}

func TestShellsCompleteTheValuesOfFlags(t *testing.T) {
	oneOf := regexp.MustCompile(`\b([a-z]+), (?:[a-z]+, )*[a-z]+ or ([a-z]+)\b`) // as help texts list what is allowed
	found := 0
	var check func(*testing.T, *cobra.Command)
	check = func(t *testing.T, cmd *cobra.Command) {
		t.Helper()
		cmd.LocalFlags().VisitAll(func(flag *pflag.Flag) {
			values := oneOf.FindStringSubmatch(flag.Usage)
			if flag.Name == "role" {
				values = []string{"", "provider", "scribe"}
			}
			if values == nil {
				return
			}
			found++
			path := slices.Concat([]string{"__complete"}, strings.Fields(cmd.CommandPath())[1:], []string{"--" + flag.Name, ""})
			code, out, errs := runCommand(t, "", path...)
			require.Equal(t, exitOK, code, errs)
			require.Contains(t, out, values[1], "%v", path)
			require.Contains(t, out, values[2], "%v", path)
		})
		for _, child := range cmd.Commands() {
			check(t, child)
		}
	}
	check(t, newRoot())
	require.GreaterOrEqual(t, found, 10)
}

func TestHelpNamesNoFlagThatTheCommandLacks(t *testing.T) {
	named := regexp.MustCompile("--([a-z][a-z0-9-]*[a-z0-9])")
	var check func(*testing.T, *cobra.Command)
	check = func(t *testing.T, cmd *cobra.Command) {
		t.Helper()
		cmd.InitDefaultHelpFlag()
		inherited := cmd.InheritedFlags()
		cmd.LocalFlags().VisitAll(func(flag *pflag.Flag) {
			for _, name := range named.FindAllStringSubmatch(flag.Usage, -1) {
				known := cmd.Flags().Lookup(name[1]) != nil || inherited.Lookup(name[1]) != nil
				require.True(t, known, "%s --%s: %s", cmd.CommandPath(), flag.Name, flag.Usage)
			}
		})
		for _, child := range cmd.Commands() {
			check(t, child)
		}
	}
	check(t, newRoot())
}

func TestSubcommandsThatAreNotThereAreRefused(t *testing.T) {
	var check func(*testing.T, *cobra.Command)
	check = func(t *testing.T, cmd *cobra.Command) {
		t.Helper()
		if !cmd.HasSubCommands() {
			return
		}
		path := strings.Fields(cmd.CommandPath())[1:]
		code, _, errs := runCommand(t, "", append(path, "no-such")...)
		require.Equal(t, exitUsage, code, cmd.CommandPath())
		require.Contains(t, errs, "no-such")
		code, out, errs := runCommand(t, "", append(append([]string{"help"}, path...), "no-such")...)
		require.Equal(t, exitUsage, code, "help on "+cmd.CommandPath())
		require.Contains(t, errs, "no-such")
		require.Empty(t, out)
		for _, child := range cmd.Commands() {
			check(t, child)
		}
	}
	check(t, newRoot())
	code, _, errs := runCommand(t, "", "completion", "no-such")
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, "no-such")
	for _, args := range []string{"secrets", "help secrets", "help"} {
		code, out, _ := runCommand(t, "", strings.Fields(args)...)
		require.Equal(t, exitOK, code, args)
		require.Contains(t, out, "Available Commands", args)
	}
	code, out, _ := runCommand(t, "", "help", "secrets", "restore")
	require.Equal(t, exitOK, code)
	require.Contains(t, out, "restore FILE")
}

func TestWhatWasProbablyMeantIsNamed(t *testing.T) {
	for args, meant := range map[string]string{
		"gatway": "gateway", "secrets rotat": "rotate", "help tennant": "tenant", "help secrets aply": "apply",
		"secrets root creat": "create", "tenant lst": "list", "completion bahs": "bash",
	} {
		code, _, errs := runCommand(t, "", strings.Fields(args)...)
		require.Equal(t, exitUsage, code, args)
		require.Contains(t, errs, "unknown command", args)
		require.Regexp(t, `(?i)did you mean[^$]*\b`+meant, errs, args)
	}
}

// TestDevLeavesNothingBehind runs everything in this process, so that goleak sees what is left.
func TestDevLeavesNothingBehind(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	var logs bytes.Buffer
	exit := make(chan int, 1)
	go func() {
		exit <- execute(ctx, []string{
			"dev", "--data", t.TempDir(), "--http", "127.0.0.1:0", "--media", "127.0.0.1:0", "--turn", "127.0.0.1:0",
			"--admin", "127.0.0.1:0", "--e2ee",
		}, writer, &logs)
		_ = writer.Close()
	}()
	output := &strings.Builder{}
	read := make(chan struct{})
	go func() {
		defer close(read)
		buffer := make([]byte, 4096)
		for {
			n, err := reader.Read(buffer)
			output.Write(buffer[:n])
			if strings.Contains(output.String(), "Ctrl-C") {
				cancel()
			}
			if err != nil {
				return
			}
		}
	}()
	<-ctx.Done()
	begin := time.Now()
	require.Equal(t, exitOK, <-exit, logs.String())
	require.Less(t, time.Since(begin), 5*time.Second)
	<-read
	require.Contains(t, output.String(), "Stopping")
	require.Contains(t, output.String(), "--e2ee --format link")
	links := regexp.MustCompile(`/visit#(\S+)`).FindAllStringSubmatch(output.String(), -1)
	require.Len(t, links, 2)
	for _, link := range links {
		require.True(t, saysEncrypted(t, link[1]))
	}
}

// saysEncrypted reports whether a join token is for an end-to-end encrypted encounter.
func saysEncrypted(t *testing.T, token string) bool {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	require.NoError(t, err)
	return strings.Contains(string(payload), `"e2ee":true`)
}

func TestTokensSayWhetherTheVisitIsEncrypted(t *testing.T) {
	for flag, want := range map[string]bool{"--e2ee": true, "--e2ee=false": false} {
		var out, logs bytes.Buffer
		arguments := []string{"token", "--data", keysHere(t), "--encounter", "e", "--participant", "p", "--role", "patient", flag}
		require.Equal(t, exitOK, execute(t.Context(), arguments, &out, &logs), logs.String())
		require.Equal(t, want, saysEncrypted(t, out.String()), flag)
	}
}

// TestWhatWasInterruptedIsNotDone asks a Vault and a Consul that take connections and never answer.
func TestWhatWasInterruptedIsNotDone(t *testing.T) {
	listener, err := listen(t.Context(), "--test", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, listener.Close()) }()
	server, token := "https://"+listener.Addr().String(), writeIdentity(t, "token")
	for _, args := range [][]string{
		{"secrets", "backup", "--out", filepath.Join(t.TempDir(), "east.snap"), "--vault", server, "--vault-token-file", token},
		{"secrets", "rotate", "turn", "--vault", server, "--vault-token-file", token},
		{"tenant", "remove", "clinic", "--consul", server},
	} {
		t.Run(args[0]+" "+args[1], func(t *testing.T) {
			ctx, interrupt := context.WithCancel(t.Context())
			var stderr bytes.Buffer
			exit := make(chan int, 1)
			go func() { exit <- execute(ctx, args, io.Discard, &stderr) }()
			asked, err := listener.Accept()
			require.NoError(t, err)
			interrupt()
			require.Equal(t, exitFailure, <-exit)
			require.NoError(t, asked.Close())
			require.Contains(t, stderr.String(), "canceled")
		})
	}
}

// startSelf starts wardline as a process of its own and waits until it serves.
func startSelf(t *testing.T, args ...string) (cmd *exec.Cmd, log io.ReadCloser) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED, NOT TESTED: it needs signals")
	}
	self, err := os.Executable()
	require.NoError(t, err)
	cmd = exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), asWardline+"=1")
	log, err = cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(log)
	for lines.Scan() && !strings.Contains(lines.Text(), `"serving"`) {
		continue
	}
	return cmd, log
}

func TestNobodyReadingTheLogEndsNothing(t *testing.T) {
	cmd, log := startSelf(t, "sfu", "--data", t.TempDir(), "--media", "127.0.0.1:0", "--drain-timeout", "1s")
	require.NoError(t, log.Close())
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM)) // it says that it drains
	require.NoError(t, cmd.Wait())
}

func TestALostTerminalEndsInOrder(t *testing.T) {
	if signal.Ignored(syscall.SIGHUP) {
		t.Skip("SKIPPED, NOT TESTED: under nohup nothing is ended by a lost terminal")
	}
	cmd, log := startSelf(t, "sfu", "--data", t.TempDir(), "--media", "127.0.0.1:0")
	require.NoError(t, cmd.Process.Signal(syscall.SIGHUP))
	_, err := io.Copy(io.Discard, log)
	require.NoError(t, err)
	require.NoError(t, cmd.Wait())
}

func TestLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "127.9.9.9": true, "::1": true, "0.0.0.0": false, "": false, "192.0.2.1": false, "::": false,
	} {
		require.Equal(t, want, isLoopback(host), host)
	}
}

func TestLinksUseTheAddressPeopleReach(t *testing.T) {
	for _, test := range []struct {
		options gatewayOptions
		want    string
	}{
		{gatewayOptions{http: "127.0.0.1:8443"}, "https://127.0.0.1:8443"},
		{gatewayOptions{http: "127.0.0.1:8443", plainHTTP: true}, "http://127.0.0.1:8443"},
		{gatewayOptions{http: "visits.example.org:8443"}, "https://visits.example.org:8443"},
		{gatewayOptions{http: "127.0.0.1:8443", publicURL: "https://visits.example.org"}, "https://visits.example.org"},
	} {
		require.Equal(t, test.want, test.options.baseURL(address("127.0.0.1:8443")))
	}
}

func TestLinksThatLeadNowhereAreNotMade(t *testing.T) {
	for _, base := range []string{"visits.example", "visits.example:8443", "https://visits.example/portal", "ftp://visits.example"} {
		for flag, args := range map[string][]string{
			"--public-url": {"gateway", "--http", "127.0.0.1:0", "--data", t.TempDir()},
			"--url":        {"token", "--encounter", "v-1", "--role", "patient", "--participant", "p-1", "--data", t.TempDir()},
		} {
			code, out, errs := runCommand(t, "", append(args, flag, base)...)
			require.Equal(t, exitUsage, code, errs)
			require.Contains(t, errs, flag+` "`+base+`": must be https://HOST`)
			require.Empty(t, out)
		}
	}
	code, out, errs := runCommand(t, "", "token", "--encounter", "v-1", "--role", "patient", "--participant", "p-1",
		"--data", keysHere(t), "--format", "link", "--url", "https://visits.example/")
	require.Equal(t, exitOK, code, errs)
	require.True(t, strings.HasPrefix(out, "https://visits.example/visit#"), out)
}

// address is a net.Addr made of text.
type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }
