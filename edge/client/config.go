package client

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/pion/webrtc/v4"
	"github.com/rs/zerolog"

	"github.com/wardline/wardline/core/signaling"
)

// Config says who takes part and how. Gateways and Token are required.
type Config struct {
	// Gateways are base URLs (https://HOST:PORT); the first is tried first, and gateways that those tell are
	// added.
	Gateways []string
	// TLS is used towards gateways; nil trusts the system's authorities.
	TLS *tls.Config
	// Token is the join token.
	Token string
	// Publish sends a microphone and a camera, as far as the token's role may.
	Publish bool
	// Admit lets everybody in who waits, if the token's role may.
	Admit bool
	// RelayOnly lets media pass through relays only.
	RelayOnly bool
	// Filler ends each picture that is sent, at most maxFiller bytes: something to look for where it should not be. Decoders
	// ignore it.
	Filler []byte
	// RTT is the round-trip time to each region in milliseconds; nil measures it before the first join, which takes
	// a second at most.
	RTT map[string]float64
	// Log takes what is of use to find out why something failed; the zero value logs nothing.
	Log zerolog.Logger
	// DirectUDP lets media take no other path than UDP to the SFU's own address: no relay, no TCP.
	DirectUDP bool
	// Microphone and Camera are sent instead of silence and darkness; nil sends those. Their owner ends with Run. A
	// KeyFramer is told that somebody needs a key frame.
	Microphone, Camera webrtc.TrackLocal
	// Packet takes each RTP packet as it comes, from several goroutines; it must not block or keep the packet.
	Packet func(packet []byte, at time.Time)
	// Events takes each event, one at a time and in order. It must not block: media waits for it.
	Events func(Event)

	giveUp time.Duration // iceFailed, unless a test is in a hurry
}

// maxFiller keeps a picture in one packet, in bytes.
const maxFiller = 1000

// Timing. The page of edge/web has the same, a little longer where people rather than drills wait.
const (
	// dialTimeout is what a gateway gets to take a connection, welcomeTimeout to take the participant in.
	dialTimeout    = 1200 * time.Millisecond
	welcomeTimeout = 5 * time.Second
	// writeTimeout is what one message may take to be handed to the system.
	writeTimeout = time.Second
	// pongTimeout is how long a ping may stay unanswered.
	pongTimeout = 3 * time.Second
	// defaultPing and minPing bound how often a gateway is asked, whatever it says.
	defaultPing = 2 * time.Second
	minPing     = 250 * time.Millisecond
	// refusedWait is how long a participant waits that all gateways refused for now, throttledWait one that came
	// too often.
	refusedWait   = 2500 * time.Millisecond
	throttledWait = 5 * time.Second
	// leaveTimeout bounds the polite end.
	leaveTimeout = time.Second
	// admitAgain is after how long an admission without effect is asked for again.
	admitAgain = 2 * time.Second
	// offerGrace is how long a leg that connected waits for the SFU's first offer, flowTimeout how long then for each
	// track's first packet, before an older leg that works is given up for it.
	offerGrace  = 2 * time.Second
	flowTimeout = 3 * time.Second
	// failedGrace is how long a leg that failed waits to be replaced before the participant joins anew.
	failedGrace = 2 * time.Second
	// iceDisconnected and iceFailed are how long nothing comes until a connection counts as one and as the other.
	iceDisconnected = 2 * time.Second
	iceFailed       = 5 * time.Second
	iceKeepalive    = time.Second
	// relayWait is what better paths get before a relay is taken.
	relayWait = 500 * time.Millisecond
	// tick is how often what depends on time is looked at.
	tick       = 50 * time.Millisecond
	statsEvery = time.Second
)

// KeyFramer is a track that makes a key frame on request.
type KeyFramer interface {
	KeyFrame()
}

// ErrNeverJoined says that no gateway took the participant in before the end.
var ErrNeverJoined = errors.New("never joined: no gateway took the participant in")

// RefusedError says that a gateway refused the participant for good.
type RefusedError struct {
	// Code is the protocol's.
	Code string
}

// Error implements error.
func (e *RefusedError) Error() string { return fmt.Sprintf("refused: %s", e.Code) }

// validate checks a configuration and completes it.
func (c *Config) validate() error {
	if err := (signaling.Join{Token: c.Token, RTT: c.RTT}).Validate(); err != nil {
		return err
	}
	if len(c.Filler) > maxFiller {
		return fmt.Errorf("filler: %d bytes, at most %d", len(c.Filler), maxFiller)
	}
	if len(c.Gateways) == 0 {
		return errors.New("gateways: none, at least one base URL is needed")
	}
	given := make([]string, 0, len(c.Gateways))
	for _, each := range c.Gateways {
		base, err := baseURL(each)
		if err != nil {
			return err
		}
		given = append(given, base)
	}
	c.Gateways = given
	if c.giveUp == 0 {
		c.giveUp = iceFailed
	}
	if c.Packet == nil {
		c.Packet = func([]byte, time.Time) {}
	}
	if c.Events == nil {
		c.Events = func(Event) {}
	}
	return nil
}
