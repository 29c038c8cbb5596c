package sfu

import (
	"slices"
	"sync/atomic"

	"github.com/wardline/wardline/edge/sfu/bandwidth"
	"github.com/wardline/wardline/edge/sfu/codec/descriptor"
	"github.com/wardline/wardline/edge/sfu/scalability"
)

// scale is what a layer says of its decode targets: what of it can be forwarded without the rest, and what that takes.
type scale struct {
	structure *descriptor.Structure
	meters    []meter // by decode target, empty if there is one
	active    *atomic.Uint32
	count     uint16 // of structures that the layer has had
	began     uint16 // number of the key frame
	said      uint16 // number of the frame that said last what is active
}

// newScale is that of a key frame; what was measured before it counts on if the targets are the same.
func newScale(structure *descriptor.Structure, before *scale) *scale {
	s := &scale{structure: structure}
	if before != nil {
		s.count = before.count + 1
	}
	if before != nil && slices.Equal(before.structure.Targets, structure.Targets) {
		s.meters, s.active = before.meters, before.active
	} else {
		s.active = &atomic.Uint32{}
		s.active.Store(structure.All())
		if len(structure.Targets) > 1 {
			s.meters = make([]meter, len(structure.Targets))
		}
	}
	return s
}

// says takes over which targets are active.
func (s *scale) says(d *descriptor.Descriptor) {
	s.said = d.Number
	if d.Activates {
		s.active.Store(d.Active)
		return
	}
	s.active.Store(s.structure.All())
}

// measure takes a packet of the layer.
func (s *scale) measure(d *descriptor.Descriptor, bytes int) {
	for i := range s.meters {
		if d.Indications.Of(i) != descriptor.NotPresent {
			s.meters[i].add(bytes)
		}
	}
}

// note takes a described packet of the layer. What comes late says nothing new, unless it was said behind what is known.
func (l *layer) note(p *packet) {
	s, d := l.scale.Load(), &p.frame
	if p.fresh {
		l.latest = p.SequenceNumber
	}
	switch {
	case d.Attached && (p.fresh || int16(d.Number-s.began) > 0):
		s = newScale(d.Structure, s)
		s.began = d.Number
		s.says(d)
		l.scale.Store(s)
	case d.Activates && (p.fresh || int16(d.Number-s.said) > 0):
		s.says(d)
	}
	s.measure(d, len(p.Payload)+wireOverhead)
}

// rung is one of the sizes a track can be had in: a layer, or some layers of a scalable one.
type rung struct {
	layer  *layer
	layers scalability.Layers
	meter  *meter
	pixels int
	off    bool // the publisher does not send it now
}

// rungs lists them, from small to large.
func (t *track) rungs() []rung {
	var all []rung
	for _, l := range t.layers {
		s := l.scale.Load()
		if s == nil || len(s.meters) == 0 {
			all = append(all, rung{layer: l, layers: scalability.All, meter: &l.meter, pixels: l.size()})
			continue
		}
		all = append(all, s.rungs(l, len(all) > 0)...)
	}
	return all
}

// rungs are those of a scalable layer. Of larger pictures than the smallest there are few rungs with less of them a second: a
// smaller one that moves is worth more.
func (s *scale) rungs(l *layer, above bool) []rung {
	var most uint8
	for _, t := range s.structure.Targets {
		most = max(most, t.Temporal)
	}
	active := s.active.Load()
	var all []rung
	for i, t := range s.structure.Targets {
		if (above || t.Spatial > 0) && t.Temporal+1 < most {
			continue
		}
		all = append(all, rung{
			layer: l, layers: scalability.Layers{Spatial: t.Spatial, Temporal: t.Temporal}, meter: &s.meters[i],
			pixels: s.pixels(l, int(t.Spatial)), off: active>>i&1 == 0,
		})
	}
	slices.SortStableFunc(all, func(a, b rung) int {
		return (int(a.layers.Spatial)-int(b.layers.Spatial))<<8 + int(a.layers.Temporal) - int(b.layers.Temporal)
	})
	return all
}

// pixels is how large the pictures of a spatial layer are.
func (s *scale) pixels(l *layer, spatial int) int {
	if spatial < len(s.structure.Resolutions) {
		return s.structure.Resolutions[spatial].Width * s.structure.Resolutions[spatial].Height
	}
	var top uint8
	for _, t := range s.structure.Targets {
		top = max(top, t.Spatial)
	}
	return l.size() >> (2 * (int(top) - spatial))
}

// tick measures.
func (s *scale) tick() {
	for i := range s.meters {
		s.meters[i].tick()
	}
}

// usual is what a rung takes before that is measured.
func (r *rung) usual() bandwidth.Rate {
	if r.layers == scalability.All {
		return usual(r.layer.rid)
	}
	switch {
	case r.pixels > usualPixels("h"):
		return usual("f")
	case r.pixels > usualPixels("q"):
		return usual("h")
	default:
		return usual("q")
	}
}
