package peer

import (
	"bytes"
	"context"
	"encoding/binary"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/protocol"
	"github.com/pion/dtls/v3/pkg/protocol/extension"
	"github.com/pion/dtls/v3/pkg/protocol/handshake"
	"github.com/pion/dtls/v3/pkg/protocol/recordlayer"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
	"github.com/pion/transport/v5/packetio"
	"github.com/pion/webrtc/v4"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/edge/dtlssrtp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is an upper bound that only a broken test meets.
const patience = 20 * time.Second

// reports takes what a receiver sends.
type reports chan []rtcp.Packet

func (r reports) WriteRTCP(packets []rtcp.Packet) error {
	r <- packets
	return nil
}

// packet is an RTP packet with a transport-wide sequence number.
func packet(t *testing.T, sequence, number uint16) []byte {
	t.Helper()
	p := rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: sequence, SSRC: 7, Marker: true}, Payload: []byte{1, 2, 3}}
	require.NoError(t, p.SetExtension(1, []byte{9}))
	require.NoError(t, p.SetExtension(5, binary.BigEndian.AppendUint16(nil, number)))
	text, err := p.Marshal()
	require.NoError(t, err)
	return text
}

func connect(t *testing.T, from, to *webrtc.PeerConnection) {
	t.Helper()
	offer, err := from.CreateOffer(nil)
	require.NoError(t, err)
	gathered := webrtc.GatheringCompletePromise(from)
	require.NoError(t, from.SetLocalDescription(offer))
	<-gathered
	require.NoError(t, to.SetRemoteDescription(*from.LocalDescription()))
	answer, err := to.CreateAnswer(nil)
	require.NoError(t, err)
	gathered = webrtc.GatheringCompletePromise(to)
	require.NoError(t, to.SetLocalDescription(answer))
	<-gathered
	require.NoError(t, from.SetRemoteDescription(*to.LocalDescription()))
}

// payloadSize is that of the packets a test sends, in bytes.
const payloadSize = 900

// through is how many bytes a peer connection has received itself.
func through(t *testing.T, pc *webrtc.PeerConnection) uint64 {
	t.Helper()
	for _, each := range pc.GetStats() {
		if stats, ok := each.(webrtc.TransportStats); ok {
			return stats.BytesReceived
		}
	}
	require.Fail(t, "no statistics of the transport")
	return 0
}

func TestWhatIsLeftToPion(t *testing.T) {
	r := newReceiver()
	var taken int
	s, ok := r.buffer(packetio.RTPBufferPacket, 7).(*sink)
	require.True(t, ok)
	now := time.Now()
	valid := packet(t, 1, 1)
	require.False(t, r.media(valid, now), "nobody takes it yet")
	s.open(func([]byte, time.Time) { taken++ })
	require.False(t, r.media(valid, now), "there are no keys")
	r.begin()
	require.False(t, r.media(valid, now), "there will be none")
	hello := handshake.MessageServerHello{
		Version: protocol.Version1_2, CipherSuiteID: new(uint16), CompressionMethod: &protocol.CompressionMethod{},
		Extensions: []extension.Extension{&extension.UseSRTP{ProtectionProfiles: []dtls.SRTPProtectionProfile{dtls.SRTP_AEAD_AES_128_GCM}}},
	}
	*hello.CipherSuiteID = uint16(dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
	record, err := (&recordlayer.RecordLayer{
		Header: recordlayer.Header{Version: protocol.Version1_2}, Content: &handshake.Handshake{Message: &hello},
	}).Marshal()
	require.NoError(t, err)
	var server dtlssrtp.Handshake
	server.ServerHello(hello)
	r = newReceiver()
	r.pass(record, true)
	for _, each := range []*dtlssrtp.Handshake{&server, &r.handshake} {
		_, err := each.Write([]byte("CLIENT_RANDOM 0011 2233"))
		require.NoError(t, err)
	}
	session, err := server.Session(false)
	require.NoError(t, err)
	s, ok = r.buffer(packetio.RTPBufferPacket, 7).(*sink)
	require.True(t, ok)
	s.open(func([]byte, time.Time) { taken++ })
	r.begin()
	sealed, err := session.SealRTP(bytes.Clone(valid))
	require.NoError(t, err)
	forged := bytes.Clone(sealed)
	forged[len(forged)-1] ^= 1
	kept := bytes.Clone(forged)
	require.False(t, r.media(forged, now))
	require.Equal(t, kept, forged, "pion gets it as it came")
	require.True(t, r.media(sealed, now))
	require.False(t, r.media(sealed, now), "a second time")
	require.Equal(t, 1, taken)
	for name, each := range map[string][]byte{"short": sealed[:11], "RTCP": {0x80, 200, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0}} {
		require.False(t, r.media(each, now), name)
	}
	require.NoError(t, s.Close())
	require.False(t, r.media(sealed, now), "the stream ended")
}

func TestPacketsGoFromOneToTheOtherAndReportsBack(t *testing.T) {
	t.Parallel()
	settings := webrtc.SettingEngine{}
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	publishing, err := Publishing(settings)
	require.NoError(t, err)
	subscribing, receiver, err := Subscribing(settings)
	require.NoError(t, err)
	from, err := publishing.NewPeerConnection(webrtc.Configuration{})
	require.NoError(t, err)
	to, err := subscribing.NewPeerConnection(webrtc.Configuration{})
	require.NoError(t, err)
	track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}, "camera", "test")
	require.NoError(t, err)
	sender, err := from.AddTrack(track)
	require.NoError(t, err)

	var taken atomic.Int64
	to.OnTrack(func(track *webrtc.TrackRemote, by *webrtc.RTPReceiver) {
		receiver.Take(track, by, func([]byte, time.Time) { taken.Add(1) })
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); receiver.Run(ctx, to) }()
	connect(t, from, to)

	quit, sending := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(sending)
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		for n := uint16(0); ; n++ {
			header := rtp.Header{Version: 2, SequenceNumber: n, Timestamp: uint32(n)}
			_ = track.WriteRTP(&rtp.Packet{Header: header, Payload: make([]byte, payloadSize)})
			select {
			case <-ticker.C:
			case <-quit:
				return
			}
		}
	}()
	var feedback, report bool
	for !feedback || !report {
		require.NoError(t, sender.SetReadDeadline(time.Now().Add(patience)))
		packets, _, err := sender.ReadRTCP()
		require.NoError(t, err)
		for _, each := range packets {
			switch each := each.(type) {
			case *rtcp.TransportLayerCC:
				feedback = true
			case *rtcp.ReceiverReport:
				report = len(each.Reports) == 1 && each.Reports[0].TotalLost == 0 && each.Reports[0].LastSenderReport != 0
			}
		}
	}
	require.Greater(t, taken.Load(), int64(50))
	require.Less(t, through(t, to), uint64(taken.Load()*payloadSize/2), "most media passed pion by")
	close(quit)
	<-sending
	cancel()
	require.NoError(t, from.GracefulClose())
	require.NoError(t, to.GracefulClose())
	<-done
	require.Empty(t, receiver.sinks, "what ended is forgotten")
}

func TestWhatComesEarlyIsKeptAndHandedOverInOrder(t *testing.T) {
	var noted int
	s := newSink(func([]byte, time.Time) { noted++ })
	for n := range byte(maxEarly + 5) {
		_, err := s.Write([]byte{n})
		require.NoError(t, err)
	}
	read := make([]byte, 10)
	n, err := s.Read(read)
	require.NoError(t, err)
	require.Equal(t, []byte{0}, read[:n])
	var taken []byte
	s.open(func(packet []byte, _ time.Time) { taken = append(taken, packet...) })
	_, err = s.Write([]byte{99})
	require.NoError(t, err)
	require.Len(t, taken, maxEarly, "one was read, and one came")
	require.Equal(t, []byte{1, 2, 3}, taken[:3])
	require.Equal(t, byte(99), taken[len(taken)-1])
	require.Equal(t, maxEarly+6, noted, "all are counted")

	ended := make(chan error, 1)
	go func() {
		_, err := s.Read(read)
		ended <- err
	}()
	require.NoError(t, s.Close())
	require.ErrorContains(t, <-ended, "EOF")
	_, err = s.Write([]byte{1})
	require.ErrorContains(t, err, "closed")
}

func TestReportsSayWhatIsMissing(t *testing.T) {
	t.Parallel()
	r := newReceiver()
	r.feedbackID.Store(5)
	s := r.buffer(packetio.RTPBufferPacket, 7)
	for n := uint16(65_530); n != 4; n++ { // 10 packets, over the edge
		if n != 65_533 && n != 0 {
			_, err := s.Write(packet(t, n, n+100))
			require.NoError(t, err)
		}
	}
	sent := &rtcp.SenderReport{SSRC: 7, NTPTime: 0x1122334455667788}
	text, err := sent.Marshal()
	require.NoError(t, err)
	control := r.buffer(packetio.RTCPBufferPacket, 7)
	_, err = control.Write(text)
	require.NoError(t, err)
	_, err = control.Write([]byte("no RTCP"))
	require.NoError(t, err)

	packets := r.due(time.Now().Add(time.Second), true)
	require.Len(t, packets, 2)
	full, ok := packets[0].(*rtcp.ReceiverReport)
	require.True(t, ok)
	report := full.Reports[0]
	require.Equal(t, rtcp.ReceptionReport{
		SSRC: 7, FractionLost: 51, TotalLost: 2, LastSequenceNumber: 1<<16 + 3, LastSenderReport: 0x33445566, Delay: report.Delay,
	}, report)
	require.InDelta(t, 65536, report.Delay, 6553)
	feedback, ok := packets[1].(*rtcp.TransportLayerCC)
	require.True(t, ok)
	require.Equal(t, [2]uint16{94, 10}, [2]uint16{feedback.BaseSequenceNumber, feedback.PacketStatusCount}, "65530 and 100 over the edge")
	require.Empty(t, r.due(time.Now(), false), "there is nothing new")

	out := make(reports)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx, out) }()
	require.Len(t, <-out, 1, "the reports only")
	cancel()
	<-done
}

func TestSubscribersOfferFeedback(t *testing.T) {
	api, _, err := Subscribing(webrtc.SettingEngine{})
	require.NoError(t, err)
	pc, err := api.NewPeerConnection(webrtc.Configuration{})
	require.NoError(t, err)
	defer func() { require.NoError(t, pc.GracefulClose()) }()
	_, err = pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo)
	require.NoError(t, err)
	offer, err := pc.CreateOffer(nil)
	require.NoError(t, err)
	require.Contains(t, offer.SDP, sdp.TransportCCURI)
	require.Contains(t, offer.SDP, "transport-cc")
}

func FuzzHeader(f *testing.F) {
	p := rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: 3, CSRC: []uint32{1, 2}}, Payload: []byte{1}}
	_ = p.SetExtension(5, []byte{1, 2})
	text, _ := p.Marshal()
	f.Add(text, uint8(5))
	two := rtp.Packet{Header: rtp.Header{Version: 2, Extension: true, ExtensionProfile: 0x1000}, Payload: []byte{1}}
	_ = two.SetExtension(5, []byte{1, 2})
	_ = two.SetExtension(200, make([]byte, 100))
	text, _ = two.Marshal()
	f.Add(text, uint8(200))
	f.Add(text[:20], uint8(5))
	f.Add([]byte{0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xbe, 0xde, 0, 1, 0x5f, 0, 0, 0}, uint8(5))
	f.Fuzz(func(t *testing.T, packet []byte, id uint8) {
		h, ok := parse(packet)
		if !ok || id == 0 {
			return
		}
		got, found := h.extension(packet, id)
		var full rtp.Packet
		if full.Unmarshal(packet) != nil {
			return
		}
		require.Equal(t, full.SequenceNumber, h.sequence)
		if want := full.GetExtension(id); found && len(want) >= 2 {
			require.Equal(t, binary.BigEndian.Uint16(want), got)
		}
	})
}
