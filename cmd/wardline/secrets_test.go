package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/secrets/vaulttest"
)

// run executes a command line with an input and returns what it printed.
func runCommand(t *testing.T, input string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	root := newRoot()
	var out, errs bytes.Buffer
	if input != "" {
		root.SetIn(strings.NewReader(input))
		root.SetArgs(args)
		root.SetOut(&out)
		root.SetErr(&errs)
		if err := root.ExecuteContext(t.Context()); err != nil {
			return exitFailure, out.String(), err.Error()
		}
		return exitOK, out.String(), errs.String()
	}
	code = execute(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestOperatorSetsUpAVault(t *testing.T) {
	server := vaulttest.Start(t, t.TempDir())
	t.Cleanup(server.Close)
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "nomad.pem")
	require.NoError(t, os.WriteFile(keyFile, []byte(vaulttest.NewNomad(t, "east").PublicKey(t)), 0o600))
	t.Setenv("VAULT_ADDR", server.Address)
	t.Setenv("VAULT_CACERT", server.CAFile)
	t.Setenv("VAULT_TOKEN", server.Root.Token())

	apply := []string{"secrets", "apply", "--region", "east", "--jwt-key-file", keyFile}
	code, first, errs := runCommand(t, "", append(apply, "--dry-run")...)
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, first, "32 to create, 0 to update, 0 unchanged, 0 in conflict, 1 missing")
	_, again, _ := runCommand(t, "", append(apply, "--dry-run")...)
	require.Equal(t, first, again, "a dry run changes nothing")
	code, _, errs = runCommand(t, "", apply...)
	require.Equal(t, exitOK, code, errs)
	_, second, _ := runCommand(t, "", apply...)
	require.Contains(t, second, "0 to create, 0 to update, 32 unchanged")

	rootDir := filepath.Join(dir, "root")
	code, _, errs = runCommand(t, "", "secrets", "root", "create", "--dir", rootDir)
	require.Equal(t, exitOK, code, errs)
	code, _, errs = runCommand(t, "", "secrets", "root", "create", "--dir", rootDir)
	require.Equal(t, exitFailure, code)
	require.Contains(t, errs, "exists")
	code, request, errs := runCommand(t, "", "secrets", "intermediate", "request", "--region", "east")
	require.Equal(t, exitOK, code, errs)
	code, chain, errs := runCommand(t, request, "secrets", "root", "sign", "--dir", rootDir)
	require.Equal(t, exitOK, code, errs)
	code, _, errs = runCommand(t, chain, "secrets", "intermediate", "install")
	require.Equal(t, exitOK, code, errs)
	_, third, _ := runCommand(t, "", apply...)
	require.Contains(t, third, "33 unchanged, 0 in conflict, 0 missing")

	// The rest is an operator's day, with an operator's rights.
	tokenFile := filepath.Join(dir, "token")
	require.NoError(t, os.WriteFile(tokenFile, []byte(server.TokenOf(t, "wardline-operator")+"\n"), 0o600))
	for _, args := range [][]string{
		{"secrets", "rotate", "turn"},
		{"secrets", "rotate", "roster"},
		{"secrets", "rotate", "token"},
		{"tenant", "add", "clinic"},
		{"tenant", "add", "clinic"},
		{"tenant", "rotate", "clinic"},
	} {
		code, _, errs := runCommand(t, "", append(args, "--vault-token-file", tokenFile)...)
		require.Equal(t, exitOK, code, "%v: %s", args, errs)
	}
	code, _, errs = runCommand(t, "", append(apply, "--vault-token-file", tokenFile)...)
	require.Equal(t, exitFailure, code, "an operator does not write policies")
	require.Contains(t, errs, "permission denied")
	require.NotContains(t, errs, server.Root.Token())
}

// TestApplyNamesTheFlagThatIsWrong needs no Vault: nobody listens where it should be.
func TestApplyNamesTheFlagThatIsWrong(t *testing.T) {
	t.Setenv("VAULT_TOKEN", "token")
	file := filepath.Join(t.TempDir(), "not.pem")
	require.NoError(t, os.WriteFile(file, []byte("not PEM"), 0o600))
	url := "https://nomad.example:4646/.well-known/jwks.json"
	for says, args := range map[string][]string{
		`--region "a b": must match`:                  {"--region", "a b", "--jwks-url", url},
		`--namespace "*": must match`:                 {"--namespace", "*", "--jwks-url", url},
		`--jwks-url "http://nomad": must be`:          {"--jwks-url", "http://nomad"},
		`--jwks-url or --jwt-key-file: exactly`:       {},
		`--certificate-ttl 1s: must be`:               {"--jwks-url", url, "--certificate-ttl", "1s"},
		`--gateway-host "SFU.wardline.internal"`:      {"--jwks-url", url, "--gateway-host", "ok.example,SFU.wardline.internal"},
		`--gateway-host "*.example": must be`:         {"--jwks-url", url, "--gateway-host", "*.example"},
		`--turn-host "https://turn.example"`:          {"--jwks-url", url, "--turn-host", "https://turn.example"},
		`--turn-host "192.0.2.1": must be a DNS name`: {"--jwks-url", url, "--turn-host", "192.0.2.1"},
		`--jwks-ca-file: open`:                        {"--jwks-url", url, "--jwks-ca-file", file + "x"},
		`--jwks-ca-file ` + file + `: must`:           {"--jwks-url", url, "--jwks-ca-file", file},
		`--jwt-key-file: open`:                        {"--jwt-key-file", file + "x"},
		`--jwt-key-file ` + file + `: must be`:        {"--jwt-key-file", file},
	} {
		args = append([]string{"secrets", "apply", "--region", "east", "--vault", "https://127.0.0.1:1"}, args...)
		code, _, errs := runCommand(t, "", args...)
		require.Equal(t, exitUsage, code, "%v: %s", args, errs)
		require.Contains(t, errs, "wardline: "+says)
	}
}

func TestTokenNamesTheFlagThatIsWrong(t *testing.T) {
	for says, args := range map[string][]string{
		`--name: must be printable`:      {"--name", "a\nb"},
		`--region "a b": 1 to 64`:        {"--region", "a b"},
		`--region: 100 of them, at most`: {"--region", strings.Repeat("r,", 99) + "r"},
	} {
		args = append([]string{"token", "--encounter", "v-1", "--role", "patient", "--participant", "p-1", "--data", t.TempDir()}, args...)
		code, _, errs := runCommand(t, "", args...)
		require.Equal(t, exitUsage, code, "%v: %s", args, errs)
		require.Contains(t, errs, says)
	}
}

func TestSecretsNeedsToKnowWhichVault(t *testing.T) {
	t.Setenv("VAULT_ADDR", "")
	t.Setenv("VAULT_TOKEN", "")
	t.Setenv("HOME", t.TempDir())
	for says, args := range map[string][]string{
		"--vault: needed":    {"secrets", "rotate", "turn"},
		"--vault-token-file": {"secrets", "rotate", "turn", "--vault", "https://vault.example"},
		"--vault http://vault.example: vault address: must be https": {
			"secrets", "rotate", "turn", "--vault", "http://vault.example", "--vault-token-file", writeIdentity(t, "token"),
		},
		"invalid argument": {"secrets", "rotate", "everything"},
		"region":           {"secrets", "apply"},
	} {
		code, _, errs := runCommand(t, "", args...)
		require.Equal(t, exitUsage, code, "%v", args)
		require.Contains(t, errs, says)
	}
}
