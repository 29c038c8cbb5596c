package client

import (
	"fmt"
	"io"
	"slices"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/logging"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
	"github.com/rs/zerolog"

	"github.com/wardline/wardline/core/signaling"
)

// newAPI makes what all peer connections of a participant are made by. There are no interceptors: every picture is a
// key frame, and what is lost stays lost, so that it can be measured.
func newAPI(config Config) (*webrtc.API, error) {
	engine := &webrtc.MediaEngine{}
	if err := engine.RegisterDefaultCodecs(); err != nil {
		return nil, fmt.Errorf("codecs: %w", err)
	}
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
		if err := engine.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: sdp.SDESMidURI}, kind); err != nil {
			return nil, fmt.Errorf("header extension: %w", err)
		}
	}
	settings := webrtc.SettingEngine{LoggerFactory: pionLog(config.Log)}
	settings.SetICETimeouts(min(iceDisconnected, config.giveUp), config.giveUp, iceKeepalive)
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeTCP4})
	settings.SetIncludeLoopbackCandidate(slices.ContainsFunc(config.Gateways, isLoopback))
	// As browsers do: the first pair that works is taken, and a relay soon after.
	settings.SetSrflxAcceptanceMinWait(0)
	settings.SetPrflxAcceptanceMinWait(0)
	settings.SetRelayAcceptanceMinWait(relayWait)
	if config.RelayOnly {
		settings.SetRelayAcceptanceMinWait(0)
	}
	// Where only relays are allowed, pion would all the same connect to the SFU's TCP candidates directly.
	settings.DisableActiveTCP(config.RelayOnly)
	return webrtc.NewAPI(
		webrtc.WithMediaEngine(engine), webrtc.WithInterceptorRegistry(&interceptor.Registry{}), webrtc.WithSettingEngine(settings),
	), nil
}

// pionLog passes pion's warnings on where somebody debugs; by itself it would write to standard output.
func pionLog(log zerolog.Logger) logging.LoggerFactory {
	if log.GetLevel() > zerolog.DebugLevel {
		return &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled}
	}
	return &logging.DefaultLoggerFactory{Writer: log, DefaultLogLevel: logging.LogLevelWarn}
}

// configuration is that of a leg's peer connections.
func configuration(servers []signaling.ICEServer, relayOnly bool) webrtc.Configuration {
	config := webrtc.Configuration{
		BundlePolicy:  webrtc.BundlePolicyMaxBundle,
		RTCPMuxPolicy: webrtc.RTCPMuxPolicyRequire,
	}
	if relayOnly {
		config.ICETransportPolicy = webrtc.ICETransportPolicyRelay
	}
	for _, server := range servers {
		config.ICEServers = append(config.ICEServers, webrtc.ICEServer{
			URLs: server.URLs, Username: server.Username, Credential: server.Credential,
		})
	}
	return config
}
