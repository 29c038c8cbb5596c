package turn

import (
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The sockets of the UDP port share its clients, and the limits are those of the relay.
func TestClientsOfAllSocketsAreServed(t *testing.T) {
	const clients = 16
	r, peer := startRelay(t, func(c *Config, _ *limits) { c.MaxAllocations = clients }), echo(t)
	r.allow(peer.LocalAddr(), true)
	conns := make([]net.PacketConn, clients)
	for i := range conns {
		conns[i] = r.allocate("udp")
	}
	require.Equal(t, clients, r.Allocations())
	_, err := r.client("udp", r.login()).Allocate()
	require.Error(t, err)
	for _, conn := range conns {
		requireEcho(t, conn, peer.LocalAddr())
	}
}

// What a media server sends at once reaches the client in its order, and most of it with one system call.
func TestDatagramsThatCameTogetherLeaveTogether(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("other systems have no such calls")
	}
	r, peer := startRelay(t), echo(t)
	r.allow(peer.LocalAddr(), true)
	conn := r.allocate("udp")
	requireEcho(t, conn, peer.LocalAddr())
	buffer := make([]byte, maxDatagram)
	require.Eventually(t, func() bool {
		before := r.sockets.udp.Stats()
		const count = 16
		for i := range byte(count) {
			_, err := peer.WriteTo([]byte{i, 0, 0, 0}, conn.LocalAddr())
			require.NoError(t, err)
		}
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
		for i := range byte(count) {
			n, _, err := conn.ReadFrom(buffer)
			require.NoError(t, err)
			require.Equal(t, []byte{i, 0, 0, 0}, buffer[:n])
		}
		after := r.sockets.udp.Stats()
		return after.Sent-before.Sent >= count && after.SendCalls-before.SendCalls <= count/2
	}, patience, tick)
}
