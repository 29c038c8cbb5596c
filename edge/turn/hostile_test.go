package turn

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/pion/stun/v3"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// exchange sends a request as a client that makes its own messages and returns the answer.
func exchange(t *testing.T, conn net.PacketConn, server netip.AddrPort, setters ...stun.Setter) *stun.Message {
	t.Helper()
	request, err := stun.Build(append([]stun.Setter{stun.TransactionID}, setters...)...)
	require.NoError(t, err)
	answer := &stun.Message{}
	buffer := make([]byte, maxDatagram)
	require.Eventually(t, func() bool {
		if _, err := conn.WriteTo(request.Raw, net.UDPAddrFromAddrPort(server)); err != nil {
			return false
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		n, _, err := conn.ReadFrom(buffer)
		answer.Raw = append(answer.Raw[:0], buffer[:n]...)
		return err == nil && answer.Decode() == nil && answer.TransactionID == request.TransactionID
	}, patience, tick)
	return answer
}

// rawClient has an allocation and signs its own requests.
type rawClient struct {
	t      *testing.T
	r      *relay
	conn   net.PacketConn
	nonce  stun.Nonce
	signed []stun.Setter
	key    stun.MessageIntegrity
}

func newRawClient(t *testing.T, r *relay) *rawClient {
	t.Helper()
	return newRawClientOn(t, r, r.dial("udp"))
}

func newRawClientOn(t *testing.T, r *relay, conn net.PacketConn) *rawClient {
	t.Helper()
	c := &rawClient{t: t, r: r, conn: conn}
	challenge := exchange(t, c.conn, r.Addr(), stun.NewType(stun.MethodAllocate, stun.ClassRequest))
	requireCode(t, challenge, stun.CodeUnauthorized)
	require.NoError(t, c.nonce.GetFrom(challenge))
	c.as(r.login())
	return c
}

// as makes requests with other credentials from now on.
func (c *rawClient) as(l login) {
	c.key = stun.NewLongTermIntegrity(l.username, testRealm, l.password)
	c.signed = []stun.Setter{stun.NewUsername(l.username), stun.NewRealm(testRealm), c.nonce, c.key}
}

func (c *rawClient) request(method stun.Method, setters ...stun.Setter) *stun.Message {
	c.t.Helper()
	return exchange(c.t, c.conn, c.r.Addr(),
		append(append([]stun.Setter{stun.NewType(method, stun.ClassRequest)}, setters...), c.signed...)...)
}

func transportAttribute(protocol byte) stun.Setter {
	return stun.RawAttribute{Type: stun.AttrRequestedTransport, Value: []byte{protocol, 0, 0, 0}}
}

func requireCode(t *testing.T, m *stun.Message, code stun.ErrorCode) {
	t.Helper()
	var attribute stun.ErrorCodeAttribute
	require.NoError(t, attribute.GetFrom(m), m.String())
	require.Equal(t, code, attribute.Code)
}

type peerAttribute struct{ netip.AddrPort }

func (p peerAttribute) AddTo(m *stun.Message) error {
	address := stun.XORMappedAddress{IP: p.Addr().AsSlice(), Port: int(p.Port())}
	return address.AddToAs(m, stun.AttrXORPeerAddress)
}

func TestChannelToRefusedPeerIsForbiddenAndSigned(t *testing.T) {
	r, good, bad := startRelay(t), echo(t), echo(t)
	r.allow(good.LocalAddr(), true)
	c := newRawClient(t, r)
	require.Equal(t, stun.ClassSuccessResponse, c.request(stun.MethodAllocate, transportAttribute(protocolUDP)).Type.Class)
	number := stun.RawAttribute{Type: stun.AttrChannelNumber, Value: []byte{0x40, 0, 0, 0}}

	refused := c.request(stun.MethodChannelBind, number, peerAttribute{addrPort(bad.LocalAddr())})
	requireCode(t, refused, stun.CodeForbidden)
	require.NoError(t, c.key.Check(refused))

	bound := c.request(stun.MethodChannelBind, number, peerAttribute{addrPort(good.LocalAddr())})
	require.Equal(t, stun.ClassSuccessResponse, bound.Type.Class)
}

func TestOneRefusedPeerRefusesTheWholePermission(t *testing.T) {
	r, good := startRelay(t), echo(t)
	r.allow(good.LocalAddr(), true)
	c := newRawClient(t, r)
	require.Equal(t, stun.ClassSuccessResponse, c.request(stun.MethodAllocate, transportAttribute(protocolUDP)).Type.Class)

	answer := c.request(stun.MethodCreatePermission,
		peerAttribute{addrPort(good.LocalAddr())}, peerAttribute{netip.MustParseAddrPort("192.0.2.1:9")})
	requireCode(t, answer, stun.CodeForbidden)
	answer = c.request(stun.MethodCreatePermission, peerAttribute{addrPort(good.LocalAddr())})
	require.Equal(t, stun.ClassSuccessResponse, answer.Type.Class)
}

func TestRelayedTransportIsUDPOnly(t *testing.T) {
	c := newRawClient(t, startRelay(t))
	requireCode(t, c.request(stun.MethodAllocate, transportAttribute(6)), stun.CodeUnsupportedTransProto)
	require.Zero(t, c.r.Allocations())
}

func TestIPv6RelayedAddressIsRefused(t *testing.T) {
	c := newRawClient(t, startRelay(t))
	family := stun.RawAttribute{Type: stun.AttrRequestedAddressFamily, Value: []byte{2, 0, 0, 0}}
	requireCode(t, c.request(stun.MethodAllocate, transportAttribute(protocolUDP), family), stun.CodeAddrFamilyNotSupported)
	require.InDelta(t, 1, testutil.ToFloat64(c.r.metrics.allocationFailures.WithLabelValues("family")), 0)
}

func TestEvenPortDoesNotCountTwice(t *testing.T) {
	c := newRawClient(t, startRelay(t))
	even := stun.RawAttribute{Type: stun.AttrEvenPort, Value: []byte{0x80}}
	answer := c.request(stun.MethodAllocate, transportAttribute(protocolUDP), even)
	require.Equal(t, stun.ClassSuccessResponse, answer.Type.Class, answer.String())
	require.Equal(t, 1, c.r.Allocations())
}

func TestForeignRealmIsRefused(t *testing.T) {
	c := newRawClient(t, startRelay(t))
	l := c.r.login()
	c.key = stun.NewLongTermIntegrity(l.username, "elsewhere", l.password)
	c.signed = []stun.Setter{c.signed[0], stun.NewRealm("elsewhere"), c.signed[2], c.key}
	requireCode(t, c.request(stun.MethodAllocate, transportAttribute(protocolUDP)), stun.CodeUnauthorized)
}

// garbage is what scanners, confused clients and attackers send.
func garbage() map[string][]byte {
	random := make([]byte, 4096)
	_, _ = rand.Read(random)
	huge := binary.BigEndian.AppendUint32([]byte{0, 3, 0xFF, 0xFC}, stunMagicCookie)
	return map[string][]byte{
		"random":        random,
		"HTTP":          []byte("GET / HTTP/1.1\r\nHost: relay\r\n\r\n"),
		"zeros":         make([]byte, 2000),
		"huge STUN":     append(huge, random...),
		"huge channel":  append([]byte{0x40, 0, 0xFF, 0xFF}, random...),
		"empty channel": {0x40, 0, 0, 0, 0x40, 0, 0, 0},
		"no cookie":     {0, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
		"one byte":      {0},
	}
}

func TestGarbageHarmsNobody(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			r, peer := startRelay(t), echo(t)
			r.allow(peer.LocalAddr(), true)
			conn := r.allocate(transport)
			for _, packet := range garbage() {
				sendRaw(t, r, transport, packet)
			}
			requireEcho(t, conn, peer.LocalAddr())
			require.Equal(t, 1, r.Allocations())
		})
	}
}

func sendRaw(t *testing.T, r *relay, transport string, packet []byte) {
	t.Helper()
	network, address := transport, r.Addr().String()
	if transport == "tls" {
		plain, err := net.Dial("tcp", r.TLSAddr().String()) // no handshake at all
		require.NoError(t, err)
		_, _ = plain.Write(packet)
		_ = plain.Close()
		secured, err := tls.Dial("tcp", r.TLSAddr().String(), &tls.Config{InsecureSkipVerify: true})
		require.NoError(t, err)
		_, _ = secured.Write(packet)
		_ = secured.Close()
		return
	}
	conn, err := net.Dial(network, address)
	require.NoError(t, err)
	_, _ = conn.Write(packet)
	_ = conn.Close()
}

func requireClosedByServer(t *testing.T, conn net.Conn) {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	_, err := io.Copy(io.Discard, conn)
	var timeout net.Error
	require.False(t, errors.As(err, &timeout) && timeout.Timeout(), "the relay keeps the connection")
}

func TestConnectionWithoutCredentialsIsCut(t *testing.T) {
	r := startRelay(t, func(_ *Config, l *limits) { l.authentication = 100 * time.Millisecond })
	binding, err := stun.Build(stun.TransactionID, stun.BindingRequest)
	require.NoError(t, err)
	for name, packet := range map[string][]byte{"silent": nil, "half a header": {0, 1}, "binding only": binding.Raw} {
		for _, address := range []netip.AddrPort{r.Addr(), r.TLSAddr()} {
			conn, err := net.Dial("tcp", address.String())
			require.NoError(t, err, name)
			_, _ = conn.Write(packet)
			requireClosedByServer(t, conn)
			_ = conn.Close()
		}
	}
	require.Eventually(t, func() bool {
		return testutil.ToFloat64(r.metrics.connections.WithLabelValues("tcp")) == 0
	}, patience, tick)
}

func TestIdleConnectionIsCutAndItsAllocationWithIt(t *testing.T) {
	r := startRelay(t, func(_ *Config, l *limits) { l.idle = 100 * time.Millisecond })
	_ = r.allocate("tcp")
	require.Eventually(t, func() bool { return r.Allocations() == 0 }, patience, tick)
}

func TestConnectionsWithoutCredentialsAreLimited(t *testing.T) {
	r := startRelay(t, func(_ *Config, l *limits) { l.pendingPerNetwork = 2 })
	authenticated := r.allocate("tcp") // does not count
	defer func() { _ = authenticated.Close() }()
	for range 2 {
		conn, err := net.Dial("tcp", r.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
	}
	require.Eventually(t, func() bool {
		return testutil.ToFloat64(r.metrics.connections.WithLabelValues("tcp")) == 3
	}, patience, tick)

	conn, err := net.Dial("tcp", r.Addr().String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	requireClosedByServer(t, conn)
	require.InDelta(t, 1, testutil.ToFloat64(r.metrics.refusedConnections.WithLabelValues("tcp")), 0)
}

// TestConnectionsOfOneUserAreLimited has somebody with valid credentials connect without asking for any allocation.
func TestConnectionsOfOneUserAreLimited(t *testing.T) {
	r := startRelay(t, func(c *Config, _ *limits) { c.MaxAllocationsPerUser = 2 })
	connect := func() net.PacketConn {
		conn := r.dial("tcp")
		c := newRawClientOn(t, r, conn)
		request, err := stun.Build(append([]stun.Setter{
			stun.TransactionID, stun.NewType(stun.MethodRefresh, stun.ClassRequest),
		}, c.signed...)...)
		require.NoError(t, err)
		_, err = conn.WriteTo(request.Raw, net.TCPAddrFromAddrPort(r.Addr()))
		require.NoError(t, err)
		return conn
	}
	answers := func(conn net.PacketConn) bool {
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
		_, _, err := conn.ReadFrom(make([]byte, maxDatagram))
		return err == nil
	}
	first := connect()
	require.True(t, answers(first))
	for range 2*sessionsAtOnce - 1 {
		require.True(t, answers(connect()))
	}
	require.False(t, answers(connect()), "one more")
	require.InDelta(t, 1, testutil.ToFloat64(r.metrics.refusedConnections.WithLabelValues("tcp")), 0)
	require.NoError(t, first.Close())
	require.Eventually(t, func() bool { return answers(connect()) }, patience, tick)
}

// A client that never reads must not hold the goroutine that relays to it.
func TestClientThatDoesNotReadIsCut(t *testing.T) {
	client, server := net.Pipe()
	defer func() { _ = client.Close() }()
	conn := &streamConn{Conn: server, raw: server, limits: limits{write: 10 * time.Millisecond}}
	_, err := conn.WriteTo([]byte("media"), nil)
	require.Error(t, err)
	_, err = client.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

func TestFrames(t *testing.T) {
	binding, err := stun.Build(stun.TransactionID, stun.BindingRequest)
	require.NoError(t, err)
	channel := []byte{0x40, 1, 0, 3, 'a', 'b', 'c', 0}
	stream := bytes.Join([][]byte{binding.Raw, channel, binding.Raw}, nil)
	r := bufio.NewReader(iotest.OneByteReader(bytes.NewReader(stream)))
	buffer := make([]byte, maxDatagram)
	for _, want := range [][]byte{binding.Raw, channel, binding.Raw} {
		n, err := readFrame(r, buffer)
		require.NoError(t, err)
		require.Equal(t, want, buffer[:n])
	}
	_, err = readFrame(r, buffer)
	require.ErrorIs(t, err, io.EOF)

	for text, want := range map[string]error{
		"GET / HTTP/1.1\r\n":                                         errTooLarge,
		"\x16\x03\x01\x02\x00\x01\x00\x01":                           errNotTURN,
		"\x80\x00\x00\x00":                                           errNotTURN,
		"\x00\x01\x00\x01\x21\x12\xA4":                               io.EOF,
		"\x00\x01\x00\x01\x21\x12\xA4\x42":                           errNotTURN,
		"\x00\x01\xFF\xFC\x21\x12\xA4\x42":                           errTooLarge,
		"\x40\x00\xFF\xFF":                                           errTooLarge,
		"\x40\x00\x00\x04a":                                          io.ErrUnexpectedEOF,
		"\x00\x01\x00\x08\x21\x12\xA4\x42" + strings.Repeat("x", 12): io.ErrUnexpectedEOF,
	} {
		_, err := readFrame(bufio.NewReader(strings.NewReader(text)), buffer)
		require.ErrorIs(t, err, want, "%q", text)
	}
}

func FuzzFrame(f *testing.F) {
	for _, packet := range garbage() {
		f.Add(packet)
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		r, p := bufio.NewReader(bytes.NewReader(stream)), make([]byte, maxDatagram)
		var whole []byte
		for {
			n, err := readFrame(r, p)
			if err != nil {
				break
			}
			require.Positive(t, n)
			require.Less(t, n, maxDatagram)
			require.Zero(t, n%4)
			whole = append(whole, p[:n]...)
		}
		require.True(t, bytes.HasPrefix(stream, whole))
	})
}
