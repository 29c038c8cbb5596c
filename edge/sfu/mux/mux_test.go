package mux

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/stun/v3"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/edge/udp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

var (
	_ ice.UDPMux               = (*View)(nil)
	_ ice.AddrPortReaderWriter = (*handle)(nil)
)

func newMux(t *testing.T, shards int) *Mux {
	t.Helper()
	port, err := udp.Listen(t.Context(), "127.0.0.1:0", udp.Config{Shards: shards})
	require.NoError(t, err)
	m := New(port, []netip.AddrPort{port.LocalAddr()}, func() {})
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// media is a Receiver that passes on what it gets.
type media chan string

func (m media) Receive(packets []udp.Datagram, _ *udp.Batch) {
	for _, each := range packets {
		m <- string(each.Payload)
	}
}

// agentOf opens an agent with a reader. What it gets and what its receiver does come on one channel.
func agentOf(t *testing.T, m *Mux, fragment string) (*handle, chan string) {
	t.Helper()
	got := make(chan string, 4096)
	return connOf(t, m.For(media(got)), fragment, got), got
}

func connOf(t *testing.T, v *View, fragment string, got chan string) *handle {
	t.Helper()
	conn, err := v.GetConn(fragment, v.GetListenAddresses()[0])
	require.NoError(t, err)
	h, ok := conn.(*handle)
	require.True(t, ok)
	go func() {
		defer close(got)
		buffer := make([]byte, 1500)
		for {
			n, _, err := h.ReadFromAddrPort(buffer)
			if err != nil {
				return
			}
			got <- string(buffer[:n])
		}
	}()
	return h
}

func await(t *testing.T, got chan string) string {
	t.Helper()
	select {
	case text := <-got:
		return text
	case <-time.After(patience):
		require.Fail(t, "nothing received")
		return ""
	}
}

// peer is a client's socket.
func peer(t *testing.T) (*net.UDPConn, netip.AddrPort) {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn, netip.MustParseAddrPort(conn.LocalAddr().String())
}

func sendTo(t *testing.T, m *Mux, from *net.UDPConn, data []byte) {
	t.Helper()
	_, err := from.WriteToUDPAddrPort(data, m.port.LocalAddr())
	require.NoError(t, err)
}

func check(tb testing.TB, username string) []byte {
	tb.Helper()
	message, err := stun.Build(stun.TransactionID, stun.BindingRequest, stun.NewSoftware("odd"), stun.NewUsername(username))
	require.NoError(tb, err)
	return message.Raw
}

func success(t *testing.T) []byte {
	t.Helper()
	message, err := stun.Build(stun.TransactionID, stun.BindingSuccess)
	require.NoError(t, err)
	return message.Raw
}

func answer(t *testing.T, h *handle, to netip.AddrPort) {
	t.Helper()
	_, err := h.WriteToAddrPort(success(t), to)
	require.NoError(t, err)
}

func TestChecksFindTheirAgent(t *testing.T) {
	for _, shards := range []int{1, 4} {
		m := newMux(t, shards)
		one, fromOne := agentOf(t, m, "one")
		_, fromTwo := agentOf(t, m, "two")
		client, address := peer(t)

		sendTo(t, m, client, []byte("\x80media before any check"))
		sendTo(t, m, client, check(t, "nobody:x"))
		sendTo(t, m, client, check(t, "one:x"))
		require.Equal(t, stun.BindingRequest.String(), parsed(t, await(t, fromOne)))
		require.Eventually(t, func() bool { return m.Unrouted() == 2 }, patience, time.Millisecond)

		sendTo(t, m, client, []byte("\x80not answered yet"))
		require.Eventually(t, func() bool { return m.Unrouted() == 3 }, patience, time.Millisecond)
		answer(t, one, address)
		sendTo(t, m, client, []byte("\x80media"))
		require.Equal(t, "\x80media", await(t, fromOne))

		sendTo(t, m, client, check(t, "two:x"))
		await(t, fromTwo)
		sendTo(t, m, client, []byte("\x80still"))
		require.Equal(t, "\x80still", await(t, fromOne), "a check that nobody answered binds nothing")
	}
}

func parsed(t *testing.T, raw string) string {
	t.Helper()
	message := &stun.Message{Raw: []byte(raw)}
	require.NoError(t, message.Decode())
	return message.Type.String()
}

func TestAddressChangesHands(t *testing.T) {
	m := newMux(t, 1)
	one, fromOne := agentOf(t, m, "one")
	two, fromTwo := agentOf(t, m, "two")
	client, address := peer(t)
	answer(t, one, address)
	_, err := two.WriteToAddrPort([]byte("\x80media"), address)
	require.NoError(t, err)
	_, err = two.WriteToAddrPort(check(t, "client:two"), address)
	require.NoError(t, err)
	sendTo(t, m, client, []byte("\x80a"))
	require.Equal(t, "\x80a", await(t, fromOne), "only an answer takes it over")
	answer(t, two, address)
	sendTo(t, m, client, []byte("\x80b"))
	require.Equal(t, "\x80b", await(t, fromTwo))
	_, err = one.WriteToAddrPort([]byte("\x80late media"), address)
	require.NoError(t, err)
	sendTo(t, m, client, []byte("\x80c"))
	require.Equal(t, "\x80c", await(t, fromTwo))

	m.For(nil).RemoveConnByUfrag("two")
	sendTo(t, m, client, []byte("\x80d"))
	require.Eventually(t, func() bool { return m.Unrouted() == 1 }, patience, time.Millisecond)
	answer(t, two, address)
	require.Empty(t, m.addresses, "a removed agent gets none")
	require.NoError(t, one.Close())
	require.NoError(t, two.Close())
	_, err = two.WriteToAddrPort([]byte("x"), address)
	require.ErrorIs(t, err, io.ErrClosedPipe)
	require.Empty(t, m.agents)
}

func TestDialingAgentIsAnswered(t *testing.T) {
	m := newMux(t, 1)
	one, fromOne := agentOf(t, m, "one")
	server, address := peer(t)
	_, err := one.WriteToAddrPort(check(t, "server:one"), address)
	require.NoError(t, err)
	sendTo(t, m, server, success(t))
	require.Equal(t, stun.BindingSuccess.String(), parsed(t, await(t, fromOne)))
}

func TestHandlesTakeTurns(t *testing.T) {
	m := newMux(t, 1)
	one, fromOne := agentOf(t, m, "one")
	same, fromSame := agentOf(t, m, "one")
	require.Same(t, one.agent, same.agent)
	client, address := peer(t)
	answer(t, same, address)
	for i := range 500 {
		sendTo(t, m, client, fmt.Appendf(nil, "\x14%d", i))
	}
	for i := range 500 {
		require.Equal(t, fmt.Sprintf("\x14%d", i), await(t, fromOne), "in order")
	}
	require.NoError(t, one.Close())
	require.NoError(t, one.Close())
	_, open := <-fromOne
	require.False(t, open)
	sendTo(t, m, client, []byte("\x14next"))
	require.Equal(t, "\x14next", await(t, fromSame))
	require.NoError(t, same.Close())
	require.Empty(t, m.addresses)
	require.Empty(t, m.agents)
}

func TestMediaPassesTheAgentBy(t *testing.T) {
	m := newMux(t, 1)
	taken, read := make(chan string, 8), make(chan string, 8)
	h := connOf(t, m.For(media(taken)), "one", read)
	client, address := peer(t)
	answer(t, h, address)
	for _, each := range []string{"\x14handshake", "\x80first", "\xbfsecond", "\xc0neither"} {
		sendTo(t, m, client, []byte(each))
	}
	require.Equal(t, "\x80first", await(t, taken))
	require.Equal(t, "\xbfsecond", await(t, taken))
	require.Equal(t, "\x14handshake", await(t, read))
	require.Equal(t, "\xc0neither", await(t, read))
}

func TestARestartedAgentKeepsItsAddresses(t *testing.T) {
	m := newMux(t, 1)
	taken := make(chan string, 8)
	v := m.For(media(taken))
	client, address := peer(t)
	other, otherAddress := peer(t)
	one := connOf(t, v, "one", make(chan string, 8))
	answer(t, one, address)
	answer(t, one, otherAddress)
	v.RemoveConnByUfrag("one")
	require.NoError(t, one.Close())
	require.Empty(t, m.addresses)
	another, fromAnother := agentOf(t, m, "another")
	answer(t, another, otherAddress)

	two := connOf(t, v, "two", make(chan string, 8))
	sendTo(t, m, client, []byte("\x80on the old path"))
	require.Equal(t, "\x80on the old path", await(t, taken))
	sendTo(t, m, other, []byte("\x80somebody else's by now"))
	require.Equal(t, "\x80somebody else's by now", await(t, fromAnother))
	sendTo(t, m, client, check(t, "one:x"))
	require.Eventually(t, func() bool { return m.Unrouted() == 1 }, patience, time.Millisecond, "the old credentials are no more")
	require.NoError(t, two.Close())
	require.NoError(t, another.Close())
	require.Empty(t, m.addresses)
}

func TestAddressesAreBounded(t *testing.T) {
	m := newMux(t, 1)
	one, _ := agentOf(t, m, "one")
	for i := range 3 * maxBound {
		answer(t, one, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(20000+i)))
	}
	require.Len(t, m.addresses, maxBound)
	require.Len(t, one.agent.bound, maxBound)
}

// TestWhatIsTooLongEndsNoAgent has anybody who knows a fragment, or can send from a client's address, send more than an agent
// has room for.
func TestWhatIsTooLongEndsNoAgent(t *testing.T) {
	m := newMux(t, 1)
	h, got := agentOf(t, m, "a")
	conn, address := peer(t)
	genuine := check(t, "a:x")
	sendTo(t, m, conn, append(check(t, "a:x"), make([]byte, 1500)...))
	answer(t, h, address)
	sendTo(t, m, conn, append([]byte{22}, make([]byte, 1500)...))
	sendTo(t, m, conn, genuine)
	require.Equal(t, string(genuine), await(t, got))
	require.EqualValues(t, 2, m.Overflow())
}

func TestWaitingIsBounded(t *testing.T) {
	m := newMux(t, 1)
	v := m.For(nil)
	conn, err := v.GetConn("one", v.GetListenAddresses()[0])
	require.NoError(t, err)
	defer conn.Close()
	a := m.agents[agentKey{fragment: "one"}]
	batch := make([]udp.Datagram, maxWaiting+5)
	require.Equal(t, 5, a.push(batch))
	_, _, err = conn.ReadFrom(make([]byte, 1))
	require.NoError(t, err)
	require.Equal(t, 1, a.push(batch[:2]))
}

func TestClose(t *testing.T) {
	m := newMux(t, 2)
	_, got := agentOf(t, m, "one")
	require.NoError(t, m.Close())
	_, open := <-got
	require.False(t, open)
	v := m.For(nil)
	_, err := v.GetConn("two", v.GetListenAddresses()[0])
	require.ErrorIs(t, err, io.ErrClosedPipe)
	_, err = newMux(t, 1).For(nil).GetConn("one", &net.TCPAddr{})
	require.Error(t, err)
}

func FuzzCheckedFragment(f *testing.F) {
	f.Add(check(f, "fragment:other"))
	f.Add(check(f, "")[:24])
	f.Add([]byte{0, 1, 0, 4, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0xff, 0xff})
	fragment, ok := checkedFragment(check(f, "fragment:other"))
	require.True(f, ok)
	require.Equal(f, "fragment", string(fragment))
	f.Fuzz(func(t *testing.T, datagram []byte) {
		fragment, ok := checkedFragment(datagram)
		require.LessOrEqual(t, len(fragment), len(datagram))
		if message := (&stun.Message{Raw: datagram}); ok && message.Decode() == nil {
			username, err := message.Get(stun.AttrUsername)
			require.NoError(t, err, "whatever pion can read is read alike")
			require.Equal(t, string(username[:len(fragment)]), string(fragment))
		}
	})
}

// count is a Receiver that only counts.
type count int

func (c *count) Receive(packets []udp.Datagram, _ *udp.Batch) { *c += count(len(packets)) }

// BenchmarkDispatch is the way of received media from the port to who takes it.
func BenchmarkDispatch(b *testing.B) {
	port, err := udp.Listen(b.Context(), "127.0.0.1:0", udp.Config{})
	require.NoError(b, err)
	m := New(port, []netip.AddrPort{port.LocalAddr()}, func() {})
	var taken count
	v := m.For(&taken)
	conn, err := v.GetConn("one", v.GetListenAddresses()[0])
	require.NoError(b, err)
	h, ok := conn.(*handle)
	require.True(b, ok)
	from := netip.MustParseAddrPort("127.0.0.1:9")
	m.bind(h.agent, from, true)
	batch := make([]udp.Datagram, 6)
	for i := range batch {
		batch[i] = udp.Datagram{Payload: append([]byte{0x80}, make([]byte, 1199)...), Peer: from}
	}
	b.ReportAllocs()
	for b.Loop() {
		m.dispatch(batch, nil)
	}
	require.EqualValues(b, b.N*len(batch), taken)
	require.NoError(b, m.Close())
}
