package sfu

import (
	"context"
	"fmt"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/logging"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
	"github.com/rs/zerolog"

	"github.com/wardline/wardline/edge/sfu/codec/descriptor"
)

// Header extensions that are read or forwarded.
const (
	absSendTimeURI    = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
	absCaptureTimeURI = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time"
)

// mimeRED is redundant audio (RFC 2198); pion has no name for it.
const mimeRED = "audio/red"

// Clock rates of the codecs, in Hz.
const (
	videoClockRate = 90_000
	audioClockRate = 48_000
)

// apis make the two kinds of peer connection, with an API each, since every connection has hooks of its own.
type apis struct {
	sockets   *sockets
	settings  webrtc.SettingEngine
	receiving *webrtc.MediaEngine
	sending   *webrtc.MediaEngine
	log       zerolog.Logger
}

func newAPIs(s *sockets, deadAfter time.Duration, log zerolog.Logger) (*apis, error) {
	settings, err := newSettings(s, deadAfter, pionLog{log})
	if err != nil {
		return nil, err
	}
	receiving, err := receivingEngine()
	if err != nil {
		return nil, fmt.Errorf("publish API: %w", err)
	}
	sending, err := sendingEngine()
	if err != nil {
		return nil, fmt.Errorf("subscribe API: %w", err)
	}
	return &apis{sockets: s, settings: settings, receiving: receiving, sending: sending, log: log}, nil
}

// connect makes a peer connection whose media from takes. pion has no interceptors in it: all it would see is ICE and DTLS.
func (a *apis) connect(engine *webrtc.MediaEngine, from handler) (*webrtc.PeerConnection, *transport, error) {
	t := &transport{port: a.sockets.udp, handler: from, log: a.log}
	t.view = a.sockets.udp.For(t)
	t.tcp = &tcpView{tcpMux: a.sockets.tcp, transport: t}
	settings := a.settings
	settings.SetICEUDPMux(t.view)
	settings.SetICETCPMux(t.tcp)
	settings.SetDTLSServerHelloMessageHook(t.handshake.ServerHello)
	settings.SetDTLSKeyLogWriter(&t.handshake)
	api := webrtc.NewAPI(
		webrtc.WithMediaEngine(engine), webrtc.WithInterceptorRegistry(&interceptor.Registry{}), webrtc.WithSettingEngine(settings),
	)
	pc, err := api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, nil, err
	}
	t.follow(pc)
	return pc, t, nil
}

func newSettings(s *sockets, deadAfter time.Duration, log logging.LoggerFactory) (webrtc.SettingEngine, error) {
	settings := webrtc.SettingEngine{LoggerFactory: log}
	network, err := newAnnouncedNet(s.advertised)
	if err != nil {
		return settings, err
	}
	settings.SetNet(network)
	settings.SetLite(true)
	settings.SetNetworkTypes([]webrtc.NetworkType{
		webrtc.NetworkTypeUDP4, webrtc.NetworkTypeUDP6, webrtc.NetworkTypeTCP4, webrtc.NetworkTypeTCP6,
	})
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	settings.DisableActiveTCP(true)
	settings.SetICETimeouts(deadAfter/2, deadAfter/2, 2*time.Second)
	// Otherwise somebody whose ICE works but who never starts DTLS would stay for good.
	settings.SetDTLSConnectContextMaker(func() (context.Context, func()) {
		return context.WithTimeout(context.Background(), deadAfter)
	})
	// The DTLS server chooses the SRTP profile, and Chrome would choose AES-CM with HMAC-SHA1, several
	// times dearer here than AES-GCM. Our keys come from a server's handshake as well.
	if err := settings.SetAnsweringDTLSRole(webrtc.DTLSRoleServer); err != nil {
		return settings, err
	}
	settings.SetSRTPProtectionProfiles(
		dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AEAD_AES_256_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80,
	)
	return settings, nil
}

// receivingEngine knows what publishers may send.
func receivingEngine() (*webrtc.MediaEngine, error) {
	return newMediaEngine([]string{
		sdp.SDESMidURI, sdp.SDESRTPStreamIDURI, sdp.SDESRepairRTPStreamIDURI, sdp.TransportCCURI, absSendTimeURI, absCaptureTimeURI,
		descriptor.URI,
	}, []string{
		sdp.SDESMidURI, sdp.AudioLevelURI, sdp.TransportCCURI, absSendTimeURI, absCaptureTimeURI,
	})
}

// sendingEngine knows what subscribers are offered.
func sendingEngine() (*webrtc.MediaEngine, error) {
	return newMediaEngine(
		[]string{sdp.SDESMidURI, sdp.TransportCCURI, absCaptureTimeURI, descriptor.URI},
		[]string{sdp.SDESMidURI, sdp.TransportCCURI, sdp.AudioLevelURI, absCaptureTimeURI},
	)
}

// coded is a codec under the payload type that it is offered with.
type coded struct {
	payloadType webrtc.PayloadType
	mime, fmtp  string
}

// codecs are the same for all peer connections, so that any track can be forwarded to anybody. H.264 in High profile stands for all
// that it takes in, since each one more makes every offer longer; pion accepts a publisher's others where there are only those.
func codecs() []coded {
	return []coded{
		{111, webrtc.MimeTypeOpus, "minptime=10;useinbandfec=1;usedtx=1"},
		{63, mimeRED, "111/111"},
		{96, webrtc.MimeTypeVP8, ""},
		{102, webrtc.MimeTypeH264, h264("42e01f")},
		{106, webrtc.MimeTypeH264, h264("64001f")},
		{98, webrtc.MimeTypeVP9, "profile-id=0"},
		{45, webrtc.MimeTypeAV1, ""},
	}
}

func h264(profile string) string {
	return "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=" + profile
}

// newMediaEngine knows the codecs. Video that is sent again (RFC 4588) has the next payload type.
func newMediaEngine(videoExtensions, audioExtensions []string) (*webrtc.MediaEngine, error) {
	engine := &webrtc.MediaEngine{}
	again := []webrtc.RTCPFeedback{{Type: "nack"}, {Type: webrtc.TypeRTCPFBTransportCC}}
	feedback := append([]webrtc.RTCPFeedback{{Type: "nack", Parameter: "pli"}, {Type: "ccm", Parameter: "fir"}}, again...)
	for _, c := range codecs() {
		audio := c.mime == webrtc.MimeTypeOpus || c.mime == mimeRED
		kind := webrtc.RTPCodecTypeVideo
		capability := webrtc.RTPCodecCapability{MimeType: c.mime, ClockRate: videoClockRate, SDPFmtpLine: c.fmtp, RTCPFeedback: feedback}
		if audio {
			kind = webrtc.RTPCodecTypeAudio
			capability.ClockRate, capability.Channels, capability.RTCPFeedback = audioClockRate, 2, again
		}
		parameters := []webrtc.RTPCodecParameters{{RTPCodecCapability: capability, PayloadType: c.payloadType}}
		if !audio {
			repair := webrtc.RTPCodecCapability{
				MimeType: webrtc.MimeTypeRTX, ClockRate: videoClockRate, SDPFmtpLine: fmt.Sprintf("apt=%d", c.payloadType),
			}
			parameters = append(parameters, webrtc.RTPCodecParameters{RTPCodecCapability: repair, PayloadType: c.payloadType + 1})
		}
		for _, each := range parameters {
			if err := engine.RegisterCodec(each, kind); err != nil {
				return nil, fmt.Errorf("codec %s: %w", c.mime, err)
			}
		}
	}
	if err := registerExtensions(engine, webrtc.RTPCodecTypeVideo, videoExtensions); err != nil {
		return nil, err
	}
	return engine, registerExtensions(engine, webrtc.RTPCodecTypeAudio, audioExtensions)
}

func registerExtensions(engine *webrtc.MediaEngine, kind webrtc.RTPCodecType, uris []string) error {
	for _, uri := range uris {
		if err := engine.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: uri}, kind); err != nil {
			return fmt.Errorf("header extension %s: %w", uri, err)
		}
	}
	return nil
}
