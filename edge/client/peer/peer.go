// Package peer makes the peer connections of participants without a browser. Those that publish repeat what is asked
// for again and number packets for feedback, as browsers do. Those that subscribe take media straight from its decryption:
// without a jitter buffer, and without a goroutine and a copy for each packet, so that one process can be hundreds of
// receivers; they send receiver reports and feedback as browsers do, but ask for nothing again: what is lost stays lost,
// so that it can be measured.
package peer

import (
	"errors"
	"fmt"

	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/interceptor/pkg/report"
	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/sdp/v3"
	"github.com/pion/transport/v5/stdnet"
	"github.com/pion/webrtc/v4"
)

// Publishing makes peer connections that publish. Somebody has to read the RTCP of each sender.
func Publishing(settings webrtc.SettingEngine) (*webrtc.API, error) {
	engine, err := newMediaEngine()
	if err != nil {
		return nil, err
	}
	repeated, repeatedErr := nack.NewResponderInterceptor()
	reported, reportedErr := report.NewSenderInterceptor()
	numbered, numberedErr := twcc.NewHeaderExtensionInterceptor()
	if err := errors.Join(repeatedErr, reportedErr, numberedErr); err != nil {
		return nil, fmt.Errorf("interceptors: %w", err)
	}
	registry := &interceptor.Registry{}
	registry.Add(repeated)
	registry.Add(reported)
	registry.Add(numbered)
	return webrtc.NewAPI(
		webrtc.WithMediaEngine(engine), webrtc.WithInterceptorRegistry(registry), webrtc.WithSettingEngine(settings),
	), nil
}

// Subscribing makes the one peer connection that the receiver receives.
func Subscribing(settings webrtc.SettingEngine) (*webrtc.API, *Receiver, error) {
	engine, err := newMediaEngine()
	if err != nil {
		return nil, nil, err
	}
	receiver := newReceiver()
	settings.BufferFactory = receiver.buffer
	settings.SetDTLSKeyLogWriter(&receiver.handshake)
	system, err := stdnet.NewNet()
	if err != nil {
		return nil, nil, fmt.Errorf("network interfaces: %w", err)
	}
	settings.SetNet(network{system, receiver})
	return webrtc.NewAPI(
		webrtc.WithMediaEngine(engine), webrtc.WithInterceptorRegistry(&interceptor.Registry{}), webrtc.WithSettingEngine(settings),
	), receiver, nil
}

// newMediaEngine knows the codecs, and the header extensions that feedback is made from and that say how loud a voice is.
func newMediaEngine() (*webrtc.MediaEngine, error) {
	engine := &webrtc.MediaEngine{}
	if err := engine.RegisterDefaultCodecs(); err != nil {
		return nil, fmt.Errorf("codecs: %w", err)
	}
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
		for _, uri := range []string{sdp.SDESMidURI, sdp.TransportCCURI} {
			if err := engine.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: uri}, kind); err != nil {
				return nil, fmt.Errorf("header extension %s: %w", uri, err)
			}
		}
		engine.RegisterFeedback(webrtc.RTCPFeedback{Type: webrtc.TypeRTCPFBTransportCC}, kind)
	}
	loudness := webrtc.RTPHeaderExtensionCapability{URI: sdp.AudioLevelURI}
	if err := engine.RegisterHeaderExtension(loudness, webrtc.RTPCodecTypeAudio); err != nil {
		return nil, fmt.Errorf("header extension %s: %w", sdp.AudioLevelURI, err)
	}
	return engine, nil
}
