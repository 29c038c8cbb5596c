package turn

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// coturnTool finds one of coturn's test programs; without it the test is skipped, on CI it fails.
func coturnTool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil && os.Getenv("CI") == "" {
		t.Skipf("SKIPPED: %s is not installed, so the relay was NOT tested with a foreign client (apt-get install coturn)", name)
	}
	require.NoError(t, err, "CI must have %s (apt-get install coturn)", name)
	return path
}

// coturnPeer starts coturn's echo server and waits until it answers.
func coturnPeer(t *testing.T) netip.AddrPort {
	t.Helper()
	tool := coturnTool(t, "turnutils_peer")
	free, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	address := addrPort(free.LocalAddr())
	require.NoError(t, free.Close())

	command := exec.CommandContext(t.Context(), tool, "-L", address.Addr().String(), "-p", strconv.Itoa(int(address.Port())))
	require.NoError(t, command.Start())
	t.Cleanup(func() { _ = command.Process.Kill(); _ = command.Wait() })

	probe, err := net.Dial("udp4", address.String())
	require.NoError(t, err)
	defer func() { _ = probe.Close() }()
	require.Eventually(t, func() bool {
		_, _ = probe.Write([]byte("probe"))
		_ = probe.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		n, err := probe.Read(make([]byte, 16))
		return err == nil && n == 5
	}, patience, tick)
	return address
}

// runClient runs turnutils_uclient: one client that binds a channel, sends ten messages and wants them back.
func runClient(t *testing.T, r *relay, server, peer netip.AddrPort, flags ...string) (output string, err error) {
	t.Helper()
	l := r.login()
	arguments := append(slices.Clone(flags),
		"-c", // no second allocation for RTCP
		"-m", "1", "-n", "10",
		"-e", peer.Addr().String(), "-r", strconv.Itoa(int(peer.Port())),
		"-u", l.username, "-w", l.password,
		"-p", strconv.Itoa(int(server.Port())), server.Addr().String())
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	combined, err := exec.CommandContext(ctx, coturnTool(t, "turnutils_uclient"), arguments...).CombinedOutput()
	return string(combined), err
}

func TestCoturnClient(t *testing.T) {
	t.Parallel()
	coturnTool(t, "turnutils_uclient")
	peer := coturnPeer(t)
	cases := map[string]struct {
		tls   bool
		flags []string
	}{
		"UDP":                  {},
		"UDP, send indication": {flags: []string{"-s"}},
		"TCP":                  {flags: []string{"-t"}},
		"TLS":                  {tls: true, flags: []string{"-t", "-S"}},
	}
	// The client works at its own slow pace: all of them at once.
	for name, c := range cases {
		t.Run(name+"/allowed peer", func(t *testing.T) {
			t.Parallel()
			r := startRelay(t)
			r.allow(net.UDPAddrFromAddrPort(peer), true)
			output, err := runClient(t, r, r.server(c.tls), peer, c.flags...)
			require.NoError(t, err, output)
			require.Contains(t, output, "tot_send_msgs=10, tot_recv_msgs=10")
			require.Contains(t, output, "Total lost packets 0 ")
		})
		t.Run(name+"/other peer", func(t *testing.T) {
			t.Parallel()
			r := startRelay(t)
			output, err := runClient(t, r, r.server(c.tls), peer, c.flags...)
			require.Error(t, err, output)
			require.Contains(t, output, "error 403 (Forbidden)")
			require.Zero(t, testutil.ToFloat64(r.metrics.packets[toPeer]))
		})
	}
}

func (r *relay) server(tls bool) netip.AddrPort {
	if tls {
		return r.TLSAddr()
	}
	return r.Addr()
}
