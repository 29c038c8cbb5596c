package sfu

import (
	"net/netip"
	"testing"

	"github.com/pion/webrtc/v4"
	"github.com/stretchr/testify/require"

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
