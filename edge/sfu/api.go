package sfu

import (
	"context"
	"fmt"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/interceptor/pkg/report"
	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/logging"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
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

// apis make the two kinds of peer connection.
type apis struct {
	publish  *webrtc.API
	settings webrtc.SettingEngine
	sending  *webrtc.MediaEngine
}

func newAPIs(s *sockets, deadAfter time.Duration, log logging.LoggerFactory) (*apis, error) {
	settings, err := newSettings(s, deadAfter, log)
	if err != nil {
		return nil, err
	}
	publish, err := publishAPI(settings)
	if err != nil {
		return nil, fmt.Errorf("publish API: %w", err)
	}
	sending, err := sendingEngine()
	if err != nil {
		return nil, fmt.Errorf("subscribe API: %w", err)
	}
	return &apis{publish: publish, settings: settings, sending: sending}, nil
}

func newSettings(s *sockets, deadAfter time.Duration, log logging.LoggerFactory) (webrtc.SettingEngine, error) {
	settings := webrtc.SettingEngine{LoggerFactory: log}
	network, err := newAnnouncedNet(s.advertised)
	if err != nil {
		return settings, err
	}
	settings.SetNet(network)
	settings.SetLite(true)
	settings.SetICEUDPMux(s.udp)
	settings.SetICETCPMux(s.tcp)
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
	// times dearer here than AES-GCM.
	if err := settings.SetAnsweringDTLSRole(webrtc.DTLSRoleServer); err != nil {
		return settings, err
	}
	settings.SetSRTPProtectionProfiles(
		dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AEAD_AES_256_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80,
	)
	return settings, nil
}

// publishAPI receives: it reports, asks for lost packets and gives transport feedback.
func publishAPI(settings webrtc.SettingEngine) (*webrtc.API, error) {
	engine, err := newMediaEngine([]string{
		sdp.SDESMidURI, sdp.SDESRTPStreamIDURI, sdp.SDESRepairRTPStreamIDURI, sdp.TransportCCURI, absSendTimeURI, absCaptureTimeURI,
	}, []string{
		sdp.SDESMidURI, sdp.AudioLevelURI, sdp.TransportCCURI, absSendTimeURI, absCaptureTimeURI,
	})
	if err != nil {
		return nil, err
	}
	withTransportFeedback(engine)
	registry := &interceptor.Registry{}
	requests, err := nack.NewGeneratorInterceptor(nack.GeneratorInterval(40 * time.Millisecond))
	if err != nil {
		return nil, err
	}
	reports, err := report.NewReceiverInterceptor()
	if err != nil {
		return nil, err
	}
	feedback, err := twcc.NewSenderInterceptor()
	if err != nil {
		return nil, err
	}
	registry.Add(requests)
	registry.Add(reports)
	registry.Add(feedback)
	return newAPI(settings, engine, registry), nil
}

// sendingEngine knows what subscribers are offered.
func sendingEngine() (*webrtc.MediaEngine, error) {
	engine, err := newMediaEngine(
		[]string{sdp.SDESMidURI, sdp.TransportCCURI, absCaptureTimeURI},
		[]string{sdp.SDESMidURI, sdp.TransportCCURI, sdp.AudioLevelURI, absCaptureTimeURI},
	)
	if err != nil {
		return nil, err
	}
	withTransportFeedback(engine)
	return engine, registerRepair(engine)
}

// subscribe makes connections that send. They have no interceptors: lost packets come from the rings, sender
// reports from the publishers, and what is received goes to the buffers.
func (a *apis) subscribe(from *feedback) *webrtc.API {
	settings := a.settings
	settings.BufferFactory = from.buffer
	return newAPI(settings, a.sending, &interceptor.Registry{})
}

func withTransportFeedback(engine *webrtc.MediaEngine) {
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		engine.RegisterFeedback(webrtc.RTCPFeedback{Type: webrtc.TypeRTCPFBTransportCC}, kind)
	}
}

// registerRepair adds retransmission (RFC 4588) of each video codec, under the next payload type.
func registerRepair(engine *webrtc.MediaEngine) error {
	for _, payloadType := range []webrtc.PayloadType{96, 102, 104, 98, 45} {
		if err := engine.RegisterCodec(webrtc.RTPCodecParameters{
			RTPCodecCapability: webrtc.RTPCodecCapability{
				MimeType: webrtc.MimeTypeRTX, ClockRate: videoClockRate, SDPFmtpLine: fmt.Sprintf("apt=%d", payloadType),
			},
			PayloadType: payloadType + 1,
		}, webrtc.RTPCodecTypeVideo); err != nil {
			return fmt.Errorf("retransmission of %d: %w", payloadType, err)
		}
	}
	return nil
}

func newAPI(settings webrtc.SettingEngine, engine *webrtc.MediaEngine, registry *interceptor.Registry) *webrtc.API {
	return webrtc.NewAPI(
		webrtc.WithMediaEngine(engine), webrtc.WithInterceptorRegistry(registry), webrtc.WithSettingEngine(settings),
	)
}

// newMediaEngine knows the codecs; all peer connections use the same, so that any track can be
// forwarded to anybody.
func newMediaEngine(videoExtensions, audioExtensions []string) (*webrtc.MediaEngine, error) {
	engine := &webrtc.MediaEngine{}
	feedback := []webrtc.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}, {Type: "ccm", Parameter: "fir"}}
	h264 := func(profile string) string {
		return "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=" + profile
	}
	for _, c := range []struct {
		payloadType webrtc.PayloadType
		mime, fmtp  string
	}{
		{111, webrtc.MimeTypeOpus, "minptime=10;useinbandfec=1;usedtx=1"},
		{63, mimeRED, "111/111"},
		{96, webrtc.MimeTypeVP8, ""},
		{102, webrtc.MimeTypeH264, h264("42e01f")},
		{104, webrtc.MimeTypeH264, h264("42001f")},
		{98, webrtc.MimeTypeVP9, "profile-id=0"},
		{45, webrtc.MimeTypeAV1, ""},
	} {
		kind := webrtc.RTPCodecTypeVideo
		capability := webrtc.RTPCodecCapability{MimeType: c.mime, ClockRate: videoClockRate, SDPFmtpLine: c.fmtp, RTCPFeedback: feedback}
		if c.mime == webrtc.MimeTypeOpus || c.mime == mimeRED {
			kind = webrtc.RTPCodecTypeAudio
			capability.ClockRate, capability.Channels, capability.RTCPFeedback = audioClockRate, 2, nil
		}
		parameters := webrtc.RTPCodecParameters{RTPCodecCapability: capability, PayloadType: c.payloadType}
		if err := engine.RegisterCodec(parameters, kind); err != nil {
			return nil, fmt.Errorf("codec %s: %w", c.mime, err)
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
