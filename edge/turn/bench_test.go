//go:build linux

package turn

import (
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pion/turn/v4"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/edge/udp"
)

// burst is how many datagrams of a picture a media server sends to one participant at a time, and how large they are.
const (
	burst     = 6
	burstSize = 1100
)

// counted is a client's socket that counts the datagrams of bursts and keeps all ChannelData from the client.
type counted struct {
	net.PacketConn
	got *atomic.Uint64
}

func (c counted) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.PacketConn.ReadFrom(p)
		if err != nil || n == 0 || p[0]>>6 != 1 {
			return n, from, err
		}
		if n > burstSize {
			c.got.Add(1)
		}
	}
}

// processorTime is what this process has used of the processors.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkFromPeer relays pictures of a media server to participants. The processor time of a datagram holds that of who sends and
// receives it, which "without a relay" shows alone.
func BenchmarkFromPeer(b *testing.B) {
	for _, participants := range []int{1, 20} {
		b.Run(fmt.Sprintf("relayed/%d", participants), func(b *testing.B) {
			r := startRelay(b, func(c *Config, _ *limits) { c.Log = zerolog.Nop() })
			var got atomic.Uint64
			server := mediaServer(b)
			r.allow(net.UDPAddrFromAddrPort(server.LocalAddr()), true)
			addresses := make([]netip.AddrPort, participants)
			for i := range addresses {
				addresses[i] = bound(b, r, server, &got)
			}
			sendBursts(b, server, addresses, &got)
		})
		b.Run(fmt.Sprintf("without a relay/%d", participants), func(b *testing.B) {
			var got atomic.Uint64
			addresses := make([]netip.AddrPort, participants)
			for i := range addresses {
				conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
				require.NoError(b, err)
				b.Cleanup(func() { _ = conn.Close() })
				go func() {
					buffer := make([]byte, maxDatagram)
					for {
						if _, _, err := conn.ReadFrom(buffer); err != nil {
							return
						}
						got.Add(1)
					}
				}()
				addresses[i] = addrPort(conn.LocalAddr())
			}
			sendBursts(b, mediaServer(b), addresses, &got)
		})
	}
}

func mediaServer(b *testing.B) *udp.Conn {
	b.Helper()
	server, err := udp.Listen(b.Context(), "127.0.0.1:0", udp.Config{})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, server.Close()) })
	return server
}

// bound is the relayed address of a new client that has a channel to the media server.
func bound(b *testing.B, r *relay, server *udp.Conn, got *atomic.Uint64) netip.AddrPort {
	b.Helper()
	l := r.login()
	client, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: r.Addr().String(), TURNServerAddr: r.Addr().String(), Conn: counted{r.dial("udp"), got},
		Username: l.username, Password: l.password, Realm: testRealm, RTO: 2 * time.Second, LoggerFactory: engineLog{zerolog.Nop()},
	})
	require.NoError(b, err)
	require.NoError(b, client.Listen())
	b.Cleanup(client.Close)
	conn, err := client.Allocate()
	require.NoError(b, err)
	b.Cleanup(func() { _ = conn.Close() })
	channels := r.bound()
	require.Eventually(b, func() bool { // the client binds a channel behind its first datagrams
		_, err := conn.WriteTo(probe, net.UDPAddrFromAddrPort(server.LocalAddr()))
		return err == nil && r.bound() > channels
	}, patience, tick)
	return addrPort(conn.LocalAddr())
}

// sendBursts sends a burst to each address and waits until all of it is there, b.N times. A datagram that is lost ends the benchmark.
func sendBursts(b *testing.B, server *udp.Conn, to []netip.AddrPort, got *atomic.Uint64) {
	b.Helper()
	batch, payload := server.NewBatch(), make([]byte, burstSize)
	began := processorTime(b)
	b.ReportAllocs()
	for round := range b.N {
		for _, address := range to {
			for range burst {
				require.NoError(b, batch.Add(payload, address, udp.Video))
			}
		}
		batch.Flush()
		wanted := uint64(round+1) * uint64(burst*len(to))
		for late := time.Now().Add(patience); got.Load() < wanted; {
			if time.Now().After(late) {
				b.Fatalf("%d datagrams of %d came", got.Load(), wanted)
			}
			time.Sleep(50 * time.Microsecond)
		}
	}
	datagrams := float64(b.N * burst * len(to))
	b.ReportMetric(float64(processorTime(b)-began)/datagrams, "cpu-ns/datagram")
}
