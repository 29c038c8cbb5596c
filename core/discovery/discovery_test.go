package discovery_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/discovery/discoverytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemoryConforms(t *testing.T) {
	discoverytest.Run(t, func(*testing.T) discovery.Discovery { return discovery.NewMemory() })
}

func TestFolderConforms(t *testing.T) {
	discoverytest.Run(t, func(t *testing.T) discovery.Discovery {
		t.Helper()
		return openFolder(t, t.TempDir())
	})
}

func openFolder(t *testing.T, dir string) *discovery.Folder {
	t.Helper()
	f, err := discovery.OpenFolder(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}
