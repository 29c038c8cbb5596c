package udp

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/observe/observetest"
)

// canWait is what the tests' patient datagrams begin with; it leaves a bit of the first byte open.
var canWait = []Prefix{{Mask: 0xdfff, Value: 0x8fcd}, {Mask: 0xc0ff, Value: 0x80c9}}

// bindings are where ports are bound, and where peers of each are.
var bindings = map[string]string{
	"127.0.0.1:0": "127.0.0.1:0", "[::1]:0": "[::1]:0", "0.0.0.0:0": "127.0.0.1:0", ":0": "127.0.0.1:0", "[::]:0": "[::1]:0",
}

func openPatient(t *testing.T, address string, shards int) *Conn {
	t.Helper()
	log := &observetest.Text{}
	c := openConn(t, address, Config{Shards: shards, Patient: canWait, Log: logTo(log)}, systemSocket)
	require.NotNil(t, c.patient, "refused: %s", log)
	return c
}

func TestWhatCanWaitIsKeptApart(t *testing.T) {
	for address, from := range bindings {
		t.Run(address, func(t *testing.T) {
			c := openPatient(t, address, 3)
			defer func() { require.NoError(t, c.Close()) }()
			peer := plain(t, from)
			to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(addressOf(peer).Addr(), c.LocalAddr().Port()))
			patient := [][]byte{
				{0x8f, 0xcd}, {0xaf, 0xcd, 1}, {0x80, 0xc9}, {0xbf, 0xc9, 2}, append([]byte{0x8f, 0xcd}, make([]byte, 1200)...),
			}
			cut, reported, noVersion := [][]byte{{}, {0x8f}}, []byte{0x80, 0xc8}, [][]byte{{0x0f, 0xcd, 0}, {0x00, 0xc9}}
			others := append(slices.Concat(cut, noVersion), reported, []byte{0x81, 0xcd, 0}, []byte{0x80, 0x60, 0x8f, 0xcd})
			for _, each := range slices.Concat(others, patient) {
				_, err := peer.WriteTo(each, to)
				require.NoError(t, err)
			}
			r := &batchedOf(t, c).receiver
			var got [][]byte
			require.NoError(t, r.patient.raw.Control(func(fd uintptr) {
				r.receiveAll(fd, func(all []Datagram) time.Duration {
					for _, d := range all {
						require.Equal(t, addressOf(peer), d.Peer)
						got = append(got, bytes.Clone(d.Payload))
					}
					return 0
				})
			}))
			require.Equal(t, patient, got)
		})
	}
}

func TestNothingIsKeptApartWhereThatIsRefused(t *testing.T) {
	c := openConn(t, "127.0.0.1:0", Config{}, systemSocket) // it does not share its port
	in := collect(c)
	defer closeBoth(t, c, in)
	_, err := listenPatient(t.Context(), c.shards, Config{Patient: canWait})
	require.Error(t, err)
	peer := plain(t, "127.0.0.1:0")
	_, err = peer.WriteTo([]byte{0x8f, 0xcd}, net.UDPAddrFromAddrPort(c.LocalAddr()))
	require.NoError(t, err)
	require.Equal(t, [][]byte{{0x8f, 0xcd}}, in.wait(t, 1)[addressOf(peer)])
}

func TestWhatCanWaitWaitsForAnybody(t *testing.T) {
	c := openPatient(t, "127.0.0.1:0", 2)
	in := collect(c)
	t.Cleanup(func() { closeBoth(t, c, in) })
	to := net.UDPAddrFromAddrPort(c.LocalAddr())
	one, other := plain(t, "127.0.0.1:0"), plain(t, "127.0.0.1:0")
	for i := range 3 {
		_, err := one.WriteTo([]byte{0x8f, 0xcd, byte(i)}, to)
		require.NoError(t, err)
		require.Eventually(t, func() bool { // until patient ones are due again
			_, err = other.WriteTo([]byte{byte(i)}, to)
			in.mu.Lock()
			defer in.mu.Unlock()
			return err == nil && len(in.got[addressOf(one)]) == i+1
		}, patience, time.Millisecond)
	}
	_, err := one.WriteTo([]byte{0x8f, 0xcd, 3}, to)
	require.NoError(t, err)
	require.Eventually(t, func() bool { // though nobody else sends any more
		in.mu.Lock()
		defer in.mu.Unlock()
		return len(in.got[addressOf(one)]) == 4
	}, patience, time.Millisecond)
	in.mu.Lock()
	defer in.mu.Unlock()
	for i, each := range in.got[addressOf(one)] {
		require.Equal(t, []byte{0x8f, 0xcd, byte(i)}, each)
	}
}

// TestAQuietPortIsLeftAlone counts how often nothing is asked for.
// TestWhatCanWaitComesThoughTheClockIsSetBack has that happen while nothing comes, so that nobody looks after what waits.
func TestWhatCanWaitComesThoughTheClockIsSetBack(t *testing.T) {
	c := openPatient(t, "127.0.0.1:0", 1)
	batchedOf(t, c).patient.due.Store(time.Now().Add(time.Hour).UnixNano())
	in := collect(c)
	t.Cleanup(func() { closeBoth(t, c, in) })
	to := net.UDPAddrFromAddrPort(c.LocalAddr())
	one, other := plain(t, "127.0.0.1:0"), plain(t, "127.0.0.1:0")
	for peer, datagram := range map[net.PacketConn][]byte{one: {0x8f, 0xcd}, other: {1}} {
		_, err := peer.WriteTo(datagram, to)
		require.NoError(t, err)
	}
	in.wait(t, 2)
}

func TestAQuietPortIsLeftAlone(t *testing.T) {
	c := openPatient(t, "127.0.0.1:0", 1)
	in := collect(c)
	defer closeBoth(t, c, in)
	p := batchedOf(t, c).patient
	require.Eventually(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.lull > maxLull
	}, patience, time.Millisecond)
	calls := c.Stats().ReceiveCalls
	require.LessOrEqual(t, calls, uint64(12), "two for each lull, which doubles, and for the beginning")
	require.Never(t, func() bool { return c.Stats().ReceiveCalls > calls }, 3*minLull, minLull/10)
	_, err := plain(t, "127.0.0.1:0").WriteTo([]byte{1}, net.UDPAddrFromAddrPort(c.LocalAddr()))
	require.NoError(t, err)
	in.wait(t, 1)
	require.Eventually(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.lull <= maxLull
	}, patience, time.Millisecond, "it looks again")
}

func TestSteeredPeersKeepTheirShardAndOrder(t *testing.T) {
	for address, from := range bindings {
		t.Run(address, func(t *testing.T) {
			const shards, peers, each = 3, 24, 50
			c := openPatient(t, address, shards)
			var mu sync.Mutex
			by := make(map[netip.AddrPort]map[*Batch]bool)
			got := make(map[netip.AddrPort][]byte)
			count := 0
			done := make(chan error, 1)
			go func() {
				done <- c.Receive(func(batch []Datagram, out *Batch) {
					mu.Lock()
					defer mu.Unlock()
					for _, d := range batch {
						if by[d.Peer] == nil {
							by[d.Peer] = make(map[*Batch]bool)
						}
						by[d.Peer][out] = true
						got[d.Peer] = append(got[d.Peer], d.Payload[0])
						count++
					}
				})
			}()
			senders := make([]*net.UDPConn, peers)
			for i := range senders {
				senders[i] = plain(t, from)
			}
			to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(addressOf(senders[0]).Addr(), c.LocalAddr().Port()))
			for i := range each {
				for _, s := range senders {
					_, err := s.WriteTo([]byte{byte(i)}, to)
					require.NoError(t, err)
				}
			}
			require.Eventually(t, func() bool {
				mu.Lock()
				defer mu.Unlock()
				return count == peers*each
			}, patience, time.Millisecond)
			require.NoError(t, c.Close())
			require.NoError(t, <-done)
			used := make(map[*Batch]bool)
			for peer, batches := range by {
				require.Len(t, batches, 1, "%s has a shard", peer)
				for b := range batches {
					used[b] = true
				}
				require.True(t, slices.IsSorted(got[peer]), "%s", peer)
			}
			require.Len(t, used, shards, "%d peers are spread over all shards", peers)
		})
	}
}
