package sfu

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/signaling"
)

func TestConfigIsChecked(t *testing.T) {
	serverTLS, _ := testTLS(t)
	tests := map[string]struct {
		change func(*Config)
		want   string
	}{
		"id":         {func(c *Config) { c.ID = "no spaces" }, `id "no spaces"`},
		"control":    {func(c *Config) { c.Control = nil }, "control listener"},
		"tls":        {func(c *Config) { c.ControlTLS = nil }, "control TLS"},
		"capacity":   {func(c *Config) { c.Capacity = 0 }, "capacity 0"},
		"media":      {func(c *Config) { c.Media = "nowhere" }, `media "nowhere"`},
		"advertise":  {func(c *Config) { c.Advertise = []string{"example.org"} }, `advertise "example.org"`},
		"advertise0": {func(c *Config) { c.Advertise = []string{"0.0.0.0"} }, "that clients can reach"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer func() { _ = listener.Close() }()
			cfg := Config{ID: "sfu", Control: listener, ControlTLS: serverTLS, Media: "127.0.0.1:0", Capacity: 1, Log: zerolog.Nop()}
			test.change(&cfg)
			_, err = New(cfg)
			require.ErrorContains(t, err, test.want)
		})
	}
}

func TestMediaPortIsTakenOnce(t *testing.T) {
	w := newWorld(t)
	cfg := w.server.cfg
	cfg.Media = w.server.MediaAddr().String()
	_, err := listenMedia(cfg, func() {})
	require.ErrorContains(t, err, cfg.Media)
}

func TestAdvertised(t *testing.T) {
	given, err := Config{Advertise: []string{"203.0.113.7", "2001:db8::7"}}.advertised(netip.MustParseAddr("0.0.0.0"))
	require.NoError(t, err)
	require.Equal(t, []netip.Addr{netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("2001:db8::7")}, given)
	host, err := Config{}.advertised(netip.MustParseAddr("127.0.0.1"))
	require.NoError(t, err)
	require.Equal(t, []netip.Addr{netip.MustParseAddr("127.0.0.1")}, host)
	all, err := Config{}.advertised(netip.MustParseAddr("0.0.0.0"))
	require.NoError(t, err)
	require.Contains(t, all, netip.MustParseAddr("127.0.0.1"))
	for _, each := range all {
		require.True(t, each.Is4())
	}
}

func TestAnnouncedCandidates(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Advertise = []string{"203.0.113.7", "127.0.0.1"} })
	silent := newFeedback(newPath(nil))
	pc, _, err := w.server.apis.connect(w.server.apis.sending, silent)
	require.NoError(t, err)
	defer func() { require.NoError(t, pc.GracefulClose()) }()
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
		_, err = pc.AddTransceiverFromTrack(newDownTrack("t", kind, silent, w.server.metrics))
		require.NoError(t, err)
	}
	description, err := (&connection{pc: pc}).offer(false)
	require.NoError(t, err)
	for _, want := range []string{
		" 203.0.113.7 ", " 127.0.0.1 ", " tcp ", " udp ", "a=ice-lite",
		"useinbandfec=1;usedtx=1", "red/48000", "H264/90000", "VP8/90000", "VP9/90000", "AV1/90000", "apt=45",
	} {
		require.Contains(t, description, want)
	}
}

func TestKeyFramesAreAskedForUntilTheyCome(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(10, 0).Add(time.Duration(ms) * time.Millisecond) }
	frames := keyFrames{every: 500 * time.Millisecond}
	require.False(t, frames.due(at(0), at(0)), "nobody wants any")
	require.True(t, frames.request(at(0)), "the first at once")
	require.False(t, frames.request(at(100)), "no more than one in a while")
	require.False(t, frames.due(at(400), at(390)))
	require.True(t, frames.due(at(500), at(490)), "other packets came")
	require.False(t, frames.due(at(900), at(890)))
	require.False(t, frames.due(at(9000), at(490)), "nothing came: there is no network, or nothing is sent")
	require.True(t, frames.due(at(9010), at(9000)), "it is back")
	frames.came()
	require.False(t, frames.due(at(9600), at(9590)))
	require.True(t, frames.request(at(9700)))
}

func TestReservationsLapse(t *testing.T) {
	c := newCapacity(1, time.Minute)
	start := time.Unix(10, 0)
	other := signaling.EncounterRef{Tenant: "clinic", Encounter: "other"}
	require.Empty(t, c.reserve(theVisit, start))
	require.Empty(t, c.reserve(theVisit, start), "twice is once")
	require.Equal(t, signaling.RefusedBusy, c.reserve(other, start))
	require.Empty(t, c.reserve(other, start.Add(61*time.Second)))
	require.Zero(t, c.load())
}

func TestEmptyRoomsAreForgotten(t *testing.T) {
	s := &Server{rooms: map[signaling.EncounterRef]*room{}}
	r := s.room(theVisit)
	require.False(t, r.forgettable(time.Now()))
	require.True(t, r.forgettable(time.Now().Add(roomLinger)))
	s.inRoom(theVisit, func(again *room) { require.NotSame(t, r, again) })
}

func TestCaptureTime(t *testing.T) {
	report := senderReport{ntp: 100<<32 | 1<<31, rtp: 90_000}
	require.Equal(t, 100*time.Second+500*time.Millisecond, report.captureAt(90_000, videoClockRate))
	require.Equal(t, 101*time.Second+500*time.Millisecond, report.captureAt(180_000, videoClockRate))
	require.Equal(t, 99*time.Second+500*time.Millisecond, report.captureAt(0, videoClockRate))
}

// TestAReportWithoutWallClockTellsNoCaptureTime is about senders that have none and report zero (RFC 3550, section 6.4.1).
func TestAReportWithoutWallClockTellsNoCaptureTime(t *testing.T) {
	l, raw := layerOf(t, webrtc.RTPCodecTypeVideo)
	for ntp, clock := range map[uint64]string{0: "", 100 << 32: "alice/0"} {
		l.track.clock = "alice/0"
		l.reported(nil, &senderReport{ntp: ntp, rtp: 1})
		raw[3]++
		p := l.room()
		require.True(t, l.accept(raw, p))
		require.Equal(t, clock, p.numbers.CaptureClock)
	}
}

func TestTranslateUnpacksRedundantAudio(t *testing.T) {
	d := newDownTrack("t", webrtc.RTPCodecTypeAudio, newFeedback(newPath(nil)), nil)
	d.dialect = dialect{formats: map[uint8]format{109: {mime: "audio/opus"}}}
	p := &packet{format: format{mime: mimeRED}}
	p.Payload = []byte("\xef\x00\x00\x03\x6foldnew")
	payloadType, payload, ok := d.translate(p)
	require.True(t, ok)
	require.Equal(t, uint8(109), payloadType)
	require.Equal(t, "new", string(payload))
	d.dialect.formats[63] = format{mime: mimeRED}
	payloadType, payload, ok = d.translate(p)
	require.True(t, ok)
	require.Equal(t, uint8(63), payloadType)
	require.Equal(t, p.Payload, payload)
	p.format = format{mime: "video/vp8"}
	_, _, ok = d.translate(p)
	require.False(t, ok)
}

func TestFormatsMatchByProfile(t *testing.T) {
	d := newDownTrack("t", webrtc.RTPCodecTypeVideo, newFeedback(newPath(nil)), nil)
	h264 := func(fmtp string) webrtc.RTPCodecCapability {
		return webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeH264, SDPFmtpLine: fmtp}
	}
	d.dialect = newDialect(webrtc.RTPParameters{Codecs: []webrtc.RTPCodecParameters{
		{PayloadType: 102, RTPCodecCapability: h264("packetization-mode=1;profile-level-id=42E01F")},
		{PayloadType: 104, RTPCodecCapability: h264("profile-level-id=42001f")},
		{PayloadType: 106, RTPCodecCapability: h264("profile-level-id=64001f")},
	}})
	for profile, want := range map[string]uint8{
		"42e01f": 102, "42e028": 102, "42001f": 104, "640c1f": 106, "4d0028": 106, "64002a": 106, "f4001f": 102, "": 102,
	} {
		got, ok := d.payloadType(format{mime: "video/h264", profile: profile})
		require.True(t, ok)
		require.Equal(t, want, got, profile)
	}
}

func TestWithDTX(t *testing.T) {
	in := "a=rtpmap:111 opus/48000/2\r\na=rtpmap:96 VP8/90000\r\na=fmtp:111 minptime=10\r\na=fmtp:96 x=1\r\n"
	want := strings.Replace(in, "minptime=10", "minptime=10;usedtx=1", 1)
	require.Equal(t, want, withDTX(in))
	require.Equal(t, want, withDTX(want))
}

// goodOffer is what a plain client would offer.
func goodOffer(tb testing.TB) string {
	tb.Helper()
	pc, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	require.NoError(tb, err)
	defer func() { _ = pc.GracefulClose() }()
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
		_, err = pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
		require.NoError(tb, err)
	}
	offer, err := pc.CreateOffer(nil)
	require.NoError(tb, err)
	return offer.SDP
}

func TestCheckDescription(t *testing.T) {
	good := goodOffer(t)
	sections, err := checkDescription(good, maxOffered)
	require.NoError(t, err)
	require.Equal(t, map[string]signaling.Source{"0": signaling.Microphone, "1": signaling.Camera}, sourcesOf(nil, sections))
	require.Equal(t, map[string]signaling.Source{"1": signaling.Screen}, sourcesOf([]signaling.Track{
		{MID: "0", Source: signaling.Camera}, {MID: "1", Source: signaling.Screen}, {MID: "7", Source: signaling.Microphone},
	}, sections), "a source must fit its section")
	for name, change := range map[string][2]string{
		"no fingerprint": {"a=fingerprint:", "a=finger:"},
		"no credentials": {"a=ice-pwd:", "a=pwd:"},
		"same mid twice": {"a=mid:1", "a=mid:0"},
		"no mid":         {"a=mid:1", "a=mad:1"},
		"data channel":   {"m=video", "m=application"},
		"DTLS client":    {"a=setup:actpass", "a=setup:passive"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := checkDescription(strings.ReplaceAll(good, change[0], change[1]), maxOffered)
			require.Error(t, err)
		})
	}
}

// slowestOffer is what a description may take, on a loaded machine; a leg's worker is busy for that long.
const slowestOffer = 5 * time.Second

// FuzzCheckDescription reads any description without a peer connection.
func FuzzCheckDescription(f *testing.F) {
	good := goodOffer(f)
	f.Add(good)
	f.Add(strings.ReplaceAll(good, "m=audio", "m=audio/"))
	f.Add(strings.ReplaceAll(good, "a=mid:1", "a=mid"))
	f.Fuzz(func(t *testing.T, text string) {
		sections, err := checkDescription(text, maxOffered)
		if err != nil {
			return
		}
		require.LessOrEqual(t, len(sections), maxOffered)
		require.LessOrEqual(t, len(sourcesOf(nil, sections)), 2)
		require.Equal(t, withDTX(text), withDTX(withDTX(text)))
	})
}

// FuzzOffer gives any offer to a publishing connection, which must refuse or answer it, and soon. Fuzz it
// with -fuzzminimizetime 1x: the goroutines of a connection make coverage vary from run to run, so that
// minimizing finds no end.
func FuzzOffer(f *testing.F) {
	good := goodOffer(f)
	f.Add(good)
	f.Add(strings.Replace(good, "a=mid:1", "a=rid:q send\r\na=rid:h send\r\na=simulcast:send q;h\r\na=mid:1", 1))
	f.Add(strings.ReplaceAll(good, "a=rtpmap", "a=rtpmop"))
	f.Add(strings.ReplaceAll(good, "m=audio", "m=audio/"))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(f, err)
	defer func() { _ = listener.Close() }()
	cfg := Config{Media: "127.0.0.1:0", Log: zerolog.New(os.Stderr).Level(zerolog.Disabled)}
	sockets, err := listenMedia(cfg, func() {})
	require.NoError(f, err)
	f.Cleanup(func() { _ = sockets.close() })
	apis, err := newAPIs(sockets, time.Second, cfg.Log)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, offer string) {
		sections, err := checkDescription(offer, maxOffered)
		if err != nil {
			return
		}
		sourcesOf(nil, sections)
		pc, err := apis.newConnection(apis.receiving, newFeedback(newPath(nil)), func(*connection, webrtc.PeerConnectionState) {})
		require.NoError(t, err)
		defer func() { _ = pc.pc.GracefulClose() }()
		start := time.Now()
		if answer, err := pc.answer(offer, nil); err == nil {
			require.NotEmpty(t, answer)
		}
		require.Less(t, time.Since(start), slowestOffer)
	})
}

func TestAnswersListFormatsAsOffersDo(t *testing.T) {
	offer := "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 63 111 0\r\na=mid:0\r\nm=video 9 UDP/TLS/RTP/SAVPF 98 96 100 45 111\r\n"
	answer := "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\na=mid:0\r\nm=video 9 UDP/TLS/RTP/SAVPF 45 96 98\r\na=rtpmap:45 AV1/90000\r\n"
	want := "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 63 111\r\na=mid:0\r\nm=video 9 UDP/TLS/RTP/SAVPF 98 96 45\r\na=rtpmap:45 AV1/90000\r\n"
	require.Equal(t, want, inOrderOf(offer, answer))
	for _, odd := range []string{"", "m=", "m=video 9 x\r\nm=audio 9", "m=audio 0 UDP/TLS/RTP/SAVPF 0\r\nm=video 9 x 1 2\r\n"} {
		require.NotPanics(t, func() { inOrderOf(odd, answer); inOrderOf(offer, odd) })
	}
}
