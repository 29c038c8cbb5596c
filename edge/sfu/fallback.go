package sfu

import (
	"slices"
	"strings"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/wardline/wardline/core/signaling"
)

// fallbacks are the codecs that a client may be asked for, those that most can decode first (RFC 7742, section 5).
var fallbacks = []string{"video/vp8", "video/h264", "video/vp9", "video/av1"}

// fallback is what becomes of a video that somebody who watches cannot decode. The room's lock guards it.
type fallback struct {
	chosen  string    // codec of the client's own choice that somebody cannot decode, empty while all can
	instead string    // that the client is asked for, empty if it is to send the one it chose
	lacking time.Time // when somebody last could not
}

// decide reports whether the client is to be told something new. The one it chose comes back wantedFor after the last who cannot
// decode it has gone. Where no codec would do for all, things stay as they are.
func (f *fallback) decide(now time.Time, offered []string, decodes func(codec string) bool) (changed bool) {
	if !decodes(f.chosen) {
		f.lacking = now
	}
	instead := f.instead
	switch {
	case now.Sub(f.lacking) >= wantedFor:
		f.chosen, instead = "", ""
	case instead == "" || !decodes(instead):
		for _, codec := range fallbacks {
			if codec != f.chosen && slices.Contains(offered, codec) && decodes(codec) {
				instead = codec
				break
			}
		}
	}
	changed = instead != f.instead
	f.instead = instead
	return changed
}

// fallBack asks the client for other codecs where somebody cannot decode what it sends.
func (p *publisher) fallBack(now time.Time) {
	for _, t := range p.tracks {
		if p.leg.kind != signaling.BrowserSession || t.source == "" || t.kind != webrtc.RTPCodecTypeVideo {
			continue
		}
		for _, l := range t.layers {
			if codec := l.foreign.Swap(nil); codec != nil && t.fallback.chosen == "" {
				t.fallback.chosen = *codec
			}
		}
		if t.fallback.chosen == "" {
			continue
		}
		watching := p.leg.room.watching(t)
		everybody := func(codec string) bool {
			return !slices.ContainsFunc(watching, func(d *downTrack) bool { return !d.decodes(codec) })
		}
		if t.fallback.decide(now, t.codecs(), everybody) {
			p.leg.log.Info().Str("source", string(t.source)).Str("codec", t.fallback.instead).Msg("asked for another codec")
			p.tellCodec(t)
		}
	}
}

func (p *publisher) tellCodec(t *track) {
	_, name, _ := strings.Cut(t.fallback.instead, "/")
	p.leg.send(signaling.Codec{Route: p.leg.route, Source: t.source, Name: name})
}

// watching are the down tracks that carry a track, or will once there is room for it.
func (r *room) watching(t *track) []*downTrack {
	var all []*downTrack
	for _, l := range r.legs {
		for _, each := range l.subscriber.slots {
			if each.track == t {
				all = append(all, each.down)
			}
		}
	}
	return all
}

// codecs are what the client can send a track in.
func (t *track) codecs() []string {
	var all []string
	for _, l := range t.layers {
		for _, f := range l.dialect.formats {
			all = append(all, f.mime)
		}
	}
	return all
}

// decodes reports whether the subscriber agreed to a codec, which it does if it can decode it. Who has agreed to nothing yet is no
// reason to change anything.
func (d *downTrack) decodes(codec string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.dialect.formats {
		if f.mime == codec {
			return true
		}
	}
	return !d.bound
}

// undecodableLocked notes that the subscriber cannot decode what its source sends.
func (d *downTrack) undecodableLocked(from *layer, codec string) {
	if d.layer == from && d.layer.foreign.Load() == nil {
		d.layer.foreign.Store(&codec)
	}
}
