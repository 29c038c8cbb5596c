package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/client/e2ee"
)

// Pace of what is sent.
const (
	audioEvery      = 20 * time.Millisecond
	audioTicks      = 960 // of Opus' 48 kHz clock in audioEvery
	videoTicks      = 9000
	audioPerPicture = 5 // 10 pictures a second
)

// opusSilence is 20 ms of silence (RFC 6716: one SILK-free CELT frame without content).
var opusSilence = []byte{0xf8, 0xff, 0xfe}

// keyFrame is a whole VP8 key frame (RFC 6386) of one pixel, which any decoder shows.
var keyFrame = []byte{
	0x30, 0x01, 0x00, 0x9d, 0x01, 0x2a, 0x01, 0x00, 0x01, 0x00, 0x0e,
	0xc0, 0xfe, 0x25, 0xa4, 0x00, 0x03, 0x70, 0x00, 0x00, 0x00, 0x00,
}

// sources are what a participant sends. One track of each is shared by all legs, so that two of them at once carry
// the same packets, and nothing is made twice.
type sources struct {
	microphone, camera *webrtc.TrackLocalStaticRTP
	given              map[signaling.Source]webrtc.TrackLocal // sent instead
	picture            []byte
	sealed             atomic.Pointer[sealers] // nil: in the clear
	stall              atomic.Int64            // the longest delay of a beat since it was harvested, in ns
}

// sealers encrypt each source of an end-to-end encrypted visit.
type sealers struct{ microphone, camera *e2ee.Sealer }

// newSources sends the tracks of a config, or its own pictures, which end in the config's filler.
func newSources(config Config) (*sources, error) {
	microphone, err := webrtc.NewTrackLocalStaticRTP(
		webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48_000, Channels: 2}, "microphone", "participant")
	if err != nil {
		return nil, fmt.Errorf("microphone: %w", err)
	}
	camera, err := webrtc.NewTrackLocalStaticRTP(
		webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90_000}, "camera", "participant")
	if err != nil {
		return nil, fmt.Errorf("camera: %w", err)
	}
	s := &sources{
		microphone: microphone, camera: camera, given: make(map[signaling.Source]webrtc.TrackLocal),
		picture: slices.Concat(keyFrame, config.Filler),
	}
	for source, track := range map[signaling.Source]webrtc.TrackLocal{
		signaling.Microphone: config.Microphone, signaling.Camera: config.Camera,
	} {
		if track != nil {
			s.given[source] = track
		}
	}
	return s, nil
}

// errNotSealed says that tracks which a config brings would go out in the clear.
var errNotSealed = errors.New("a track of the caller's cannot be sent in an end-to-end encrypted visit")

// seal encrypts what is sent from now on. Without keys it goes in the clear.
func (s *sources) seal(keys *e2ee.Exchange) error {
	if keys == nil {
		s.sealed.Store(nil)
		return nil
	}
	if len(s.given) > 0 {
		return errNotSealed
	}
	microphone, err := keys.Sealer(signaling.Microphone)
	if err != nil {
		return fmt.Errorf("microphone: %w", err)
	}
	camera, err := keys.Sealer(signaling.Camera)
	if err != nil {
		return fmt.Errorf("camera: %w", err)
	}
	s.sealed.Store(&sealers{microphone: microphone, camera: camera})
	return nil
}

// track returns the track of a source, nil if there is none.
func (s *sources) track(source signaling.Source) webrtc.TrackLocal {
	if track := s.given[source]; track != nil {
		return track
	}
	switch source {
	case signaling.Microphone:
		return s.microphone
	case signaling.Camera:
		return s.camera
	default:
		return nil
	}
}

// idle reports whether there is nothing to make: nothing is to be sent, or others make all of it.
func (s *sources) idle(publish bool) bool { return !publish || len(s.given) == 2 }

// run sends until ctx ends. A track that no leg carries costs nothing; one whose leg is not connected yet, or is going,
// refuses packets, as a network without a path loses them.
func (s *sources) run(ctx context.Context) {
	ticker := time.NewTicker(audioEvery)
	defer ticker.Stop()
	last := time.Now()
	for n := uint32(0); ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		s.beat(now.Sub(last) - audioEvery)
		last = now
		audio, picture := s.frames(n%audioPerPicture == 0)
		if audio != nil {
			_ = s.microphone.WriteRTP(audioPacket(n, audio))
		}
		if picture != nil {
			_ = s.camera.WriteRTP(videoPacket(n/audioPerPicture, picture))
		}
	}
}

// frames are what is to be sent now: sealed if the visit is, and nil for what cannot be.
func (s *sources) frames(withPicture bool) (audio, picture []byte) {
	audio = opusSilence
	if withPicture {
		picture = s.picture
	}
	sealed := s.sealed.Load()
	if sealed == nil {
		return audio, picture
	}
	audio, _ = sealed.microphone.Seal(audio)
	if withPicture {
		picture, _ = sealed.camera.Seal(picture)
	}
	return audio, picture
}

// beat notes how late a beat was. One goroutine does; a harvest in between takes what the previous second had.
func (s *sources) beat(late time.Duration) { s.stall.Store(max(s.stall.Load(), int64(late))) }

// harvestStall returns how late the latest beat since the last harvest was: what the machine, and not the network,
// adds to gaps.
func (s *sources) harvestStall() time.Duration { return time.Duration(s.stall.Swap(0)) }

func audioPacket(n uint32, frame []byte) *rtp.Packet {
	return &rtp.Packet{
		Header:  rtp.Header{Version: 2, Marker: n == 0, SequenceNumber: uint16(n), Timestamp: n * audioTicks},
		Payload: frame,
	}
}

// videoPacket is a whole picture behind its payload descriptor (RFC 7741) with a 15-bit picture id.
func videoPacket(n uint32, frame []byte) *rtp.Packet {
	payload := append(make([]byte, 0, 4+len(frame)), 0x90, 0x80, 0x80|byte(n>>8&0x7f), byte(n))
	return &rtp.Packet{
		Header:  rtp.Header{Version: 2, Marker: true, SequenceNumber: uint16(n), Timestamp: n * videoTicks},
		Payload: append(payload, frame...),
	}
}
