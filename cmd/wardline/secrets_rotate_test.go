package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/secrets/vaulttest"
)

func TestAgesOfSecrets(t *testing.T) {
	for says, given := range map[string][]string{
		`age "1h": must be a duration such as 720h, at least 25h`: {"1h"},
		`age "soon"`: {"soon"},
		`age ""`:     {"turn="},
		`"everything": must be one of token, turn, roster`: {"everything=720h"},
	} {
		require.ErrorContains(t, ages{}.Set(given[0]), says)
	}
	a := ages{}
	require.NoError(t, a.Set("720h,turn=168h"))
	require.NoError(t, a.Set("token=30h30m5s"))
	require.Equal(t, "720h,token=30h30m5s,turn=168h", a.String())
	for name, want := range map[string]time.Duration{"turn": 168 * time.Hour, "roster": 720 * time.Hour} {
		age, ok := a.of(name)
		require.True(t, ok)
		require.Equal(t, want, age)
	}
	require.NoError(t, a.check([]string{"token", "turn", "roster"}))
	require.ErrorContains(t, a.check([]string{"roster", "turn"}), "token is not among")
	require.ErrorContains(t, ages{"turn": never}.check([]string{"roster", "turn"}), "no age for roster")
	require.NoError(t, ages{}.check([]string{"roster"}))
}

// never is an age that nothing here reaches.
const never = 720 * time.Hour

func TestJobRotatesOnSchedule(t *testing.T) {
	t.Parallel()
	server, nomad := operated(t)
	file := filepath.Join(t.TempDir(), "nomad_vault.jwt")
	require.NoError(t, os.WriteFile(file, []byte(nomad.Identity(t, "rotator", nil)), 0o600))
	rotate := append([]string{"secrets", "rotate", "--if-older", "720h,turn=168h", "token", "turn", "roster", "--vault-jwt-file", file},
		vaultAt(server)...)
	for range 2 {
		code, out, errs := runCommand(t, "", rotate...)
		require.Equal(t, exitOK, code, errs)
		require.Regexp(t, `^kept roster: it is \d+s old, rotated when older than 720h
kept token: it is \d+s old, rotated when older than 720h
kept turn: it is \d+s old, rotated when older than 168h
$`, out)
	}
	_, err := server.Root.Logical().Delete("wardline/kv/metadata/shared/roster")
	require.NoError(t, err)
	code, out, errs := runCommand(t, "", rotate...)
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, "rotated roster: there was none\n")

	// One that cannot be rotated keeps none of the others from it.
	_, err = server.Root.Logical().Delete("wardline/kv/metadata/shared/roster")
	require.NoError(t, err)
	require.NoError(t, server.Root.Sys().PutPolicy("wardline-rotator", `
path "wardline/kv/metadata/shared/+" { capabilities = ["read"] }
path "wardline/kv/data/shared/roster" { capabilities = ["create", "update"] }`))
	code, out, errs = runCommand(t, "", rotate...)
	require.Equal(t, exitFailure, code)
	require.Contains(t, out, "rotated roster")
	require.Contains(t, out, "kept turn")
	require.Contains(t, errs, "rotate token key: vault wardline/token/keys/join-token: secrets access denied")

	// A job of another name is nobody, and so is one whose Vault is sealed.
	require.NoError(t, os.WriteFile(file, []byte(nomad.Identity(t, "gateway", nil)), 0o600))
	code, _, errs = runCommand(t, "", rotate...)
	require.Equal(t, exitFailure, code)
	require.Contains(t, errs, "claim")
	code, _, errs = runCommand(t, "", append(rotate, "--vault-token-file", file)...)
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, "only one of them")
}

func TestRotationIsReported(t *testing.T) {
	t.Parallel()
	server, _ := operated(t)
	keeper, err := secrets.OpenVault(t.Context(), secrets.VaultConfig{
		Address: server.Address, CAFile: server.CAFile, Token: server.TokenOf(t, "wardline-rotator"), Timeout: time.Minute,
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, keeper.Close()) }()
	require.Eventually(t, func() bool { // the last that was made; Vault tells its time in whole seconds
		found, err := keeper.RotateSharedIfOlder(t.Context(), secrets.RosterSecret, never)
		require.NoError(t, err)
		return found.Age > time.Second
	}, time.Minute, 50*time.Millisecond)
	var out bytes.Buffer
	cmd := &cobra.Command{}
	cmd.SetOut(&out)
	cmd.SetContext(t.Context())
	for _, name := range rotatable() {
		require.NoError(t, rotateOne(cmd, keeper, name, ages{"": time.Nanosecond}))
	}
	require.Regexp(t, `^rotated token: it was \d+s old
rotated turn: it was \d+s old
rotated roster: it was \d+s old
$`, out.String())
}

// operated is a Vault as its operator has set it up.
func operated(t *testing.T) (*vaulttest.Server, *vaulttest.Nomad) {
	t.Helper()
	server, nomad := vaulttest.Start(t, t.TempDir()), vaulttest.NewNomad(t, "east")
	t.Cleanup(server.Close)
	keyFile := filepath.Join(t.TempDir(), "nomad.pem")
	require.NoError(t, os.WriteFile(keyFile, []byte(nomad.PublicKey(t)), 0o600))
	apply := []string{"secrets", "apply", "--region", "east", "--jwt-key-file", keyFile}
	code, _, errs := runCommand(t, "", append(apply, asRoot(t, server)...)...)
	require.Equal(t, exitOK, code, errs)
	return server, nomad
}
