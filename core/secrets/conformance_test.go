package secrets_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/secrets/secretstest"
)

func TestLocalKeeper(t *testing.T) {
	secretstest.Run(t, func(t *testing.T) secrets.Keeper {
		t.Helper()
		keeper, err := secrets.OpenLocal(filepath.Join(t.TempDir(), "secrets"))
		require.NoError(t, err)
		return keeper
	})
}
