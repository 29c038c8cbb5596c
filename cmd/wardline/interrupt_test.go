package main

import (
	"context"
	"io"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// interrupted runs a command whose standard input stays open and silent, as a terminal's, and which was interrupted at once.
func interrupted(t *testing.T, args ...string) error {
	t.Helper()
	input, writer := io.Pipe()
	defer func() { require.NoError(t, writer.Close()) }() // ends the read, which in life ends with the process
	root := newRoot()
	root.SetIn(input)
	root.SetOut(io.Discard)
	root.SetErr(io.Discard)
	root.SetArgs(args)
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	return root.ExecuteContext(ctx)
}

func TestAnInterruptEndsTheWaitForInput(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "root")
	require.NoError(t, createRoot(dir))
	vault := []string{"--vault", "https://127.0.0.1:1", "--vault-token-file", writeIdentity(t, "token")}
	for _, args := range [][]string{
		{"secrets", "root", "sign", "--dir", dir},
		append([]string{"secrets", "intermediate", "install"}, vault...),
		{"participant", "--gateway", "https://127.0.0.1:1"},
	} {
		err := interrupted(t, args...)
		require.ErrorIs(t, err, context.Canceled, "%v", args)
		var failure *runError
		require.ErrorAs(t, err, &failure, "%v", args)
	}
}

// TestAnInterruptBeforeTheFirstRequestIsNoSuccess is of commands that had not even asked Vault yet.
func TestAnInterruptBeforeTheFirstRequestIsNoSuccess(t *testing.T) {
	vault := []string{"--vault", "https://127.0.0.1:1", "--vault-token-file", writeIdentity(t, "token")}
	for _, args := range [][]string{
		{"secrets", "rotate", "turn"},
		{"secrets", "backup", "--out", filepath.Join(t.TempDir(), "east.snap")},
		{"tenant", "rotate", "clinic"},
	} {
		require.Error(t, interrupted(t, append(args, vault...)...), "%v", args)
	}
}
