package sfu

import (
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/signaling"
)

func TestPolice(t *testing.T) {
	// sends a stream of that many bit/s on the wire for some seconds and returns the share that passes.
	passes := func(p police, rate, size int) float64 {
		every := time.Duration(float64((size+wireOverhead)*8) / float64(rate) * float64(time.Second))
		sent, passed := 0, 0
		for now := time.Hour; now < time.Hour+10*time.Second; now += every {
			sent++
			if p.passes(now, size) {
				passed++
			}
		}
		return float64(passed) / float64(sent)
	}
	video, audio := newPolice(webrtc.RTPCodecTypeVideo), newPolice(webrtc.RTPCodecTypeAudio)
	require.InDelta(t, 1, passes(video, 6_000_000, 1200), 1e-9)
	require.InDelta(t, 1, passes(audio, 510_000, 1276), 1e-9)
	require.InDelta(t, 0.11, passes(video, 10*maxVideoRate, 1200), 0.01)
	require.InDelta(t, 0.11, passes(audio, 10*maxAudioRate, 100), 0.01)
	require.InDelta(t, 0.11, passes(audio, 10*maxAudioRate, 12), 0.01, "empty packets cost too")
	require.True(t, video.passes(-time.Hour, 1200), "a clock that runs back does no harm")
}

// TestPublisherThatSendsTooMuchHarmsOnlyItself floods one source and listens to another.
func TestPublisherThatSendsTooMuchHarmsOnlyItself(t *testing.T) {
	w, g, a, b := visit(t)
	c := g.join(attachMessage(carol, signaling.BrowserSession))
	from := a.publish(true, signaling.Microphone)
	fromC := c.publish(true, signaling.Microphone)
	b.awaitPackets(alice, signaling.Microphone, 10, from["microphone"].from())
	b.awaitPackets(carol, signaling.Microphone, 10, fromC["microphone"].from())
	stream := from["microphone"]
	require.Eventually(t, func() bool {
		stream.set(func(o *outgoing) {
			for range 20 {
				o.sequence++
				o.time += 480
				p := rtp.Packet{
					Header:  rtp.Header{Version: 2, SequenceNumber: o.sequence, Timestamp: o.time},
					Payload: append(make([]byte, 800), o.mark),
				}
				_ = o.track.WriteRTP(&p)
			}
		})
		return testutil.ToFloat64(w.server.metrics.packetsPoliced) > 100
	}, patience, 10*time.Millisecond)
	seen := len(b.reception(carol, signaling.Microphone).snapshot())
	requireContinuous(w, b.awaitPackets(carol, signaling.Microphone, seen+50, fromC["microphone"].from()))
	require.NotNil(t, w.legOf(a), "it is limited, not thrown out")
}
