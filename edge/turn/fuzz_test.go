package turn

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/stun/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/secrets"
)

func fuzzGuard() *guard {
	m, config := newMetrics(&Server{}), Config{
		RelayIP: netip.MustParseAddr("127.0.0.1"), AllowPeer: func(p netip.AddrPort) bool { return p.Addr().IsLoopback() },
	}
	config.complete()
	shared := secrets.Shared{Current: []byte("current secret")}
	return &guard{
		credentials: &credentials{
			fetch: func(context.Context) (secrets.Shared, error) { return shared, nil },
			realm: testRealm, now: func() time.Time { return time.Unix(1, 0) }, shared: shared,
		},
		relays:   newRelays(config, config.RelayIP, m, &atomic.Bool{}),
		metrics:  m,
		log:      zerolog.Nop(),
		sessions: sessions{bySource: make(map[netip.AddrPort]*session)},
	}
}

func FuzzGuard(f *testing.F) {
	username, password := secrets.TURNCredential(secrets.Shared{Current: []byte("current secret")}, "p", time.Unix(1<<31, 0))
	key := stun.NewLongTermIntegrity(username, testRealm, password)
	for _, method := range []stun.Method{stun.MethodAllocate, stun.MethodChannelBind, stun.MethodCreatePermission, stun.MethodRefresh} {
		m, err := stun.Build(stun.TransactionID, stun.NewType(method, stun.ClassRequest), transportAttribute(6),
			peerAttribute{netip.MustParseAddrPort("[2001:db8::1]:9")}, stun.NewUsername(username), stun.NewRealm(testRealm), key)
		require.NoError(f, err)
		f.Add(m.Raw)
	}
	for _, packet := range garbage() {
		f.Add(packet)
	}
	source := netip.MustParseAddrPort("192.0.2.7:7")
	f.Fuzz(func(t *testing.T, packet []byte) {
		g := fuzzGuard()
		before := bytes.Clone(packet)
		size, reply := g.inspect(packet, source)
		if size == len(packet) && g.current.verified.key != nil {
			require.Equal(t, before, packet, "the engine must see what the client sent")
		}
		require.LessOrEqual(t, size, len(packet))
		if reply == nil {
			return
		}
		require.Zero(t, size)
		require.NotNil(t, g.current.verified.key, "only valid credentials are answered")
		require.True(t, stun.IsMessage(reply))
	})
}

// wire is a socket in memory: what is put in is read, what is written is taken out.
type wire struct {
	in, out chan []byte
	closed  chan struct{}
}

var wireAddress = net.UDPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 7}

func (w wire) ReadFrom(p []byte) (int, net.Addr, error) {
	select {
	case packet := <-w.in:
		return copy(p, packet), &wireAddress, nil
	case <-w.closed:
		return 0, nil, net.ErrClosed
	}
}

func (w wire) WriteTo(p []byte, _ net.Addr) (int, error) {
	select {
	case w.out <- append([]byte(nil), p...):
	case <-w.closed:
	}
	return len(p), nil
}

func (w wire) Close() error                     { return nil }
func (w wire) LocalAddr() net.Addr              { return &wireAddress }
func (w wire) SetDeadline(time.Time) error      { return nil }
func (w wire) SetReadDeadline(time.Time) error  { return nil }
func (w wire) SetWriteDeadline(time.Time) error { return nil }

// ask sends a message and a binding request, and returns what is answered before the binding. It fails if the
// engine is gone.
func (w wire) ask(t require.TestingT, raw []byte) (answers []*stun.Message) {
	w.in <- raw
	binding, err := stun.Build(stun.TransactionID, stun.BindingRequest)
	require.NoError(t, err)
	w.in <- binding.Raw
	for {
		select {
		case packet := <-w.out:
			answer := &stun.Message{Raw: packet}
			require.NoError(t, answer.Decode())
			if answer.TransactionID == binding.TransactionID {
				return answers
			}
			answers = append(answers, answer)
		case <-time.After(patience):
			require.FailNow(t, "the engine does not answer")
		}
	}
}

// FuzzEngine sends signed requests and indications with any attributes to guard and engine together, from a
// client with an allocation: nothing may crash them, and every refusal is signed.
func FuzzEngine(f *testing.F) {
	add := func(kind uint16, unsigned []byte, setters ...stun.Setter) {
		m, err := stun.Build(setters...)
		require.NoError(f, err)
		f.Add(kind, m.Raw[stunHeader:], unsigned)
	}
	peer := peerAttribute{netip.MustParseAddrPort("127.0.0.1:9")}
	empty := stun.RawAttribute{Type: stun.AttrXORPeerAddress}
	for _, method := range []stun.Method{stun.MethodAllocate, stun.MethodRefresh, stun.MethodCreatePermission, stun.MethodChannelBind} {
		kind := stun.NewType(method, stun.ClassRequest).Value()
		add(kind, nil, transportAttribute(protocolUDP), lifetime(600), peer, channel(0x4000))
		add(kind, []byte{0, 0x12, 0, 0}, empty)
		add(kind, nil, peer, peerAttribute{netip.MustParseAddrPort("[2001:db8::1]:9")})
		add(kind, nil, stun.RawAttribute{Type: stun.AttrEvenPort, Value: []byte{0x80}}, transportAttribute(protocolUDP))
		add(kind, []byte{0, 8, 0, 0}, stun.RawAttribute{Type: stun.AttrMessageIntegrity})
	}
	add(sendIndication.Value(), nil, stun.RawAttribute{Type: stun.AttrData, Value: []byte("data")}, empty)
	add(sendIndication.Value(), nil, stun.RawAttribute{Type: stun.AttrData, Value: []byte("data")}, peer)

	w := wire{in: make(chan []byte, 2), out: make(chan []byte, 16), closed: make(chan struct{})}
	g := fuzzGuard()
	server := &Server{config: Config{Realm: testRealm, Log: zerolog.Nop(), Registry: prometheus.NewRegistry()}, relays: g.relays}
	done := make(chan error, 1)
	go func() { done <- server.serve(f.Context(), w, g) }()
	f.Cleanup(func() { close(w.closed); require.NoError(f, <-done); g.relays.wait() })

	username, password := secrets.TURNCredential(g.credentials.shared, "p", time.Unix(1<<31, 0))
	key := stun.NewLongTermIntegrity(username, testRealm, password)
	var nonce stun.Nonce
	challenged := w.ask(f, stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest)).Raw)
	require.Len(f, challenged, 1)
	require.NoError(f, nonce.GetFrom(challenged[0]))
	sign := []stun.Setter{stun.NewUsername(username), stun.NewRealm(testRealm), nonce, key}
	allocate := append([]stun.Setter{
		stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest), transportAttribute(protocolUDP),
	}, sign...)

	f.Fuzz(func(t *testing.T, kind uint16, signed, unsigned []byte) {
		_ = w.ask(t, stun.MustBuild(allocate...).Raw)
		m := stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodBinding, stun.ClassRequest))
		m.Raw = append(m.Raw, signed[:min(len(signed), 600)/4*4]...)
		binary.BigEndian.PutUint16(m.Raw, kind&0x3FFF)
		binary.BigEndian.PutUint16(m.Raw[2:], uint16(len(m.Raw)-stunHeader))
		if m.Decode() != nil {
			_ = w.ask(t, m.Raw)
			return
		}
		if m.Type.Class == stun.ClassRequest {
			for _, setter := range sign {
				_ = setter.AddTo(m)
			}
		}
		m.Raw = append(m.Raw, unsigned[:min(len(unsigned), 600)/4*4]...)
		binary.BigEndian.PutUint16(m.Raw[2:], uint16(len(m.Raw)-stunHeader))
		for _, answer := range w.ask(t, m.Raw) {
			var code stun.ErrorCodeAttribute
			if answer.Type.Class != stun.ClassErrorResponse {
				continue
			}
			require.NoError(t, code.GetFrom(answer), "without a code")
			require.Equal(t, m.Type.Method, answer.Type.Method)
		}
	})
}
