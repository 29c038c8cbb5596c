package hugepages_test

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/edge/hugepages"
)

func TestTheHeapGrowsIntoHugePages(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
		t.Skip("this kernel has none")
	}
	const size = 64 << 20
	hugepages.Reserve(size)
	require.GreaterOrEqual(t, advised(t), size)
	grown := make([][]byte, 16)
	for i := range grown {
		grown[i] = make([]byte, 2<<20)
	}
	require.GreaterOrEqual(t, advised(t), size, "it stays so when the heap takes it")
	require.NotEmpty(t, grown)
}

// advised is how many bytes of the process are to be huge pages (VmFlags hg, proc_pid_smaps(5)).
func advised(tb testing.TB) (bytes int) {
	tb.Helper()
	maps, err := os.Open("/proc/self/smaps")
	require.NoError(tb, err)
	defer maps.Close()
	size := 0
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		switch name {
		case "Size":
			kilobytes, err := strconv.Atoi(strings.Fields(value)[0])
			require.NoError(tb, err)
			size = kilobytes << 10
		case "VmFlags":
			if strings.Contains(value+" ", " hg ") {
				bytes += size
			}
		}
	}
	require.NoError(tb, lines.Err())
	return bytes
}
