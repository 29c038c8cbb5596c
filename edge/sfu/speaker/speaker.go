// Package speaker decides who is speaking from the audio levels that clients put on their packets.
package speaker

import "time"

// What makes a speaker. Levels are in -dBov as in RFC 6464: 0 is the loudest, 127 is silence.
const (
	quietest   = 127
	voiceLevel = 55                     // louder than this counts as voice
	attack     = 250 * time.Millisecond // of voice before somebody becomes the active speaker
	lead       = 6.0                    // dB a newcomer must be louder by while the active one still speaks
	hold       = 1500 * time.Millisecond
	release    = 6 * time.Second // of silence after which nobody is the active speaker
	smoothing  = 0.2
)

// Detector follows the levels of the participants of one encounter. It has no clock of its own; times
// must not run backwards. It is not safe for concurrent use.
type Detector struct {
	voices map[string]*voice
	active string
}

type voice struct {
	level    float64 // smoothed, in dB above silence
	since    time.Time
	lastHeed time.Time
	speaking bool
}

// NewDetector returns a detector that has heard nobody.
func NewDetector() *Detector { return &Detector{voices: make(map[string]*voice)} }

// Observe takes the level of one packet in -dBov, 0 to 127.
func (d *Detector) Observe(participant string, level uint8, now time.Time) {
	v := d.voices[participant]
	if v == nil {
		v = &voice{}
		d.voices[participant] = v
	}
	loudness := float64(quietest - min(level, quietest))
	v.level += smoothing * (loudness - v.level)
	if level < voiceLevel {
		if !v.speaking {
			v.speaking, v.since = true, now
		}
		v.lastHeed = now
	}
}

// Level is how loud a participant is at the moment, smoothed, in dB above silence, and when voice was last heard of them; false
// if no packet of theirs had a level.
func (d *Detector) Level(participant string) (level float64, spoke time.Time, known bool) {
	if v := d.voices[participant]; v != nil {
		return v.level, v.lastHeed, true
	}
	return 0, time.Time{}, false
}

// Forget drops a participant who left.
func (d *Detector) Forget(participant string) {
	delete(d.voices, participant)
	if d.active == participant {
		d.active = ""
	}
}

// Active decides, as of now, who the active speaker is; empty if nobody has spoken for a while. The
// active speaker keeps the floor over short pauses, and against somebody who is barely louder.
func (d *Detector) Active(now time.Time) string {
	var loudest string
	for participant, v := range d.voices {
		if v.speaking && now.Sub(v.lastHeed) > attack {
			v.speaking = false
		}
		if !v.speaking || now.Sub(v.since) < attack {
			continue
		}
		if loudest == "" || v.louder(d.voices[loudest], participant < loudest) {
			loudest = participant
		}
	}
	d.active = d.next(loudest, now)
	return d.active
}

// louder compares two voices; equals are ordered by first, so that the result is stable.
func (v *voice) louder(than *voice, first bool) bool {
	if v.level == than.level {
		return first
	}
	return v.level > than.level
}

func (d *Detector) next(loudest string, now time.Time) string {
	current := d.voices[d.active]
	switch {
	case current == nil:
		return loudest
	case loudest == "" && now.Sub(current.lastHeed) > release:
		return ""
	case loudest == "" || loudest == d.active:
		return d.active
	case now.Sub(current.lastHeed) > hold,
		current.speaking && d.voices[loudest].level > current.level+lead:
		return loudest
	default:
		return d.active
	}
}
