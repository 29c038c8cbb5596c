package turn

import (
	"net"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/edge/udp"
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
	server, err := udp.Listen(t.Context(), "127.0.0.1:0", udp.Config{})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		done <- server.Receive(func(received []udp.Datagram, out *udp.Batch) {
			for _, each := range received {
				_ = out.Add(each.Payload, each.Peer, udp.Other)
			}
		})
	}()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		require.NoError(t, <-done)
	})
	r, address := startRelay(t), net.UDPAddrFromAddrPort(server.LocalAddr())
	r.allow(address, true)
	conn := r.allocate("udp")
	requireEcho(t, conn, address)

	batch := server.NewBatch()
	require.Eventually(t, func() bool {
		before := r.sockets.udp.Stats()
		const count = 16
		for i := range byte(count) {
			require.NoError(t, batch.Add([]byte{i, 0, 0, 0}, addrPort(conn.LocalAddr()), udp.Video))
		}
		batch.Flush()
		for i := range byte(count) {
			datagram, _ := nextDatagram(t, conn)
			require.Equal(t, []byte{i, 0, 0, 0}, datagram)
		}
		after := r.sockets.udp.Stats()
		return after.Sent-before.Sent >= count && after.SendCalls-before.SendCalls <= count/2
	}, patience, tick)
}
