package consultest

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// takenPorts are those that agents of this process were given.
var takenPorts sync.Map

// FreePorts returns ports below those that the system gives to outgoing connections, so that they stay free while an
// agent restarts.
func FreePorts(t *testing.T, n int) []int {
	t.Helper()
	ports := make([]int, 0, n)
	require.Eventually(t, func() bool {
		port := 20000 + rand.IntN(12000)
		if _, taken := takenPorts.LoadOrStore(port, true); !taken && isFree(t, port) {
			ports = append(ports, port)
		}
		return len(ports) == n
	}, 10*time.Second, time.Millisecond, "no free ports")
	return ports
}

func isFree(t *testing.T, port int) bool {
	t.Helper()
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		return false
	}
	require.NoError(t, l.Close())
	p, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", address)
	if err != nil {
		return false
	}
	require.NoError(t, p.Close())
	return true
}
