package quality

import (
	"math"
	"strings"
	"time"

	"github.com/wardline/wardline/core/signaling"
)

// Upper bounds of what a client can truthfully report; a number beyond is clamped.
const (
	maxMs      = 60_000        // one minute
	maxFPS     = 240           // frames a second
	maxBps     = 1_000_000_000 // bits a second
	maxCounter = 1e12          // frames, freezes, milliseconds frozen
	maxPixels  = 16_384        // width or height
	// maxSampleTracks bounds the tracks a sample keeps in each direction.
	maxSampleTracks = 32
)

// other stands for every label value that is not on its list.
const other = "other"

// The values labels can have; a client's free text never becomes one.
var (
	iceStates = set("new", "checking", "connected", "completed", "disconnected", "failed", "closed")
	paths     = set("udp", "tcp", "relay-udp", "relay-tcp", "relay-tls")
	codecs    = set("opus", "red", "vp8", "vp9", "h264", "av1")
	sources   = set(string(signaling.Microphone), string(signaling.Camera), string(signaling.Screen))
)

func set(values ...string) map[string]bool {
	out := make(map[string]bool, len(values))
	for _, value := range values {
		out[value] = true
	}
	return out
}

// listed returns value if it is on the list, "" if it is empty and other if it is anything else.
func listed(list map[string]bool, value string) string {
	if value == "" || list[value] {
		return value
	}
	return other
}

// codecName reduces "video/VP8" and "VP8" to "vp8".
func codecName(codec string) string {
	name := strings.ToLower(codec)
	if _, after, found := strings.Cut(name, "/"); found {
		name = after
	}
	return listed(codecs, name)
}

// bounded copies a reported number: nil stays nil, NaN and negative numbers are dropped, larger ones
// than limit (infinity too) are clamped to it.
func bounded(value *float64, limit float64) *float64 {
	if value == nil || math.IsNaN(*value) || *value < 0 {
		return nil
	}
	out := math.Min(*value, limit)
	return &out
}

func pixels(n int) int { return min(max(n, 0), maxPixels) }

// clean turns a report into a sample that is safe to keep and to export.
func clean(s signaling.Stats, at time.Time) Sample {
	sample := Sample{
		At: at.UTC(), Leg: s.Leg, ICEState: listed(iceStates, s.ICEState), Path: listed(paths, s.Path),
		RTTMs: bounded(s.RTTMs, maxMs), Send: cleanTracks(s.Send), Receive: cleanTracks(s.Receive),
	}
	sample.MOS = worstMOS(sample)
	return sample
}

func cleanTracks(tracks []signaling.TrackStats) []Track {
	if len(tracks) == 0 {
		return nil
	}
	tracks = tracks[:min(len(tracks), maxSampleTracks)]
	out := make([]Track, 0, len(tracks))
	for _, t := range tracks {
		track := Track{
			Source: listed(sources, string(t.Source)), Codec: codecName(t.Codec),
			BitrateBps: bounded(t.BitrateBps, maxBps), JitterMs: bounded(t.JitterMs, maxMs),
			Loss: bounded(t.Loss, 1), FPS: bounded(t.FPS, maxFPS), Width: pixels(t.Width), Height: pixels(t.Height),
			Freezes: bounded(t.Freezes, maxCounter), FreezeMs: bounded(t.FreezeMs, maxCounter),
			FramesDecoded: bounded(t.FramesDecoded, maxCounter), Concealed: bounded(t.Concealed, 1),
		}
		if signaling.ValidID(t.Participant) {
			track.Participant = t.Participant
		}
		out = append(out, track)
	}
	return out
}

// worstMOS estimates the worst received microphone; nil if no voice arrived or the path was not measured.
func worstMOS(s Sample) *float64 {
	if s.RTTMs == nil {
		return nil
	}
	var worst *float64
	for _, t := range s.Receive {
		if t.Source != string(signaling.Microphone) || t.JitterMs == nil || t.Loss == nil {
			continue
		}
		score := math.Round(MOS(*s.RTTMs, *t.JitterMs, *t.Loss)*100) / 100
		if worst == nil || score < *worst {
			worst = &score
		}
	}
	return worst
}
