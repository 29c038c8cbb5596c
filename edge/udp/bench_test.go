//go:build linux

package udp

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// cpu is the processor time of this process in nanoseconds, in the kernel included.
func cpu(b *testing.B) int64 {
	b.Helper()
	var usage unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &usage))
	return usage.Utime.Nano() + usage.Stime.Nano()
}

// BenchmarkFanOut sends frames of six packets to 20 peers, who do not read: what sending alone costs.
func BenchmarkFanOut(b *testing.B) {
	const peers, frame = 20, 6
	for _, c := range []struct {
		name string
		open opener
		runs bool
	}{{"sendto", openPortable, false}, {"sendmmsg", systemSocket, false}, {"gso", systemSocket, true}} {
		b.Run(c.name, func(b *testing.B) {
			conn, err := listen(b.Context(), "127.0.0.1:0", Config{}, c.open)
			require.NoError(b, err)
			defer conn.Close()
			s := conn.shards[0].socket
			if batching, ok := s.(*batched); ok && !c.runs {
				batching.limit = 0
			}
			packets := fanOut(b, peers, frame)
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				s.send(packets, true)
			}
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N*len(packets)), "cpu-ns/packet")
			b.ReportMetric(float64(conn.Stats().SendCalls)/float64(b.N), "calls/op")
		})
	}
}

func fanOut(b *testing.B, peers, frame int) []*packet {
	b.Helper()
	var packets []*packet
	addresses := make([]netip.AddrPort, peers)
	for i := range addresses {
		peer, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		require.NoError(b, err)
		b.Cleanup(func() { peer.Close() })
		addresses[i] = addressOf(peer)
	}
	for i := range frame * peers {
		packets = append(packets, &packet{data: payload(i, 1200), to: addresses[i%peers]})
	}
	return packets
}

// BenchmarkSend is one datagram through queue, kernel and back, as it is for an idle server.
func BenchmarkSend(b *testing.B) {
	c, err := Listen(b.Context(), "127.0.0.1:0", Config{})
	require.NoError(b, err)
	received := make(chan struct{}, 1)
	done := make(chan error, 1)
	go func() { done <- c.Receive(func([]Datagram, *Batch) { received <- struct{}{} }) }()
	data, to := payload(1, 1200), c.LocalAddr()
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Send(data, to, Audio); err != nil {
			b.Fatal(err)
		}
		<-received
	}
	require.NoError(b, c.Close())
	require.NoError(b, <-done)
}

// BenchmarkPlan is what grouping costs without any system call.
func BenchmarkPlan(b *testing.B) {
	for _, peers := range []int{1, 20, 80} {
		b.Run(fmt.Sprintf("peers=%d", peers), func(b *testing.B) {
			packets := fanOut(b, peers, 6)
			var r runs
			b.ReportAllocs()
			for b.Loop() {
				r.plan(packets, noSegments)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(packets)), "ns/packet")
		})
	}
}
