//go:build linux

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheReceivingSideIsSetApartForAWhile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rps_cpus")
	require.NoError(t, os.WriteFile(file, []byte("3\n"), 0o600))
	holds := func() string {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		return string(content)
	}
	restore, err := setApart(file, 33)
	require.NoError(t, err)
	require.Equal(t, "00000002,00000000", holds())
	require.NoError(t, restore())
	require.Equal(t, "3\n", holds())
	_, err = setApart(filepath.Join(t.TempDir(), "none"), 1)
	require.ErrorContains(t, err, "--receivers-apart on processor 1: ")
}
