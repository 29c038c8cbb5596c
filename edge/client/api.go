package client

import (
	"io"
	"slices"

	"github.com/pion/ice/v4"
	"github.com/pion/logging"
	"github.com/pion/webrtc/v4"
	"github.com/rs/zerolog"

	"github.com/wardline/wardline/core/signaling"
)

// newSettings are those of all peer connections of a participant.
func newSettings(config Config) webrtc.SettingEngine {
	settings := webrtc.SettingEngine{LoggerFactory: pionLog(config.Log)}
	settings.SetICETimeouts(min(iceDisconnected, config.giveUp), config.giveUp, iceKeepalive)
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeTCP4})
	if config.DirectUDP {
		settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	}
	// As browsers do: pion would leave it to an ICE-lite server, which knows its SRTP keys only as the DTLS server.
	_ = settings.SetAnsweringDTLSRole(webrtc.DTLSRoleClient) // fails for an unknown role only
	settings.SetIncludeLoopbackCandidate(slices.ContainsFunc(config.Gateways, isLoopback))
	// As browsers do: the first pair that works is taken, and a relay soon after.
	settings.SetSrflxAcceptanceMinWait(0)
	settings.SetPrflxAcceptanceMinWait(0)
	settings.SetRelayAcceptanceMinWait(relayWait)
	if config.RelayOnly {
		settings.SetRelayAcceptanceMinWait(0)
	}
	// Where only relays are allowed, pion would all the same connect to the SFU's TCP candidates directly.
	settings.DisableActiveTCP(config.RelayOnly || config.DirectUDP)
	return settings
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
