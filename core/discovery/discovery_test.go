package discovery_test

import (
	"flag"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/discovery/discoverytest"
)

func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "6") // they wait for servers most of the time
	goleak.VerifyTestMain(m)
}

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
