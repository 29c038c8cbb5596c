package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"github.com/stretchr/testify/require"
)

// tool is a WHIP or WHEP client made of nothing but pion and HTTP.
type tool struct {
	t        *testing.T
	pc       *webrtc.PeerConnection
	location string
	etag     string
	token    string
	video    atomic.Int64 // packets received
	audio    atomic.Int64
	marks    atomic.Int64 // the last received video payload's second byte
}

func newTool(t *testing.T, token string) *tool {
	t.Helper()
	settings := webrtc.SettingEngine{}
	settings.SetIncludeLoopbackCandidate(true)
	engine := &webrtc.MediaEngine{}
	require.NoError(t, engine.RegisterDefaultCodecs())
	api := webrtc.NewAPI(webrtc.WithSettingEngine(settings), webrtc.WithMediaEngine(engine))
	pc, err := api.NewPeerConnection(webrtc.Configuration{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = pc.Close() })
	return &tool{t: t, pc: pc, token: token}
}

// post sends the offer and applies the answer.
func (c *tool) post(url string) {
	c.t.Helper()
	offer, err := c.pc.CreateOffer(nil)
	require.NoError(c.t, err)
	gathered := webrtc.GatheringCompletePromise(c.pc)
	require.NoError(c.t, c.pc.SetLocalDescription(offer))
	<-gathered
	response, body := c.request(http.MethodPost, url, "application/sdp", c.pc.LocalDescription().SDP, nil)
	require.Equal(c.t, http.StatusCreated, response.StatusCode, body)
	require.Equal(c.t, "application/sdp", response.Header.Get("Content-Type"))
	require.NotEmpty(c.t, response.Header.Get("ETag"))
	require.Contains(c.t, strings.Join(response.Header.Values("Link"), ","), `rel="ice-server"`)
	location, err := response.Request.URL.Parse(response.Header.Get("Location"))
	require.NoError(c.t, err)
	c.location, c.etag = location.String(), response.Header.Get("ETag")
	require.NoError(c.t, c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: body}))
}

func (c *tool) request(method, url, contentType, body string, header map[string]string) (*http.Response, string) {
	c.t.Helper()
	request, err := http.NewRequestWithContext(context.WithoutCancel(c.t.Context()), method, url, strings.NewReader(body))
	require.NoError(c.t, err)
	request.Header.Set("Authorization", "Bearer "+c.token)
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(c.t, err)
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	require.NoError(c.t, err)
	return response, string(content)
}

// publish posts to WHIP and sends VP8 and Opus until the test ends; mark tells publishers apart.
func publish(t *testing.T, url, token string, mark byte) *tool {
	t.Helper()
	c := newTool(t, token)
	video, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}, "video", "tool")
	require.NoError(t, err)
	audio, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus}, "audio", "tool")
	require.NoError(t, err)
	for _, track := range []webrtc.TrackLocal{video, audio} {
		_, err := c.pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
		require.NoError(t, err)
	}
	c.post(url)
	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		send(video, audio, mark, stop)
	}()
	t.Cleanup(func() { close(stop); <-stopped })
	return c
}

// keyFrame is a VP8 key frame of 16x16 pixels behind its payload descriptor (RFC 7741), marked.
func keyFrame(mark byte, pictureID uint16) []byte {
	return []byte{
		0x90, 0x80, 0x80 | byte(pictureID>>8&0x7f), byte(pictureID), // X, S; I; 15-bit picture id
		0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 16, 0, 16, 0, mark,
	}
}

func send(video, audio *webrtc.TrackLocalStaticRTP, mark byte, stop <-chan struct{}) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for n := uint32(0); ; n++ {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		_ = video.WriteRTP(&rtp.Packet{
			Header:  rtp.Header{Version: 2, Marker: true, SequenceNumber: uint16(n), Timestamp: n * 1800},
			Payload: keyFrame(mark, uint16(n)),
		})
		_ = audio.WriteRTP(&rtp.Packet{
			Header:  rtp.Header{Version: 2, SequenceNumber: uint16(n), Timestamp: n * 960},
			Payload: []byte{0xf8, 0xff, 0xfe},
		})
	}
}

// subscribe posts to WHEP and counts what arrives.
func subscribe(t *testing.T, url, token string) *tool {
	t.Helper()
	c := newTool(t, token)
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
		_, err := c.pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
		require.NoError(t, err)
	}
	c.pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		for {
			packet, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			if track.Kind() == webrtc.RTPCodecTypeAudio {
				c.audio.Add(1)
				continue
			}
			c.video.Add(1)
			if n := len(packet.Payload); n > 0 {
				c.marks.Store(int64(packet.Payload[n-1]))
			}
		}
	})
	c.post(url)
	return c
}

// receives waits until more video and audio arrive, from the publisher with this mark.
func (c *tool) receives(mark byte) {
	c.t.Helper()
	video, audio := c.video.Load(), c.audio.Load()
	require.Eventually(c.t, func() bool {
		return c.video.Load() > video+5 && c.audio.Load() > audio+5 && c.marks.Load() == int64(mark)
	}, 15*time.Second, 10*time.Millisecond, "video %d audio %d mark %d", c.video.Load(), c.audio.Load(), c.marks.Load())
}

func TestWHIPAndWHEPExchangeMediaThroughTheGateway(t *testing.T) {
	d := startDev(t, "--auto-admit")
	whip, whep := d.URL+"/whip/studio", d.URL+"/whep/studio"
	one := publish(t, whip, d.Token("studio", "provider", "camera-1"), 1)
	publish(t, whip, d.Token("studio", "patient", "camera-2"), 2)
	first := subscribe(t, whep+"/camera-1", d.Token("studio", "scribe", "viewer-1"))
	second := subscribe(t, whep+"/camera-2", d.Token("studio", "scribe", "viewer-2"))
	first.receives(1)
	second.receives(2)
	speaker := subscribe(t, whep, d.Token("studio", "scribe", "viewer-3"))
	require.Eventually(t, func() bool { return speaker.video.Load() > 5 && speaker.audio.Load() > 5 }, 15*time.Second, 10*time.Millisecond)

	t.Run("DELETE ends the publisher", func(t *testing.T) {
		response, body := one.request(http.MethodDelete, one.location, "", "", nil)
		require.Equal(t, http.StatusOK, response.StatusCode, body)
		response, _ = one.request(http.MethodDelete, one.location, "", "", nil)
		require.Equal(t, http.StatusNotFound, response.StatusCode)
	})
	second.receives(2)
}

func TestWHIPWaitsForAProvider(t *testing.T) {
	d := startDev(t)
	publish(t, d.URL+"/whip/ward", d.Token("ward", "patient", "patient-1"), 7)
	viewer := subscribe(t, d.URL+"/whep/ward/patient-1", d.Token("ward", "provider", "provider-1"))
	require.Eventually(t, func() bool { return viewer.pc.ConnectionState() == webrtc.PeerConnectionStateConnected },
		15*time.Second, 10*time.Millisecond)

	provider := joinBySocket(t, d, d.Token("ward", "provider", "provider-2"))
	provider.await("roster", func(m map[string]any) bool { return strings.Contains(fmt.Sprint(m["members"]), "waiting") })
	require.Zero(t, viewer.video.Load(), "nothing flows before admission")
	provider.send(map[string]any{"type": "admit", "participant": "patient-1"})
	viewer.receives(7)
}

func TestWHIPRestartsICE(t *testing.T) {
	d := startDev(t, "--auto-admit")
	c := publish(t, d.URL+"/whip/ice", d.Token("ice", "provider", "camera-1"), 1)
	viewer := subscribe(t, d.URL+"/whep/ice/camera-1", d.Token("ice", "scribe", "viewer-1"))
	viewer.receives(1)

	response, _ := c.request(http.MethodPatch, c.location, "application/trickle-ice-sdpfrag", "a=end-of-candidates\r\n", nil)
	require.Equal(t, http.StatusPreconditionRequired, response.StatusCode)
	offer, err := c.pc.CreateOffer(&webrtc.OfferOptions{ICERestart: true})
	require.NoError(t, err)
	gathered := webrtc.GatheringCompletePromise(c.pc)
	require.NoError(t, c.pc.SetLocalDescription(offer))
	<-gathered
	response, body := c.request(http.MethodPatch, c.location, "application/trickle-ice-sdpfrag",
		fragment(c.pc.LocalDescription().SDP), map[string]string{"If-Match": "*"})
	require.Equal(t, http.StatusOK, response.StatusCode, body)
	require.NotEqual(t, c.etag, response.Header.Get("ETag"))
	answer := c.pc.RemoteDescription().SDP
	require.NoError(t, c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: withCredentials(answer, body)}))
	viewer.receives(1)
	require.Eventually(t, func() bool { return c.pc.ICEConnectionState() == webrtc.ICEConnectionStateConnected },
		15*time.Second, 10*time.Millisecond)
}

// fragment keeps what an SDP fragment (RFC 8840) of a restart needs.
func fragment(sdp string) string {
	var lines []string
	for line := range strings.Lines(sdp) {
		line = strings.TrimSpace(line)
		for _, prefix := range []string{"a=ice-ufrag:", "a=ice-pwd:", "m=", "a=mid:", "a=candidate:", "a=group:BUNDLE", "a=ice-options:"} {
			if strings.HasPrefix(line, prefix) {
				lines = append(lines, line)
			}
		}
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}

// withCredentials replaces an answer's ICE credentials with a fragment's.
func withCredentials(answer, fragment string) string {
	values := make(map[string]string)
	for line := range strings.Lines(fragment) {
		for _, prefix := range []string{"a=ice-ufrag:", "a=ice-pwd:"} {
			if strings.HasPrefix(line, prefix) {
				values[prefix] = strings.TrimSpace(line)
			}
		}
	}
	var lines []string
	for line := range strings.Lines(answer) {
		line = strings.TrimSpace(line)
		for prefix, value := range values {
			if strings.HasPrefix(line, prefix) {
				line = value
			}
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}
