package turn

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v3"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/secrets"
)

func lifetime(seconds uint32) stun.Setter {
	return stun.RawAttribute{Type: stun.AttrLifetime, Value: binary.BigEndian.AppendUint32(nil, seconds)}
}

func channel(number uint16) stun.Setter {
	return stun.RawAttribute{Type: stun.AttrChannelNumber, Value: binary.BigEndian.AppendUint16(nil, number)[:4:4]}
}

// allocated returns a client with an allocation that lives for some seconds.
func allocated(t *testing.T, r *relay, seconds uint32) *rawClient {
	t.Helper()
	c := newRawClient(t, r)
	c.requireSuccess(stun.MethodAllocate, transportAttribute(protocolUDP), lifetime(seconds))
	return c
}

func (c *rawClient) requireSuccess(method stun.Method, setters ...stun.Setter) {
	c.t.Helper()
	answer := c.request(method, setters...)
	require.Equal(c.t, stun.ClassSuccessResponse, answer.Type.Class, answer.String())
	require.Equal(c.t, method, answer.Type.Method)
	require.NoError(c.t, c.key.Check(answer))
}

// requireRefused wants an error response that a client can trust and understand.
func (c *rawClient) requireRefused(code stun.ErrorCode, method stun.Method, setters ...stun.Setter) {
	c.t.Helper()
	answer := c.request(method, setters...)
	requireCode(c.t, answer, code)
	require.Equal(c.t, method, answer.Type.Method)
	require.NoError(c.t, c.key.Check(answer), "unsigned")
}

func TestRefusalsSayWhyAndAreSigned(t *testing.T) {
	good, bad := echo(t), netip.MustParseAddrPort("192.0.2.1:9")
	allowed := peerAttribute{addrPort(good.LocalAddr())}
	sixth := peerAttribute{netip.MustParseAddrPort("[2001:db8::1]:9")}
	raw := func(kind stun.AttrType, value ...byte) stun.Setter {
		return stun.RawAttribute{Type: kind, Value: value}
	}
	cases := map[string]struct {
		method stun.Method
		with   []stun.Setter
		code   stun.ErrorCode
	}{
		"permission, refused peer":   {stun.MethodCreatePermission, []stun.Setter{peerAttribute{bad}}, 403},
		"permission, one refused":    {stun.MethodCreatePermission, []stun.Setter{allowed, peerAttribute{bad}}, 403},
		"permission, no peer":        {stun.MethodCreatePermission, nil, 400},
		"permission, short peer":     {stun.MethodCreatePermission, []stun.Setter{allowed, raw(stun.AttrXORPeerAddress)}, 400},
		"permission, unknown family": {stun.MethodCreatePermission, []stun.Setter{raw(stun.AttrXORPeerAddress, make([]byte, 20)...)}, 400},
		"permission, IPv6 peer":      {stun.MethodCreatePermission, []stun.Setter{sixth}, 443},
		"channel, refused peer":      {stun.MethodChannelBind, []stun.Setter{channel(0x4000), peerAttribute{bad}}, 403},
		"channel, no peer":           {stun.MethodChannelBind, []stun.Setter{channel(0x4000)}, 400},
		"channel, no number":         {stun.MethodChannelBind, []stun.Setter{allowed}, 400},
		"channel, other peer's":      {stun.MethodChannelBind, []stun.Setter{channel(0x4001), allowed}, 400},
		"second allocation":          {stun.MethodAllocate, []stun.Setter{transportAttribute(protocolUDP)}, 437},
		"relayed TCP":                {stun.MethodAllocate, []stun.Setter{transportAttribute(6)}, 442},
		"reserved port":              {stun.MethodAllocate, []stun.Setter{raw(stun.AttrReservationToken, make([]byte, 8)...)}, 508},
		"malformed family":           {stun.MethodAllocate, []stun.Setter{raw(stun.AttrRequestedAddressFamily, 1)}, 400},
		"refresh of IPv6":            {stun.MethodRefresh, []stun.Setter{raw(stun.AttrRequestedAddressFamily, 2, 0, 0, 0)}, 443},
	}
	r := startRelay(t)
	r.allow(good.LocalAddr(), true)
	r.allow(net.UDPAddrFromAddrPort(sixth.AddrPort), true)
	c := allocated(t, r, 600)
	c.requireSuccess(stun.MethodChannelBind, channel(0x4002), allowed)
	for name, k := range cases {
		t.Run(name, func(t *testing.T) {
			c.t = t
			c.requireRefused(k.code, k.method, k.with...)
		})
	}
	c.t = t
	c.requireSuccess(stun.MethodCreatePermission, allowed)
}

func TestStaleNonceComesBeforeRefusal(t *testing.T) {
	for _, method := range []stun.Method{stun.MethodCreatePermission, stun.MethodChannelBind} {
		r := startRelay(t)
		c := allocated(t, r, 600)
		c.signed[2] = stun.NewNonce("0123456789")
		answer := c.request(method, channel(0x4000), peerAttribute{netip.MustParseAddrPort("192.0.2.1:9")})
		requireCode(t, answer, stun.CodeStaleNonce)
		require.True(t, answer.Contains(stun.AttrNonce) && answer.Contains(stun.AttrRealm))
	}
}

func TestWrongCredentialsAreChallengedOnEveryMethod(t *testing.T) {
	c := newRawClient(t, startRelay(t))
	c.key = stun.NewLongTermIntegrity(c.r.login().username, testRealm, "wrong")
	c.signed[3] = c.key
	for _, method := range []stun.Method{
		stun.MethodAllocate, stun.MethodRefresh, stun.MethodCreatePermission, stun.MethodChannelBind,
	} {
		answer := c.request(method, transportAttribute(protocolUDP), peerAttribute{netip.MustParseAddrPort("192.0.2.1:9")})
		requireCode(t, answer, stun.CodeUnauthorized)
		require.Equal(t, method, answer.Type.Method)
		require.True(t, answer.Contains(stun.AttrNonce) && answer.Contains(stun.AttrRealm))
	}
}

func TestAllocationBelongsToItsUser(t *testing.T) {
	r, peer := startRelay(t), echo(t)
	r.allow(peer.LocalAddr(), true)
	c := allocated(t, r, 600)
	username, password := secrets.TURNCredential(r.secret, "participant-2", time.Now().Add(time.Hour))
	c.key = stun.NewLongTermIntegrity(username, testRealm, password)
	c.signed[0], c.signed[3] = stun.NewUsername(username), c.key

	c.requireRefused(stun.CodeWrongCredentials, stun.MethodRefresh, lifetime(0))
	c.requireRefused(stun.CodeWrongCredentials, stun.MethodCreatePermission, peerAttribute{addrPort(peer.LocalAddr())})
	require.Equal(t, 1, r.Allocations())
}

// The engine crashes if it adds a permission while it ends the allocation on another goroutine.
func TestAllocationAboutToEndIsLeftAlone(t *testing.T) {
	t.Parallel()
	r, peer := startRelay(t), echo(t)
	r.allow(peer.LocalAddr(), true)
	c := allocated(t, r, 1)
	for r.Allocations() > 0 {
		c.requireRefused(stun.CodeAllocMismatch, stun.MethodCreatePermission, peerAttribute{addrPort(peer.LocalAddr())})
		c.requireRefused(stun.CodeAllocMismatch, stun.MethodChannelBind, channel(0x4000), peerAttribute{addrPort(peer.LocalAddr())})
		c.requireRefused(stun.CodeAllocMismatch, stun.MethodRefresh, lifetime(600))
		c.requireRefused(stun.CodeAllocMismatch, stun.MethodRefresh, lifetime(0))
	}
	c.requireRefused(stun.CodeAllocMismatch, stun.MethodRefresh, lifetime(600))
	c.requireSuccess(stun.MethodAllocate, transportAttribute(protocolUDP))
	c.requireSuccess(stun.MethodCreatePermission, peerAttribute{addrPort(peer.LocalAddr())})
}

func TestRepeatedAllocateDoesNotProlong(t *testing.T) {
	r, peer := startRelay(t), echo(t)
	r.allow(peer.LocalAddr(), true)
	c := newRawClient(t, r)
	request, err := stun.Build(append([]stun.Setter{
		stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest), transportAttribute(protocolUDP), lifetime(600),
	}, c.signed...)...)
	require.NoError(t, err)
	again := func() *stun.Message { return exchange(t, c.conn, r.Addr(), rawMessage(request.Raw)) }
	require.Equal(t, stun.ClassSuccessResponse, again().Type.Class)
	c.requireSuccess(stun.MethodRefresh, lifetime(3))
	require.Equal(t, stun.ClassSuccessResponse, again().Type.Class, "the answer is repeated")
	c.requireRefused(stun.CodeAllocMismatch, stun.MethodCreatePermission, peerAttribute{addrPort(peer.LocalAddr())})
}

// rawMessage replaces a message under construction.
type rawMessage []byte

func (r rawMessage) AddTo(m *stun.Message) error { m.Raw = append(m.Raw[:0], r...); return m.Decode() }

func TestPermissionIsCheckedAgainAtTheLastMoment(t *testing.T) {
	g := fuzzGuard()
	g.sessions.open(g.current.source, credential{}, nil)
	require.False(t, g.permit(nil, nil), "the lifetime is not known")
	require.Equal(t, stun.CodeAllocMismatch, g.current.verdict)

	g.current = request{}
	g.sessions.allocated(g.current.source, time.Now().Add(time.Minute))
	require.True(t, g.permit(nil, nil))
	g.sessions.refreshed(g.current.source, time.Now().Add(endingMargin))
	require.False(t, g.permit(nil, nil))
}

// The reader of an ended allocation must not end the next one of the same client.
func TestNextAllocationSurvivesTheEndOfTheLast(t *testing.T) {
	r, peer := startRelay(t), echo(t)
	r.allow(peer.LocalAddr(), true)
	c := allocated(t, r, 600)
	buffer := make([]byte, maxDatagram)
	ask := func(method stun.Method, setters ...stun.Setter) {
		m := stun.MustBuild(append(append([]stun.Setter{
			stun.TransactionID, stun.NewType(method, stun.ClassRequest),
		}, setters...), c.signed...)...)
		_, err := c.conn.WriteTo(m.Raw, net.UDPAddrFromAddrPort(r.Addr()))
		require.NoError(t, err)
		require.NoError(t, c.conn.SetReadDeadline(time.Now().Add(patience)))
		n, _, err := c.conn.ReadFrom(buffer)
		require.NoError(t, err)
		answer := &stun.Message{Raw: buffer[:n]}
		require.NoError(t, answer.Decode())
		require.Equal(t, stun.NewType(method, stun.ClassSuccessResponse), answer.Type)
	}
	for range 300 {
		ask(stun.MethodRefresh, lifetime(0))
		ask(stun.MethodAllocate, transportAttribute(protocolUDP))
		ask(stun.MethodCreatePermission, peerAttribute{addrPort(peer.LocalAddr())})
		ask(stun.MethodRefresh, lifetime(600))
	}
	require.Equal(t, 1, r.Allocations())
}

// A Send indication whose last attribute is an empty peer made the decoder read beyond the message.
func TestMalformedSendIndicationHarmsNobody(t *testing.T) {
	r, peer := startRelay(t), echo(t)
	r.allow(peer.LocalAddr(), true)
	c := allocated(t, r, 600)
	for size := range 24 {
		for _, data := range []int{0, 4, 8, 12, 36} {
			m, err := stun.Build(stun.TransactionID, sendIndication,
				stun.RawAttribute{Type: stun.AttrData, Value: make([]byte, data)},
				stun.RawAttribute{Type: stun.AttrXORPeerAddress, Value: make([]byte, size)})
			require.NoError(t, err)
			_, err = c.conn.WriteTo(m.Raw, net.UDPAddrFromAddrPort(r.Addr()))
			require.NoError(t, err)
		}
	}
	c.requireSuccess(stun.MethodRefresh, lifetime(600))
}

func TestRetransmissionKeepsTheSession(t *testing.T) {
	s := sessions{bySource: make(map[netip.AddrPort]*session)}
	source, old, next := netip.MustParseAddrPort("192.0.2.7:7"), &relayConn{}, &relayConn{}
	s.open(source, credential{}, old)
	s.open(source, credential{}, next)
	s.close(source, old)
	_, found := s.get(source)
	require.True(t, found, "it is the next allocation's")
	s.close(source, next)
	_, found = s.get(source)
	require.False(t, found)
}
