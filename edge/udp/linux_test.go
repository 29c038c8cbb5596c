//go:build linux

package udp

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/wardline/wardline/core/observe/observetest"
)

func batchedOf(t *testing.T, c *Conn) *batched {
	t.Helper()
	socket, ok := c.shards[0].socket.(*batched)
	require.True(t, ok)
	return socket
}

func TestBatchesAreOneSystemCall(t *testing.T) {
	c := openConn(t, "127.0.0.1:0", Config{}, systemSocket)
	defer func() { require.NoError(t, c.Close()) }()
	socket := batchedOf(t, c)
	peers := make([]netip.AddrPort, 20)
	for i := range peers {
		peer := plain(t, "127.0.0.1:0")
		peers[i] = addressOf(peer)
	}
	var packets []*packet
	for i := range 6 * len(peers) {
		packets = append(packets, &packet{data: payload(i, 1200), to: peers[i%len(peers)]})
	}
	socket.send(packets, true)
	require.Equal(t, uint64(120), c.Stats().Sent)
	require.Equal(t, uint64(1), c.Stats().SendCalls, "20 runs of 6")
}

// TestRefusedSegmentation has the kernel refuse: it segments nothing for a socket without checksums.
func TestRefusedSegmentation(t *testing.T) {
	log := &observetest.Text{}
	c := openConn(t, "127.0.0.1:0", Config{Log: logTo(log)}, systemSocket)
	defer func() { require.NoError(t, c.Close()) }()
	require.NoError(t, enable(c.shards[0].conn, unix.SOL_SOCKET, unix.SO_NO_CHECK))
	socket := batchedOf(t, c)
	require.Equal(t, noSegments, socket.limit, "offered by this kernel")
	one, other := plain(t, "127.0.0.1:0"), plain(t, "127.0.0.1:0")
	var packets []*packet
	var wanted [][]byte
	for i := range 40 {
		size := 1200 - i/10*100
		for _, peer := range []*net.UDPConn{one, other} {
			packets = append(packets, &packet{data: payload(i, size), to: addressOf(peer)})
		}
		wanted = append(wanted, payload(i, size))
	}
	socket.send(packets, true)
	require.Equal(t, wanted, read(t, one, len(wanted)))
	require.Equal(t, wanted, read(t, other, len(wanted)))
	require.Zero(t, c.Stats().Refused)
	require.Equal(t, uint64(80), c.Stats().Sent)
	require.Equal(t, 1, strings.Count(log.String(), "segmentation offload refused"), "said once")
	require.Less(t, socket.limit, 1200)
}

func TestRefusesRun(t *testing.T) {
	for errno, limit := range map[unix.Errno]int{
		unix.EIO: 0, unix.EMSGSIZE: 1000, unix.EINVAL: 1000, unix.EPERM: noSegments, unix.ENOBUFS: noSegments,
	} {
		s := &sender{limit: noSegments, errno: errno}
		require.False(t, s.refusesRun(&run{count: 1, segment: 1000}), "a datagram alone")
		require.Equal(t, limit != noSegments, s.refusesRun(&run{count: 2, segment: 1000}))
		require.Equal(t, limit, s.limit, "after %s", errno)
	}
}

func TestMarks(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "[::1]"} {
		for _, bound := range []string{host, ""} {
			c := openConn(t, bound+":0", Config{}, systemSocket)
			peer := plain(t, host+":0")
			require.NoError(t, enable(peer, unix.IPPROTO_IP, unix.IP_RECVTOS))
			if host == "[::1]" {
				require.NoError(t, enable(peer, unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS))
			}
			for class, wanted := range map[Class]byte{Video: 0x88, Audio: 0xb8, Other: 0} {
				require.NoError(t, c.Send([]byte("x"), addressOf(peer), class))
				require.NoError(t, peer.SetReadDeadline(time.Now().Add(patience)))
				oob := make([]byte, 128)
				_, n, _, _, err := peer.ReadMsgUDPAddrPort(make([]byte, 10), oob)
				require.NoError(t, err)
				messages, err := unix.ParseSocketControlMessage(oob[:n])
				require.NoError(t, err)
				require.Len(t, messages, 1)
				require.Equal(t, wanted, messages[0].Data[0], "%s from %q", class, bound)
			}
			require.NoError(t, c.Close())
		}
	}
}

func TestSmallBuffersAreSaid(t *testing.T) {
	log := &observetest.Text{}
	c := openConn(t, "127.0.0.1:0", Config{ReadBuffer: 1 << 30, Log: logTo(log)}, systemSocket)
	require.NoError(t, c.Close())
	require.Equal(t, 1, strings.Count(log.String(), `"sysctl":"net.core.rmem_max"`), log.String())
}

func TestLinkLocalAddresses(t *testing.T) {
	z := newZones()
	var raw sockaddr
	for _, text := range []string{"[fe80::1%lo]:5004", "[2001:db8::7]:1", "192.0.2.1:65535"} {
		address := netip.MustParseAddrPort(text)
		_, ok := z.put(&raw, address, false)
		require.True(t, ok)
		require.Equal(t, address, z.get(&raw), "over IPv6")
		if address.Addr().Is4() {
			_, ok = z.put(&raw, address, true)
			require.True(t, ok)
			require.Equal(t, address, z.get(&raw), "over IPv4")
		}
	}
	_, ok := z.put(&raw, netip.MustParseAddrPort("[fe80::1%12345]:1"), false)
	require.True(t, ok)
	require.Equal(t, uint32(12345), raw.Scope_id)
	require.Equal(t, "12345", z.get(&raw).Addr().Zone())
}

// FuzzSegmentSize feeds control messages that the kernel would not make.
func FuzzSegmentSize(f *testing.F) {
	good := controlMessage(unix.SOL_UDP, unix.UDP_GRO, 1200)
	f.Add(good)
	f.Add(append(controlMessage(unix.SOL_IP, unix.IP_TOS, 7), good...))
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 104, 0, 0, 0})
	require.Equal(f, 1200, segmentSize(good))
	require.Equal(f, 1200, segmentSize(append(controlMessage(unix.SOL_IP, unix.IP_TOS, 7), good...)))
	f.Fuzz(func(t *testing.T, control []byte) {
		segmentSize(control) // does not read beyond it
		if len(control) < unix.CmsgLen(4) {
			require.Zero(t, segmentSize(control))
		}
	})
}
