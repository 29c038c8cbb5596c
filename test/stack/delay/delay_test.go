//go:build linux

package delay_test

import (
	"errors"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/test/stack/delay"
	"github.com/wardline/wardline/test/stack/machine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const oneWay = 30 * time.Millisecond

// wire makes two machines that reach each other through a third, which routes all their packets through the
// delaying router.
func wire(t *testing.T) (left, right *machine.Machine) {
	t.Helper()
	boot := func(name string) *machine.Machine {
		m, err := machine.Boot(t.Context(), name)
		if errors.Is(err, machine.ErrPrivileges) {
			t.Skipf("SKIPPED, NOT TESTED: %v", err)
		}
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, m.Close()) })
		return m
	}
	middle := boot("middle")
	left, right = boot("left"), boot("right")
	for i, m := range []*machine.Machine{left, right} {
		side := []string{"west", "east"}[i]
		network := []string{"10.1.0.", "10.2.0."}[i]
		require.NoError(t, middle.IP(t.Context(), "link add "+side+" type veth peer name eth0 netns "+strconv.Itoa(m.PID()),
			"addr add "+network+"254/24 dev "+side, "link set "+side+" up"))
		require.NoError(t, m.IP(t.Context(), "addr add "+network+"1/24 dev eth0", "link set eth0 up",
			"route add default via "+network+"254"))
	}
	require.NoError(t, middle.WriteSysctl("net/ipv4/ip_forward", "1"))
	var router *delay.Router
	require.NoError(t, middle.InNetwork(func() (err error) {
		router, err = delay.Open("delay", oneWay)
		return err
	}))
	t.Cleanup(func() { require.NoError(t, router.Close()) })
	require.NoError(t, middle.IP(t.Context(), "link set delay up",
		"route add 10.0.0.0/8 dev delay table 100", "rule add priority 10 iif west lookup 100", "rule add priority 10 iif east lookup 100"))
	return left, right
}

func TestUDPAndTCPAreDelayedBothWaysAndArriveWhole(t *testing.T) {
	left, right := wire(t)
	for _, network := range []string{"udp", "tcp"} {
		serve(t, right, network)
		var conn net.Conn
		begun := time.Now()
		require.Eventually(t, func() (up bool) {
			c, err := left.Dial(t.Context(), network, "10.2.0.1:7000")
			if err == nil {
				conn = c
			}
			return err == nil
		}, 10*time.Second, 10*time.Millisecond)
		if network == "tcp" {
			require.GreaterOrEqual(t, time.Since(begun), 2*oneWay)
		}
		buffer := make([]byte, 1200)
		for i := range 20 {
			begun := time.Now()
			buffer[0] = byte(i)
			_, err := conn.Write(buffer)
			require.NoError(t, err)
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
			answer := make([]byte, 1200)
			_, err = conn.Read(answer)
			require.NoError(t, err)
			require.Equal(t, byte(i), answer[0])
			require.GreaterOrEqual(t, time.Since(begun), 2*oneWay)
		}
		require.NoError(t, conn.Close())
	}
}

func TestAnImpossibleDelayIsRefused(t *testing.T) {
	t.Parallel()
	_, err := delay.Open("delay", 0)
	require.Error(t, err)
}

// serve echoes on port 7000 of a machine.
func serve(t *testing.T, m *machine.Machine, network string) {
	t.Helper()
	var echo func()
	var closer interface{ Close() error }
	require.NoError(t, m.InNetwork(func() error {
		if network == "udp" {
			conn, err := net.ListenPacket("udp", "10.2.0.1:7000")
			if err != nil {
				return err
			}
			closer, echo = conn, func() {
				buffer := make([]byte, 2000)
				for {
					n, from, err := conn.ReadFrom(buffer)
					if err != nil {
						return
					}
					_, _ = conn.WriteTo(buffer[:n], from)
				}
			}
			return nil
		}
		listener, err := net.Listen("tcp", "10.2.0.1:7000")
		if err != nil {
			return err
		}
		closer, echo = listener, func() {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			buffer := make([]byte, 2000)
			for {
				n, err := conn.Read(buffer)
				if err != nil {
					_ = conn.Close()
					return
				}
				_, _ = conn.Write(buffer[:n])
			}
		}
		return nil
	}))
	done := make(chan struct{})
	go func() { defer close(done); echo() }()
	t.Cleanup(func() { require.NoError(t, closer.Close()); <-done })
}
