package quality

import (
	"time"

	"github.com/wardline/wardline/core/access"
)

// Timeline is what participants reported about their media in one encounter, oldest sample first.
type Timeline struct {
	Participants []Participant `json:"participants"`
}

// Participant is one participant's part of a Timeline.
type Participant struct {
	ID      string      `json:"id"`
	Role    access.Role `json:"role"`
	Samples []Sample    `json:"samples"`
}

// Sample is one report, cleaned: what a client could not measure, or reported out of range, is absent.
type Sample struct {
	At       time.Time `json:"at"`
	Leg      uint32    `json:"leg"`
	ICEState string    `json:"ice_state"`
	Path     string    `json:"path,omitempty"`
	RTTMs    *float64  `json:"rtt_ms,omitempty"`
	// MOS estimates how the worst microphone received sounded, 1 (bad) to 4.5 (excellent).
	MOS     *float64 `json:"mos,omitempty"`
	Send    []Track  `json:"send,omitempty"`
	Receive []Track  `json:"receive,omitempty"`
}

// Track is one track's part of a Sample; units as in signaling.TrackStats.
type Track struct {
	Participant   string   `json:"participant,omitempty"`
	Source        string   `json:"source"`
	Codec         string   `json:"codec,omitempty"`
	BitrateBps    *float64 `json:"bitrate_bps,omitempty"`
	JitterMs      *float64 `json:"jitter_ms,omitempty"`
	Loss          *float64 `json:"loss,omitempty"`
	FPS           *float64 `json:"fps,omitempty"`
	Width         int      `json:"width,omitempty"`
	Height        int      `json:"height,omitempty"`
	Freezes       *float64 `json:"freezes,omitempty"`
	FreezeMs      *float64 `json:"freeze_ms,omitempty"`
	FramesDecoded *float64 `json:"frames_decoded,omitempty"`
	Concealed     *float64 `json:"concealed,omitempty"`
}
