package synthetic

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wire is a peer connection that keeps what is sent on it.
type wire struct {
	webrtc.TrackLocalContext
	codecs []webrtc.RTPCodecParameters

	mu      sync.Mutex
	packets []*rtp.Packet
}

func (w *wire) CodecParameters() []webrtc.RTPCodecParameters { return w.codecs }
func (w *wire) ID() string                                   { return "wire" }
func (w *wire) HeaderExtensions() []webrtc.RTPHeaderExtensionParameter {
	return []webrtc.RTPHeaderExtensionParameter{{URI: sdp.AudioLevelURI, ID: 3}}
}
func (w *wire) SSRC() webrtc.SSRC                    { return 77 }
func (w *wire) WriteStream() webrtc.TrackLocalWriter { return w }
func (w *wire) RTCPReader() interceptor.RTCPReader   { return nil }
func (w *wire) Write([]byte) (int, error)            { panic("packets are written as such") }

func (w *wire) WriteRTP(h *rtp.Header, payload []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.packets = append(w.packets, &rtp.Packet{Header: h.Clone(), Payload: append([]byte(nil), payload...)})
	return len(payload), nil
}

func (w *wire) sent() []*rtp.Packet {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.packets
}

func vp8() *wire {
	return &wire{codecs: []webrtc.RTPCodecParameters{
		{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeH264}, PayloadType: 102},
		{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: "video/vp8"}, PayloadType: 96},
	}}
}

// pictures are frames reassembled.
func pictures(t *testing.T, packets []*rtp.Packet) (frames [][]byte, ids []uint16) {
	t.Helper()
	var frame []byte
	for _, packet := range packets {
		var descriptor codecs.VP8Packet
		payload, err := descriptor.Unmarshal(packet.Payload)
		require.NoError(t, err)
		require.Equal(t, len(frame) == 0, descriptor.S == 1, "a partition begins with its picture")
		frame = append(frame, payload...)
		if packet.Marker {
			frames, ids, frame = append(frames, frame), append(ids, descriptor.PictureID), nil
		}
	}
	return frames, ids
}

func TestPicturesOfAnyBitrateAreWholeAndOfTheirSize(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		format := Format{
			VideoBitrate: rapid.IntRange(minVideoBitrate, 10_000_000).Draw(r, "bitrate"),
			FrameRate:    rapid.IntRange(10, maxFrameRate).Draw(r, "rate"),
		}
		require.NoError(r, format.Validate())
		var window Window
		source := NewSource(format, 6, &window)
		to := vp8()
		_, err := source.Camera.Bind(to)
		require.NoError(r, err)
		window.Open(0)
		begun := Now()
		for next := time.Duration(0); source.picture.number < 3; {
			due := source.picture.burst(source.Camera)
			require.Greater(r, due, next)
			next = due
		}
		packets, bytes := source.Camera.Counted()
		require.EqualValues(r, len(to.sent()), packets)
		for i, packet := range to.sent() {
			require.LessOrEqual(r, len(packet.Payload), maxPayload)
			bytes -= int64(len(packet.Payload))
			require.Equal(r, uint16(i), packet.SequenceNumber)
			require.Equal(r, [2]uint32{96, 77}, [2]uint32{uint32(packet.PayloadType), packet.SSRC})
			stamp, ok := ReadStamp(packet.Payload)
			require.True(r, ok)
			require.Equal(r, [2]uint32{6, uint32(i)}, [2]uint32{stamp.Track, stamp.Index})
			require.GreaterOrEqual(r, stamp.Sent, begun)
		}
		require.Zero(r, bytes)
		frames, ids := pictures(t, to.sent())
		require.Equal(r, []uint16{0, 1, 2}, ids)
		require.Equal(r, keyFrame, frames[0][:len(keyFrame)])
		want := format.VideoBitrate / 8 / format.FrameRate
		for _, frame := range frames[1:] {
			require.Equal(r, deltaFrame, frame[:len(deltaFrame)])
			require.InDelta(r, max(want, minPicture), len(frame), 0.02*float64(want)+float64(minPicture))
		}
		require.Greater(r, len(frames[0]), len(frames[1])*2)
	})
}

func TestAKeyFrameComesOnRequest(t *testing.T) {
	source := NewSource(Format{VideoBitrate: 300_000, FrameRate: 30}, 0, &Window{})
	to := vp8()
	_, err := source.Camera.Bind(to)
	require.NoError(t, err)
	for n := uint32(1); n <= 6; n++ {
		if n == 4 {
			source.Camera.KeyFrame()
		}
		for source.picture.number < n {
			source.picture.burst(source.Camera)
		}
	}
	frames, _ := pictures(t, to.sent())
	var keys []bool
	for _, frame := range frames {
		keys = append(keys, frame[0]&1 == 0)
	}
	require.Equal(t, []bool{true, false, false, true, false, false}, keys)
}

func TestSoundIsOpusSilenceOfItsSize(t *testing.T) {
	for kbps, want := range map[int]int{12: 30, 32: 80, 100: 250} {
		packet := sound(kbps * 1000 * 20 / 8000)
		require.Len(t, packet, want)
		require.Equal(t, []byte{0xfb, 0x41}, packet[:2], "code 3, one frame, padded")
		require.Len(t, packet, 3+2+int(packet[2]), "a frame of two bytes and its padding")
		require.Equal(t, []byte{0xff, 0xfe}, packet[3:5])
	}
}

func TestASourceKeepsItsPace(t *testing.T) {
	var window Window
	window.Open(0)
	source := NewSource(Format{VideoBitrate: 600_000, AudioBitrate: 32_000, FrameRate: 30}, 0, &window)
	camera, microphone := vp8(), &wire{codecs: []webrtc.RTPCodecParameters{
		{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus}, PayloadType: 111},
	}}
	_, err := source.Camera.Bind(camera)
	require.NoError(t, err)
	_, err = source.Microphone.Bind(microphone)
	require.NoError(t, err)
	asked := 0
	source.Speaks = func(time.Duration) bool { asked++; return asked > 1 }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	begun := time.Now()
	go func() { defer close(done); source.Run(ctx) }()
	require.Eventually(t, func() bool { return len(microphone.sent()) >= 25 }, 10*time.Second, time.Millisecond)
	lasted := time.Since(begun)
	cancel()
	<-done
	require.GreaterOrEqual(t, lasted, 24*soundEvery, "not faster than time")
	frames, _ := pictures(t, camera.sent()[:lastMarker(camera.sent())+1])
	require.InDelta(t, lasted.Seconds()*30, len(frames), 6)
	require.EqualValues(t, 960*24, microphone.sent()[24].Timestamp)
	for i, level := range []byte{silent, voiced | spoken, voiced | spoken} {
		require.Equal(t, []byte{level}, microphone.sent()[i].GetExtension(3))
	}
	require.Empty(t, camera.sent()[0].GetExtension(3), "pictures have no loudness")

	require.NoError(t, source.Camera.Unbind(camera))
	require.ErrorIs(t, source.Camera.Unbind(camera), webrtc.ErrUnbindFailed)
	_, err = source.Camera.Bind(microphone)
	require.ErrorIs(t, err, webrtc.ErrUnsupportedCodec)
}

func lastMarker(packets []*rtp.Packet) int {
	for at := len(packets) - 1; at > 0; at-- {
		if packets[at].Marker {
			return at
		}
	}
	return 0
}

func TestFormatsThatAreNotAllowed(t *testing.T) {
	for says, format := range map[string]Format{
		"video bitrate 1: must be 50000": {VideoBitrate: 1, FrameRate: 30},
		"audio bitrate 200000: must be":  {AudioBitrate: 200_000, FrameRate: 30},
		"frame rate 0: must be 1 to 60":  {VideoBitrate: 1_000_000},
	} {
		require.ErrorContains(t, format.Validate(), says)
	}
}

func FuzzReadStamp(f *testing.F) {
	payload := make([]byte, 30)
	Stamp{1, 2, 3}.write(payload)
	f.Add(payload)
	f.Add([]byte{})
	f.Add(payload[:19])
	f.Fuzz(func(t *testing.T, packet []byte) {
		stamp, ok := ReadStamp(packet)
		if !ok {
			return
		}
		again := make([]byte, stampSize)
		stamp.write(again)
		require.Equal(t, packet[len(packet)-stampSize:], again)
	})
}

func TestSourcesAreSpreadTheSameWayInEveryRun(t *testing.T) {
	const sources = 8
	begin := func(number uint32, at time.Duration) time.Duration { return (at + untilTurn(number, at)) % round }
	var turns []time.Duration
	for i := range uint32(sources) {
		turn := begin(2*i, 0)
		require.Equal(t, turn, begin(2*i, 12345*time.Microsecond), "whenever the run begins")
		require.Less(t, untilTurn(2*i, 99*time.Millisecond), round)
		turns = append(turns, turn)
	}
	slices.Sort(turns)
	for i := 1; i < len(turns); i++ {
		require.Greater(t, turns[i]-turns[i-1], round/sources/3, "no two together")
	}
}
