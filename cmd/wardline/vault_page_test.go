package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/secrets/vaulttest"
)

// pageBlocks are the commands of a section of docs/vault.md that are to be run.
func pageBlocks(t *testing.T, section string) string {
	t.Helper()
	_, rest, found := strings.Cut(readDoc(t, "docs", "vault.md"), "\n## "+section+"\n")
	require.True(t, found, section)
	text, _, _ := strings.Cut(rest, "\n## ")
	var blocks []string
	for _, block := range regexp.MustCompile("(?s)```sh run\n(.*?)```").FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, block[1])
	}
	require.NotEmpty(t, blocks, section)
	return strings.Join(blocks, "")
}

// TestVaultPageIsTrue runs the commands of docs/vault.md with the real programs: a backup, then a restore on a new server.
func TestVaultPageIsTrue(t *testing.T) {
	t.Parallel()
	lost, _ := operated(t)
	_, err := lost.Root.Logical().Write("wardline/tenants/keys/clinic", map[string]any{"type": "aes256-gcm96"})
	require.NoError(t, err)
	programs, dir := t.TempDir(), t.TempDir()
	require.NoError(t, os.Symlink(vaulttest.Binary(t), filepath.Join(programs, "vault")))
	build := exec.CommandContext(t.Context(), "go", "build", "-o", programs, ".")
	output, err := build.CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "unseal-key-1"), []byte(lost.UnsealKey()), 0o600))
	run := func(server *vaulttest.Server, token, section string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", pageBlocks(t, section))
		cmd.Dir = dir
		cmd.Env = []string{
			"PATH=" + programs + ":" + os.Getenv("PATH"), "HOME=" + dir,
			"VAULT_ADDR=" + server.Address, "VAULT_CACERT=" + server.CAFile, "VAULT_TOKEN=" + token,
		}
		output, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", output)
		return string(output)
	}
	require.Contains(t, run(lost, lost.TokenOf(t, "wardline-operator"), "Backup"), "east.snap is whole")

	lost.Close()
	require.NoError(t, lost.Destroy())
	found := vaulttest.StartEmpty(t, t.TempDir())
	t.Cleanup(found.Close)
	require.Contains(t, run(found, "", "Restore"), "it is sealed: unseal it with the unseal keys of the time of the snapshot")
	found.Become(t, lost)
	_, err = found.Root.Logical().Write("wardline/tenants/datakey/plaintext/clinic", nil)
	require.NoError(t, err, "it is the one of before")
}
