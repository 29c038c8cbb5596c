package udp

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/wardline/wardline/core/observe/observetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// twins are the implementations; they pass the same tests.
var twins = map[string]opener{"system": systemSocket, "portable": openPortable}

func eachTwin(t *testing.T, test func(t *testing.T, open opener)) {
	t.Helper()
	for name, open := range twins {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
}

// fataler is a *testing.T or a *rapid.T.
type fataler interface {
	require.TestingT
	Helper()
	Cleanup(func())
}

func openConn(t fataler, address string, cfg Config, open opener) *Conn {
	t.Helper()
	c, err := listen(context.Background(), address, cfg, open)
	require.NoError(t, err)
	return c
}

// plain is an ordinary socket.
func plain(t fataler, address string) *net.UDPConn {
	t.Helper()
	resolved, err := net.ResolveUDPAddr("udp", address)
	require.NoError(t, err)
	conn, err := net.ListenUDP("udp", resolved)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetReadBuffer(4<<20))
	return conn
}

func addressOf(conn *net.UDPConn) netip.AddrPort {
	return unmapped(netip.MustParseAddrPort(conn.LocalAddr().String()))
}

// read reads count datagrams of a plain socket.
func read(t fataler, conn *net.UDPConn, count int) [][]byte {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	buffer := make([]byte, MaxPayload+1)
	var got [][]byte
	for range count {
		n, _, err := conn.ReadFromUDPAddrPort(buffer)
		require.NoError(t, err, "after %d of %d", len(got), count)
		got = append(got, bytes.Clone(buffer[:n]))
	}
	return got
}

// inbox collects what a Conn receives, by peer.
type inbox struct {
	mu    sync.Mutex
	got   map[netip.AddrPort][][]byte
	total int
	more  chan struct{}
	done  chan error
}

func collect(c *Conn) *inbox {
	in := &inbox{got: make(map[netip.AddrPort][][]byte), more: make(chan struct{}, 1), done: make(chan error, 1)}
	go func() {
		in.done <- c.Receive(func(batch []Datagram, _ *Batch) {
			in.mu.Lock()
			defer in.mu.Unlock()
			for _, d := range batch {
				in.got[d.Peer] = append(in.got[d.Peer], bytes.Clone(d.Payload))
			}
			in.total += len(batch)
			select {
			case in.more <- struct{}{}:
			default:
			}
		})
	}()
	return in
}

// wait waits until count datagrams came.
func (in *inbox) wait(t fataler, count int) map[netip.AddrPort][][]byte {
	t.Helper()
	deadline := time.After(patience)
	for {
		in.mu.Lock()
		total, got := in.total, in.got
		in.mu.Unlock()
		if total >= count {
			require.Equal(t, count, total)
			return got
		}
		select {
		case <-in.more:
		case <-deadline:
			require.Failf(t, "datagrams missing", "%d of %d", total, count)
		}
	}
}

func closeBoth(t fataler, c *Conn, in *inbox) {
	t.Helper()
	require.NoError(t, c.Close())
	require.NoError(t, <-in.done)
}

// payload is size bytes that say which one it is.
func payload(index, size int) []byte {
	b := bytes.Repeat([]byte{byte(index)}, size)
	if size >= 4 {
		binary.BigEndian.PutUint32(b, uint32(index))
	}
	return b
}

// drawSize draws what media has: many of one size, some shorter, and sometimes anything.
func drawSize(t *rapid.T, usual int) int {
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0:
		return rapid.IntRange(0, 1600).Draw(t, "size")
	case 1:
		return rapid.IntRange(0, 8000).Draw(t, "large")
	case 2, 3:
		return rapid.IntRange(0, usual).Draw(t, "shorter")
	default:
		return usual
	}
}

func TestSendsWhatAPlainSocketSends(t *testing.T) {
	eachTwin(t, func(t *testing.T, open opener) {
		t.Helper()
		for _, host := range []string{"127.0.0.1", "[::1]", ""} {
			t.Run("from "+host, func(t *testing.T) {
				rapid.Check(t, func(t *rapid.T) {
					c := openConn(t, host+":0", Config{Shards: rapid.IntRange(1, 3).Draw(t, "shards")}, open)
					defer func() { require.NoError(t, c.Close()) }()
					to := host
					if to == "" {
						to = rapid.SampledFrom([]string{"127.0.0.1", "[::1]"}).Draw(t, "to")
					}
					peers := make([]*net.UDPConn, rapid.IntRange(1, 4).Draw(t, "peers"))
					for i := range peers {
						peers[i] = plain(t, to+":0")
					}
					wanted := make([][][]byte, len(peers))
					usual := rapid.IntRange(1, 1472).Draw(t, "usual")
					for i := range rapid.IntRange(1, 200).Draw(t, "datagrams") {
						peer := rapid.IntRange(0, len(peers)-1).Draw(t, "peer")
						sent := payload(i, drawSize(t, usual))
						class := rapid.SampledFrom([]Class{Video, Video, Video, Audio, Other}).Draw(t, "class")
						require.NoError(t, c.Send(sent, addressOf(peers[peer]), class))
						wanted[peer] = append(wanted[peer], sent)
					}
					for i, peer := range peers {
						require.Equal(t, wanted[i], read(t, peer, len(wanted[i])))
					}
				})
			})
		}
	})
}

func TestReceivesWhatAPlainSocketReceives(t *testing.T) {
	eachTwin(t, func(t *testing.T, open opener) {
		t.Helper()
		rapid.Check(t, func(t *rapid.T) {
			host := rapid.SampledFrom([]string{"127.0.0.1", "[::1]"}).Draw(t, "host")
			c := openConn(t, host+":0", Config{Shards: rapid.IntRange(1, 3).Draw(t, "shards")}, open)
			in := collect(c)
			defer closeBoth(t, c, in)
			// One peer sends in runs, so that there is something to coalesce.
			batching := openConn(t, host+":0", Config{}, systemSocket)
			defer func() { require.NoError(t, batching.Close()) }()
			single := plain(t, host+":0")
			wanted := map[netip.AddrPort][][]byte{}
			count, usual := rapid.IntRange(1, 200).Draw(t, "datagrams"), rapid.IntRange(1, 1472).Draw(t, "usual")
			for i := range count {
				sent := payload(i, drawSize(t, usual))
				if rapid.Bool().Draw(t, "in runs") {
					require.NoError(t, batching.Send(sent, c.LocalAddr(), Video))
					wanted[batching.LocalAddr()] = append(wanted[batching.LocalAddr()], sent)
				} else {
					_, err := single.WriteToUDPAddrPort(sent, c.LocalAddr())
					require.NoError(t, err)
					wanted[addressOf(single)] = append(wanted[addressOf(single)], sent)
				}
			}
			require.Equal(t, wanted, in.wait(t, count))
			require.Equal(t, uint64(count), c.Stats().Received)
		})
	})
}

func TestShardsShareOnePort(t *testing.T) {
	eachTwin(t, func(t *testing.T, open opener) {
		t.Helper()
		c := openConn(t, "127.0.0.1:0", Config{Shards: 4}, open)
		in := collect(c)
		defer closeBoth(t, c, in)
		_, err := listen(t.Context(), c.LocalAddr().String(), Config{Shards: 4}, open)
		require.ErrorContains(t, err, "address already in use", "nobody else may share it")
		wanted := map[netip.AddrPort][][]byte{}
		for range 32 {
			peer := plain(t, "127.0.0.1:0")
			for i := range 5 {
				_, err := peer.WriteToUDPAddrPort(payload(i, 100), c.LocalAddr())
				require.NoError(t, err)
				wanted[addressOf(peer)] = append(wanted[addressOf(peer)], payload(i, 100))
			}
		}
		require.Equal(t, wanted, in.wait(t, 160))
	})
}

func TestCloseSendsWhatIsQueued(t *testing.T) {
	eachTwin(t, func(t *testing.T, open opener) {
		t.Helper()
		c := openConn(t, "127.0.0.1:0", Config{}, open)
		peer := plain(t, "127.0.0.1:0")
		for i := range 500 {
			require.NoError(t, c.Send(payload(i, 100), addressOf(peer), Audio))
		}
		require.NoError(t, c.Close())
		require.NoError(t, c.Close(), "again")
		require.Len(t, read(t, peer, 500), 500)
		require.ErrorIs(t, c.Send(nil, addressOf(peer), Audio), net.ErrClosed)
		require.NoError(t, c.Receive(func([]Datagram, *Batch) {}), "of a closed Conn")
	})
}

func TestSendRefusesWhatIsNoDatagram(t *testing.T) {
	eachTwin(t, func(t *testing.T, open opener) {
		t.Helper()
		c := openConn(t, "127.0.0.1:0", Config{}, open)
		defer func() { require.NoError(t, c.Close()) }()
		peer := plain(t, "127.0.0.1:0")
		require.ErrorIs(t, c.Send(make([]byte, MaxPayload+1), addressOf(peer), Video), ErrPayload)
		var invalid net.InvalidAddrError
		require.ErrorAs(t, c.Send(nil, netip.AddrPort{}, Video), &invalid)
		require.ErrorAs(t, c.Send(nil, netip.AddrPortFrom(addressOf(peer).Addr(), 0), Video), &invalid)
		require.NoError(t, c.Send(nil, netip.MustParseAddrPort("[2001:db8::1]:9"), Video), "lost, as in the network")
		require.NoError(t, c.Send([]byte("after"), addressOf(peer), Class(200)), "an unknown class is Other")
		require.Equal(t, "after", string(read(t, peer, 1)[0]))
		require.Equal(t, uint64(1), c.Stats().Refused)
	})
}

func TestListenRefusesBadConfigurations(t *testing.T) {
	for wanted, cfg := range map[string]Config{
		"shards 65: must be 1 to 64":                   {Shards: 65},
		"queue 3: must be 16 to 65536 datagrams":       {Queue: 3},
		"buffers of -1 and 4194304 bytes: must be at ": {ReadBuffer: -1},
		"patient value 0x101: must be within the mask": {Patient: []Prefix{{Mask: 0xff00, Value: 0x101}}},
		"17 patient prefixes: must be at most 16":      {Patient: make([]Prefix, 17)},
	} {
		_, err := Listen(t.Context(), "127.0.0.1:0", cfg)
		require.ErrorContains(t, err, wanted)
	}
	_, err := Listen(t.Context(), "127.0.0.1:x", Config{})
	require.ErrorContains(t, err, `udp "127.0.0.1:x"`)
}

func TestMetrics(t *testing.T) {
	eachTwin(t, func(t *testing.T, open opener) {
		t.Helper()
		c := openConn(t, "127.0.0.1:0", Config{}, open)
		in := collect(c)
		defer closeBoth(t, c, in)
		registry := prometheus.NewPedanticRegistry()
		require.NoError(t, registry.Register(c.Collector("test")))
		require.NoError(t, c.Send(payload(0, 100), c.LocalAddr(), Audio))
		in.wait(t, 1)
		c.shards[0].counters.dropped[Video].Add(3)
		require.Eventually(t, func() bool { return c.Stats().Sent == 1 }, patience, time.Millisecond)
		require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
			# HELP wardline_test_udp_bytes_total Payload bytes of datagrams received and sent.
			# TYPE wardline_test_udp_bytes_total counter
			wardline_test_udp_bytes_total{direction="received"} 100
			wardline_test_udp_bytes_total{direction="sent"} 100
			# HELP wardline_test_udp_dropped_total Datagrams dropped because the send queue was full.
			# TYPE wardline_test_udp_dropped_total counter
			wardline_test_udp_dropped_total{class="audio"} 0
			wardline_test_udp_dropped_total{class="other"} 0
			wardline_test_udp_dropped_total{class="video"} 3
			# HELP wardline_test_udp_queue_depth Datagrams waiting to be sent.
			# TYPE wardline_test_udp_queue_depth gauge
			wardline_test_udp_queue_depth 0
		`), "wardline_test_udp_bytes_total", "wardline_test_udp_dropped_total", "wardline_test_udp_queue_depth"))
		count, err := testutil.GatherAndCount(registry, "wardline_test_udp_batch_size")
		require.NoError(t, err)
		require.Equal(t, 1, count)
	})
}

func TestHistogram(t *testing.T) {
	var h histogram
	for size, bucket := range map[int]int{0: 0, 1: 0, 2: 1, 3: 2, 4: 2, 5: 3, 1024: 10, 1025: 11, 1 << 20: 11} {
		before := h.buckets[bucket].Load()
		h.observe(size)
		require.Equal(t, before+1, h.buckets[bucket].Load(), "size %d", size)
	}
}

func TestQueueDropsVideoFirst(t *testing.T) {
	q := newQueue(16)
	peer := netip.MustParseAddrPort("127.0.0.1:9")
	for i := range 12 {
		require.Equal(t, queued, q.put(payload(i, 1), peer, Video))
	}
	require.Equal(t, full, q.put(nil, peer, Video), "three quarters are full")
	for i := range 4 {
		require.Equal(t, queued, q.put(payload(i, 1), peer, []Class{Audio, Other}[i%2]))
	}
	require.Equal(t, full, q.put(nil, peer, Audio))
	require.Equal(t, 16, q.depth())
	batch, ok := q.take(nil)
	require.True(t, ok)
	require.Len(t, batch, 16)
	require.Equal(t, queued, q.put([]byte("next"), peer, Video))
	batch, ok = q.take(batch)
	require.True(t, ok)
	require.Len(t, batch, 1)
	require.Equal(t, "next", string(batch[0].data))
	q.end()
	require.Equal(t, ended, q.put(nil, peer, Audio))
	_, ok = q.take(batch)
	require.False(t, ok)
}

func logTo(l *observetest.Text) zerolog.Logger { return zerolog.New(l) }

func TestNothingIsAllocatedPerDatagram(t *testing.T) {
	c := openConn(t, "127.0.0.1:0", Config{}, systemSocket)
	received := make(chan int, 1024)
	done := make(chan error, 1)
	go func() { done <- c.Receive(func(batch []Datagram, _ *Batch) { received <- len(batch) }) }()
	data, to := payload(1, 1200), c.LocalAddr()
	round := func() {
		for range 8 {
			if err := c.Send(data, to, Video); err != nil {
				panic(err)
			}
		}
		for n := 0; n < 8; {
			n += <-received
		}
	}
	round()
	require.Zero(t, testing.AllocsPerRun(200, round))
	require.NoError(t, c.Close())
	require.NoError(t, <-done)
}
