package sfu

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/edge/dtlssrtp"
	"github.com/wardline/wardline/edge/udp"
)

// TestNothingIsHandledBeforeItsSenderIsKnown has packets come while a handshake goes on: few are kept until it is complete, and
// what is not genuine then is not handled.
func TestNothingIsHandledBeforeItsSenderIsKnown(t *testing.T) {
	in, _, _ := newSorter(t)
	ways, out := onPort(t)
	connected, ok := ways().(*transport)
	require.True(t, ok)
	tr := &transport{port: connected.port, view: connected.port.For(nil), handler: in}
	forged := rtpOf(t, 20, 96, 1, vp8, nil)
	tr.Receive([]udp.Datagram{{Payload: append(forged, make([]byte, receiveMTU)...)}}, out)
	require.Empty(t, tr.early, "longer than media is")
	for range 2 * maxEarly {
		tr.Receive([]udp.Datagram{{Payload: forged}}, out)
	}
	require.Len(t, tr.early, maxEarly)
	require.Empty(t, in.streams)

	tr.handshake.ServerHello(hello)
	_, err := tr.handshake.Write([]byte(keyLog))
	require.NoError(t, err)
	tr.connected()
	require.Empty(t, tr.early)
	require.Empty(t, in.streams)
	require.ErrorIs(t, tr.send([]byte{}, nil, udp.Audio), errNotConnected, "nobody knows where to, yet")

	tr.close()
	tr.session.Store(nil)
	tr.Receive([]udp.Datagram{{Payload: forged}}, out)
	require.Empty(t, tr.early)
}

func TestMediaGoesWhereICEFoundTheClient(t *testing.T) {
	tr := &transport{}
	pair := func(protocol webrtc.ICEProtocol, address string) *webrtc.ICECandidatePair {
		return &webrtc.ICECandidatePair{
			Local: &webrtc.ICECandidate{Protocol: protocol}, Remote: &webrtc.ICECandidate{Address: address, Port: 7},
		}
	}
	tr.tcp = &tcpView{}
	for _, none := range []*webrtc.ICECandidatePair{
		nil, {}, pair(webrtc.ICEProtocolUDP, "host.local"), pair(webrtc.ICEProtocolTCP, "192.0.2.1"),
	} {
		tr.selected(none)
		require.Nil(t, tr.target.Load())
	}
	tr.selected(pair(webrtc.ICEProtocolUDP, "192.0.2.1"))
	require.Equal(t, "192.0.2.1:7", tr.target.Load().udp.String())
	tr.selected(pair(webrtc.ICEProtocolUDP, "::ffff:192.0.2.2"))
	require.Equal(t, "192.0.2.2:7", tr.target.Load().udp.String(), "as received ones are")
}

// TestWhatIsToldGoesOnWhileAClientGoesOverToTCP has media come over TCP before ICE has chosen that.
func TestWhatIsToldGoesOnWhileAClientGoesOverToTCP(t *testing.T) {
	tr := &transport{}
	one, other := netip.MustParseAddrPort("192.0.2.1:7"), netip.MustParseAddrPort("192.0.2.2:7")
	tr.target.Store(&target{udp: one, back: one})
	tr.cameFrom(other)
	require.Equal(t, other, tr.target.Load().back)
	tr.cameFrom(netip.AddrPort{})
	require.Equal(t, other, tr.target.Load().back)
}

// TestMediaIsSentOnlyWhereACheckCameFrom is about whoever makes the server send to somebody else: media would be a flood.
func TestMediaIsSentOnlyWhereACheckCameFrom(t *testing.T) {
	ways, _ := onPort(t)
	tr, ok := ways().(*transport)
	require.True(t, ok)
	listen := func() *net.UDPConn {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
		return conn
	}
	checked, elsewhere := listen(), listen()
	address := func(conn *net.UDPConn) netip.AddrPort { return netip.MustParseAddrPort(conn.LocalAddr().String()) }
	tr.target.Store(&target{udp: address(checked), back: address(checked)})
	tr.cameFrom(address(elsewhere))
	require.NoError(t, tr.send(rtpOf(t, 20, 96, 1, vp8, nil), nil, udp.Video))
	tr.sendControl(nil, &rtcp.PictureLossIndication{MediaSSRC: 1})
	for conn, control := range map[*net.UDPConn]bool{checked: false, elsewhere: true} {
		datagram := make([]byte, 2000)
		n, err := conn.Read(datagram)
		require.NoError(t, err)
		require.Equal(t, control, dtlssrtp.IsControl(datagram[:n]))
	}
}
