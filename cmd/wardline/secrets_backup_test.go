package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	server, nomad := operated(t)
	where, root, operator := vaultAt(server), asRoot(t, server), filepath.Join(t.TempDir(), "token")
	as := func(login []string, args ...string) (code int, stdout, stderr string) {
		return runCommand(t, "", slices.Concat([]string{"secrets"}, login, args)...)
	}
	dir := filepath.Join(t.TempDir(), "snapshots")
	identity := filepath.Join(t.TempDir(), "nomad_vault.jwt")
	require.NoError(t, os.WriteFile(identity, []byte(nomad.Identity(t, "backup", nil)), 0o600))

	// The job, with the rest of an earlier day in the folder.
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "vault-20250101T000000Z.snap"), nil, 0o600))
	code, out, errs := as(where, "backup", "--dir", dir, "--keep", "1", "--vault-jwt-file", identity)
	require.Equal(t, exitOK, code, errs)
	require.Regexp(t, `^wrote .*/vault-\d{8}T\d{6}Z\.snap: \d+ KiB, up to entry \d+, in .*
removed vault-20250101T000000Z\.snap: more than 1 are there
$`, out)

	// The operator.
	require.NoError(t, os.WriteFile(operator, []byte(server.TokenOf(t, "wardline-operator")), 0o600))
	file := filepath.Join(t.TempDir(), "east.snap")
	code, out, errs = as(where, "backup", "--out", file, "--vault-token-file", operator)
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, "wrote "+file)
	code, out, errs = as(root, "restore", file, "--dry-run")
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, file+" is whole")
	code, _, errs = as(where, "restore", file, "--yes", "--vault-token-file", operator)
	require.Equal(t, exitFailure, code, "that takes a break-glass token")
	require.Contains(t, errs, "permission denied")
	code, out, errs = as(root, "restore", file, "--yes")
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, "restored "+file)

	// What is not done.
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, text[:len(text)/2], 0o600))
	for _, test := range []struct {
		code int
		says string
		args []string
	}{
		{exitFailure, "in the middle", []string{"restore", file, "--dry-run"}},
		{exitFailure, "in the middle", []string{"restore", file, "--yes"}},
		{exitUsage, "--yes: needed", []string{"restore", file}},
		{exitUsage, "out dir", []string{"backup"}},
		{exitUsage, "out dir", []string{"backup", "--out", file, "--dir", dir}},
		{exitUsage, "--keep 0", []string{"backup", "--dir", dir, "--keep", "0"}},
		{exitUsage, "--dir: must not be empty", []string{"backup", "--dir", ""}},
		{exitFailure, "no such file", []string{"backup", "--out", filepath.Join(dir, "nowhere", "file")}},
	} {
		code, _, errs := as(root, test.args...)
		require.Equal(t, test.code, code, "%v: %s", test.args, errs)
		require.Contains(t, errs, test.says)
	}
}

func TestLongTransfersSayHowFarTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		tell := progress(&out, "received")
		for i := range 12 {
			tell(int64(i) << 20)
			time.Sleep(time.Second)
		}
		require.Equal(t, "received 5.0 MiB\nreceived 10.0 MiB\n", out.String())
	})
}
