package sfu

import (
	"slices"
	"testing"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/webrtc/v4"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/signaling"
)

func TestFallbackIsWhatAllDecode(t *testing.T) {
	began := time.Now()
	decoded := []string{"video/vp8", "video/h264", "video/vp9"}
	decodes := func(codec string) bool { return slices.Contains(decoded, codec) }
	offered := []string{"video/av1", "video/vp9", "video/vp8", "video/h264"}
	f := fallback{chosen: "video/av1"}
	at := func(after time.Duration) bool { return f.decide(began.Add(after), offered, decodes) }

	require.True(t, at(0))
	require.Equal(t, "video/vp8", f.instead)
	require.False(t, at(time.Second), "told once")
	decoded = []string{"video/h264"}
	require.True(t, at(2*time.Second), "somebody came who knows less")
	require.Equal(t, "video/h264", f.instead)
	decoded = []string{"video/h264", "video/av1"}
	require.False(t, at(2*time.Second+wantedFor-1), "somebody like them may come back")
	require.True(t, at(2*time.Second+wantedFor))
	require.Equal(t, fallback{lacking: began.Add(2 * time.Second)}, f)
}

func TestWithoutACommonCodecNothingChanges(t *testing.T) {
	f := fallback{chosen: "video/av1"}
	none := func(string) bool { return false }
	require.False(t, f.decide(time.Now(), []string{"video/vp8"}, none))
	require.False(t, f.decide(time.Now(), nil, none))
}

// knowsOnly lets a client know no video codec but one.
func (c *client) knowsOnly(mime, fmtp string) {
	engine := &webrtc.MediaEngine{}
	require.NoError(c.w, engine.RegisterCodec(webrtc.RTPCodecParameters{
		RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: mime, ClockRate: videoClockRate, SDPFmtpLine: fmtp}, PayloadType: 120,
	}, webrtc.RTPCodecTypeVideo))
	settings := webrtc.SettingEngine{}
	settings.SetIncludeLoopbackCandidate(true)
	require.NoError(c.w, settings.SetAnsweringDTLSRole(webrtc.DTLSRoleClient))
	c.api = newAPI(settings, engine, &interceptor.Registry{})
}

func TestWhoCannotDecodeAVideoGetsAnother(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	g.admit([]string{alice, bob}, nil)
	a := g.join(attachMessage(alice, signaling.BrowserSession))
	m := attachMessage(bob, signaling.BrowserSession)
	b := g.newClient(m)
	b.knowsOnly(webrtc.MimeTypeVP8, "")
	g.send(b.session, m)
	await[signaling.Attached](g, b.session)
	b.running.Go(b.follow)

	a.video = webrtc.MimeTypeVP9
	from := a.publish(true, signaling.Screen)
	asked := await[signaling.Codec](g, a.session)
	require.Equal(t, signaling.Codec{Route: a.attach.Route, Source: signaling.Screen, Name: "vp8"}, asked)
	require.Nil(t, b.reception(alice, signaling.Screen))

	local, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}, "screen", "stream")
	require.NoError(t, err)
	from["screen"].set(func(o *outgoing) {
		require.NoError(t, o.sender.ReplaceTrack(local))
		o.track, o.keyFrame = local, true
	})
	requireContinuous(w, b.awaitPackets(alice, signaling.Screen, 20, nil))

	g.send(b.session, signaling.Detach{Route: b.attach.Route})
	require.Empty(t, await[signaling.Codec](g, a.session).Name, "the one of choice is good for all again")
}

// TestWhatNobodyCanDecodeIsNotTakenForLost is about transport-wide numbers: receivers report those of packets that never left as lost.
func TestWhatNobodyCanDecodeIsNotTakenForLost(t *testing.T) {
	l, d, out := newFeed(t, nil)
	d.dialect = dialect{formats: map[uint8]format{0: {mime: "audio/pcmu"}}, transport: 3}
	feed(t, l, 100, 5, 1)
	require.Empty(t, out.packets)
	require.Zero(t, d.path.sent.Last())
	require.Zero(t, d.path.sent.Bytes())
	require.NotNil(t, l.foreign.Load(), "it is noted")
	require.Equal(t, l, d.layer, "and not waited for")
}

func TestEncodersMayHaveOneProfileOfH264(t *testing.T) {
	const constrainedBaseline, high = 102, 106 // payload types that subscribers are offered
	for profile, as := range map[string]uint8{
		"42e01f": constrainedBaseline, "42001f": high, "4d0028": high, "640c2a": high, "640028": high,
	} {
		t.Run(profile, func(t *testing.T) {
			w := newWorld(t)
			g := w.gateway()
			g.admit([]string{alice, bob}, nil)
			m := attachMessage(alice, signaling.WHIPSession)
			a := g.newClient(m)
			a.knowsOnly(webrtc.MimeTypeH264, h264(profile))
			g.send(a.session, m)
			await[signaling.Attached](g, a.session)
			b := g.join(attachMessage(bob, signaling.BrowserSession))
			a.video = webrtc.MimeTypeH264
			a.publish(false, signaling.Camera)
			packets := b.awaitPackets(alice, signaling.Camera, 20, nil)
			requireContinuous(w, packets)
			require.Equal(t, as, packets[0].PayloadType)
		})
	}
}
