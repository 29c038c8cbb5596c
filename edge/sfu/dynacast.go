package sfu

import (
	"slices"
	"time"

	"github.com/wardline/wardline/core/signaling"
)

// wantedFor is how long a layer stays wanted after the last subscriber left it, so that somebody who wavers
// does not switch an encoder on and off.
const wantedFor = 5 * time.Second

// cast tells the client which simulcast layers of its tracks somebody wants, if that is news. The smallest is
// always wanted: it is cheap, and whoever comes has a picture at once.
func (p *publisher) cast(now time.Time) {
	for _, t := range p.tracks {
		if p.leg.kind != signaling.BrowserSession || t.source == "" || len(t.layers) < 2 {
			continue
		}
		var active []string
		for i, l := range t.layers {
			if l.idle = i > 0 && now.Sub(l.wantedAt) >= wantedFor; !l.idle {
				active = append(active, l.rid)
			}
		}
		all := t.active == nil && len(active) == len(t.layers)
		if all || slices.Equal(active, t.active) {
			continue
		}
		t.active = active
		p.tellLayers(t)
	}
}

func (p *publisher) tellLayers(t *track) {
	p.leg.send(signaling.Layers{Route: p.leg.route, Source: t.source, Active: t.active})
}

// retell repeats what the client may not have heard.
func (p *publisher) retell() {
	for _, t := range p.tracks {
		if t.active != nil {
			p.tellLayers(t)
		}
		if t.fallback.instead != "" {
			p.tellCodec(t)
		}
	}
}
