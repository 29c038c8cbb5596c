// Package scalability chooses which frames of a scalable stream a subscriber gets, by what their dependency descriptors say: all
// of one decode target, and of another one as soon as those can be decoded. It is pure: no clock, no I/O.
package scalability

import "github.com/wardline/wardline/edge/sfu/codec/descriptor"

// Layers are how many layers somebody should get, by the number of the highest, 0 to 255.
type Layers struct{ Spatial, Temporal uint8 }

// All are all layers there are.
var All = Layers{255, 255}

// Verdict is what becomes of a packet.
type Verdict struct {
	// Pass says that it goes out.
	Pass bool
	// Last says that nothing more of its picture does, so that it has the marker bit.
	Last bool
	// Active are the decode targets that the subscriber gets from here on, to be said in the packet; zero to say nothing.
	Active uint32
}

// none is the decode target of somebody who gets nothing.
const none = -1

// Chooser is what a subscriber gets of one stream. The zero value gets all of what begins with the next key frame. It is not
// safe for concurrent use.
type Chooser struct {
	wanted    Layers
	limited   bool // wanted counts
	structure *descriptor.Structure
	active    uint32 // decode targets that there are
	current   int    // decode target
	goal      int    // that it should be
	says      uint32 // those that the subscriber gets with it
	reduced   bool   // they were not all since the key frame
	began     int64  // number of the key frame

	picture uint32 // RTP timestamp of the newest picture
	sent    bool   // something of it went out
	frames  frames
}

// Reset forgets the stream. Another one begins with a key frame.
func (c *Chooser) Reset() { c.structure = nil }

// Want says how much the subscriber should get: no more than these layers. Fewer come at once if the frames in hand allow that,
// else with the next key frame; until then there are the present ones, or with atOnce none.
func (c *Chooser) Want(layers Layers, atOnce bool) {
	c.wanted, c.limited = layers, true
	c.aim()
	if atOnce && c.Waits() && c.current != none && c.structure.Targets[c.current].Spatial > layers.Spatial {
		c.current = none
	}
}

// Wanted is what Want said last, All before that.
func (c *Chooser) Wanted() Layers {
	if !c.limited {
		return All
	}
	return c.wanted
}

// Waits reports whether nothing but a key frame gives the subscriber what it should get.
func (c *Chooser) Waits() bool {
	if c.structure == nil {
		return false
	}
	if c.goal == c.current || c.goal == none {
		return false
	}
	if c.current == none {
		return true
	}
	targets := c.structure.Targets
	return targets[c.goal].Spatial != targets[c.current].Spatial && !c.covers(c.goal)
}

// covers reports whether the present decode target has all that another one needs.
func (c *Chooser) covers(goal int) bool { return c.structure.Covered(c.current)>>goal&1 != 0 }

// Choose decides on a packet of the picture with that RTP timestamp. All packets of a frame fare alike, whenever they come. fresh
// says that no later packet has come: frames may be numbered anew from a key frame on.
func (c *Chooser) Choose(picture uint32, d *descriptor.Descriptor, fresh bool) Verdict {
	number, newer := c.frames.extend(d.Number, c.structure == nil || d.Attached && fresh)
	if newer || d.Attached && number > c.began { // whose first packet came late
		c.advance(picture, number, d)
	}
	if c.structure == nil {
		return Verdict{}
	}
	pass, known := c.frames.fate(number)
	if !known {
		pass = c.current != none && d.Indications.Of(c.current) != descriptor.NotPresent || d.Attached
		c.frames.decide(number, pass)
	}
	if !pass {
		return Verdict{}
	}
	v := Verdict{Pass: true, Last: d.End && c.current != none && d.Spatial == c.structure.Targets[c.current].Spatial}
	if c.tells(d) {
		v.Active = c.says
	}
	c.sent = c.sent || picture == c.picture
	return v
}

// tells reports whether a packet is to say what the subscriber gets: where the stream does, and otherwise time and again as long
// as that may have changed, since any packet can be lost.
func (c *Chooser) tells(d *descriptor.Descriptor) bool {
	return d.Attached || d.Activates || c.reduced && d.Start && d.Temporal == 0 && !c.sent
}

// advance takes note of a new frame.
func (c *Chooser) advance(picture uint32, number int64, d *descriptor.Descriptor) {
	begins := picture != c.picture || c.structure == nil
	if begins {
		c.picture, c.sent = picture, false
	}
	if d.Attached {
		c.structure, c.active, c.current, c.reduced, c.began = d.Structure, d.Structure.All(), none, false, number
	}
	if c.structure == nil {
		return
	}
	if d.Activates {
		c.active = d.Active
	}
	if d.Attached || d.Activates {
		c.aim()
	}
	if c.goal != c.current && c.goal != none && (d.Attached || c.turns(number, begins, d)) {
		c.current = c.goal
	}
	if c.current != none {
		c.says = c.active & c.structure.Covered(c.current)
	}
	c.reduced = c.reduced || c.says != c.structure.All()
}

// turns reports whether the subscriber can go over to a decode target with this frame: it has all that the target needs, or the
// frame begins it anew and refers to nothing that the subscriber does not have. Another spatial layer begins with a picture, whose
// end would have been said otherwise.
func (c *Chooser) turns(number int64, begins bool, d *descriptor.Descriptor) bool {
	goal := c.goal
	if c.current != none && begins && c.covers(goal) {
		return true
	}
	if !d.Start || d.Indications.Of(goal) != descriptor.Switch {
		return false
	}
	targets := c.structure.Targets
	if c.sent && (c.current == none || targets[goal].Spatial != targets[c.current].Spatial) {
		return false
	}
	for _, diff := range d.Diffs {
		if passed, _ := c.frames.fate(number - int64(diff)); !passed {
			return false
		}
	}
	return true
}

// aim makes the goal the decode target of the most layers that are wanted and there, or else the smallest that is there.
func (c *Chooser) aim() {
	if c.structure == nil {
		return
	}
	best, least := none, none
	wanted := c.Wanted()
	for i, t := range c.structure.Targets {
		if c.active>>i&1 == 0 {
			continue
		}
		if least == none || less(t, c.structure.Targets[least]) {
			least = i
		}
		fits := t.Spatial <= wanted.Spatial && t.Temporal <= wanted.Temporal
		if fits && (best == none || less(c.structure.Targets[best], t)) {
			best = i
		}
	}
	if c.goal = best; best == none {
		c.goal = least
	}
}

// less orders decode targets by the size of their pictures and then by how many of them there are.
func less(a, b descriptor.Target) bool {
	return a.Spatial < b.Spatial || a.Spatial == b.Spatial && a.Temporal < b.Temporal
}
