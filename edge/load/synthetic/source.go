// Package synthetic makes the media of load tests: pictures and sound that any decoder takes, of any size, each packet
// stamped with what it is and when it was sent.
package synthetic

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/pion/webrtc/v4"
)

// Format is what a source sends.
type Format struct {
	// VideoBitrate and AudioBitrate are those of payloads, in bits per second. 0 sends none.
	VideoBitrate, AudioBitrate int
	// FrameRate is in pictures per second.
	FrameRate int
}

// Bounds of a Format.
const (
	minVideoBitrate, maxVideoBitrate = 50_000, 50_000_000
	minAudioBitrate, maxAudioBitrate = 12_000, 100_000
	minFrameRate, maxFrameRate       = 1, 60
)

// Validate says which value is not allowed.
func (f Format) Validate() error {
	for _, each := range []struct {
		name             string
		value, low, high int
		none             bool // 0 is allowed
	}{
		{"video bitrate", f.VideoBitrate, minVideoBitrate, maxVideoBitrate, true},
		{"audio bitrate", f.AudioBitrate, minAudioBitrate, maxAudioBitrate, true},
		{"frame rate", f.FrameRate, minFrameRate, maxFrameRate, false},
	} {
		if each.none && each.value == 0 {
			continue
		}
		if each.value < each.low || each.value > each.high {
			return fmt.Errorf("%s %d: must be %d to %d", each.name, each.value, each.low, each.high)
		}
	}
	return nil
}

// Pace of what is sent.
const (
	soundEvery = 20 * time.Millisecond
	soundTicks = 960 // of Opus' 48 kHz clock
	videoClock = 90_000
	// burstEvery and spread are how Chromium's pacer sends a picture: at 2.5 times the bitrate, in bursts of what that makes in
	// 40 ms, so that most pictures leave at once.
	burstEvery = 40 * time.Millisecond
	spread     = 2.5
	// tooLate is when what was missed is left out: nobody's camera makes up for a machine that slept.
	tooLate = 250 * time.Millisecond
)

// Source is one participant's camera and microphone.
type Source struct {
	// Camera and Microphone are what is to be published; one that the format has no bitrate for stays silent.
	Camera, Microphone *Track
	// Speaks says whether there is voice in the microphone at a time since the beginning; nil is always. It is set before Run.
	Speaks func(since time.Duration) bool

	format  Format
	late    atomic.Int64
	picture picture
	sound   []byte
}

// NewSource makes a source whose tracks have the numbers first and first+1. What is sent in the window is counted.
func NewSource(format Format, first uint32, window *Window) *Source {
	return &Source{
		format: format,
		Camera: &Track{
			number: first, id: fmt.Sprintf("camera-%d", first), kind: webrtc.RTPCodecTypeVideo, mime: webrtc.MimeTypeVP8, window: window,
		},
		Microphone: &Track{
			number: first + 1, id: fmt.Sprintf("microphone-%d", first), kind: webrtc.RTPCodecTypeAudio, mime: webrtc.MimeTypeOpus,
			window: window,
		},
		picture: newPicture(format),
		sound:   sound(format.AudioBitrate * int(soundEvery/time.Millisecond) / 8000),
	}
}

// Tracks are those that are sent.
func (s *Source) Tracks() []*Track {
	var sent []*Track
	if s.format.VideoBitrate > 0 {
		sent = append(sent, s.Camera)
	}
	if s.format.AudioBitrate > 0 {
		sent = append(sent, s.Microphone)
	}
	return sent
}

// Late is how late the latest packet since the last call was: a generator that is late measures itself.
func (s *Source) Late() time.Duration { return time.Duration(s.late.Swap(0)) }

// Levels of a voice and of silence in -dBov, and the bit that says there is voice (RFC 6464).
const spoken, silent, voiced = 30, 127, 0x80

func (s *Source) level(now time.Duration) byte {
	if s.Speaks == nil || s.Speaks(now) {
		return voiced | spoken
	}
	return silent
}

// round is in what time everybody has a turn to begin. Sound and 30 pictures a second are in the same phase again after it.
const round = 100 * time.Millisecond

// untilTurn is how long a source waits at a time before it begins. Sources are spread over the round by their numbers, and so in the
// same way in every run: how many of their packets come together decides what a packet costs a server.
func untilTurn(number uint32, now time.Duration) time.Duration {
	const golden = 0.6180339887 // each multiple falls into the widest gap that the ones before it left
	_, turn := math.Modf(float64(number/2) * golden)
	return (time.Duration(turn*float64(round)) - now%round + round) % round
}

// Run sends until ctx ends.
func (s *Source) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	begin := time.Now().Add(untilTurn(s.Camera.number, Now()))
	const never = time.Duration(1<<63 - 1)
	nextSound, nextBurst := time.Duration(0), time.Duration(0)
	if s.format.AudioBitrate == 0 {
		nextSound = never
	}
	if s.format.VideoBitrate == 0 {
		nextBurst = never
	}
	for sounds := uint32(0); min(nextSound, nextBurst) != never; {
		timer.Reset(time.Until(begin.Add(min(nextSound, nextBurst))))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		now := time.Since(begin)
		late := now - min(nextSound, nextBurst)
		s.late.Store(max(s.late.Load(), int64(late)))
		if late > tooLate {
			begin, now = begin.Add(late), now-late
		}
		if nextSound <= now {
			s.Microphone.level = s.level(Now())
			s.Microphone.send(s.sound, sounds*soundTicks, sounds == 0)
			sounds++
			nextSound += soundEvery
		}
		if nextBurst <= now {
			nextBurst = s.picture.burst(s.Camera)
		}
	}
	<-ctx.Done()
}
