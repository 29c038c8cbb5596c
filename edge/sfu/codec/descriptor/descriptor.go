// Package descriptor reads the dependency descriptor, an RTP header extension that says of the frame a packet is part of which
// others it needs, and who can do without it (RTP Payload Format For AV1, appendix A). Whoever forwards a scalable stream goes
// by it alone, whatever the codec and however the payload is sealed. It is pure: no clock, no I/O.
package descriptor

// URI names the extension in descriptions.
const URI = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"

// MaxSize is the most bytes a descriptor can have: what a header extension can (RFC 8285, section 4.3).
const MaxSize = 255

// Indication is what a frame is to a decode target.
type Indication uint8

// A frame is not part of the decode target, or nothing of the target refers to it, or from it on all of the target can be
// decoded, or others need it.
const (
	NotPresent Indication = iota
	Discardable
	Switch
	Required
)

// Indications has the indication of each of up to 32 decode targets in two bits.
type Indications uint64

// Of is what the frame is to the decode target with that index.
func (i Indications) Of(target int) Indication { return Indication(i >> (2 * target) & 3) }

func readIndications(r *reader, targets int) Indications {
	var all Indications
	for i := range targets {
		all |= Indications(r.read(2)) << (2 * i)
	}
	return all
}

// Descriptor is that of one packet.
type Descriptor struct {
	// Start, End say that the packet is the first, the last of its frame.
	Start, End bool
	// Number is that of the frame. It wraps.
	Number uint16
	// Spatial, Temporal are the layers of the frame.
	Spatial, Temporal uint8
	// Indications say what the frame is to each decode target.
	Indications Indications
	// Diffs are how far back the frames are that this one refers to, Chains how far back the one before it is in each chain,
	// zero for none. They are good until the next Parse into the same descriptor and are not to be changed.
	Diffs  []uint16
	Chains []uint8
	// Attached says that Structure is in this packet, which begins a key frame.
	Attached  bool
	Structure *Structure
	// Activates says that the packet says from here on which decode targets are there at all, and Active which.
	Activates bool
	Active    uint32

	room   []uint16 // of Diffs and Chains that are the frame's own
	chains []uint8
	parsed layout
}

// layout is where in the descriptor what a forwarder changes is, in bits.
type layout struct {
	extended bool // it has flags
	active   int  // where the bits of active decode targets are, or would be
	end      int
}

// What precedes everything else: start, end and template of the frame, its number; then the flags, if there is more.
const (
	mandatoryBits, mandatoryBytes = 24, 3
	flagBits                      = 5
)

// Parse reads a descriptor into d, whose room it uses again. structure is that of the stream's last key frame, nil before the
// first. It reports false for a descriptor that is broken or is of another structure.
func (d *Descriptor) Parse(value []byte, structure *Structure) bool {
	*d = Descriptor{room: d.room[:0], chains: d.chains[:0], Structure: structure}
	if len(value) < mandatoryBytes || len(value) > MaxSize {
		return false
	}
	r := reader{data: value}
	d.Start, d.End = r.flag(), r.flag()
	id := uint8(r.read(6))
	d.Number = uint16(r.read(16))
	var indications, diffs, chains bool
	if d.parsed.extended = len(value) > mandatoryBytes; d.parsed.extended {
		d.Attached, d.Activates = r.flag(), r.flag()
		indications, diffs, chains = r.flag(), r.flag(), r.flag()
	}
	if d.Attached {
		d.Structure = readStructure(&r)
	}
	if d.Structure == nil {
		return false
	}
	d.parsed.active = r.at()
	if d.Activates {
		d.Active = r.read(len(d.Structure.Targets))
	}
	t := d.Structure.find(id)
	if t == nil {
		return false
	}
	d.Spatial, d.Temporal, d.Indications, d.Diffs, d.Chains = t.spatial, t.temporal, t.indications, t.diffs, t.chains
	d.readOwn(&r, indications, diffs, chains)
	d.parsed.end = r.at()
	return !r.short && (!d.Attached || d.Start)
}

// readOwn reads what the frame has in place of the template's.
func (d *Descriptor) readOwn(r *reader, indications, diffs, chains bool) {
	if indications {
		d.Indications = readIndications(r, len(d.Structure.Targets))
	}
	if diffs {
		for size := r.read(2); size > 0; size = r.read(2) {
			d.room = append(d.room, uint16(r.read(4*int(size)))+1)
		}
		d.Diffs = d.room
	}
	if chains {
		for range d.Structure.chains {
			d.chains = append(d.chains, uint8(r.read(8)))
		}
		d.Chains = d.chains
	}
}

// AppendTo appends the descriptor, which Parse read from value, with another frame number and with these decode targets as the
// active ones, zero to leave them as they are. One that would become too long keeps its own.
func (d *Descriptor) AppendTo(b, value []byte, number uint16, active uint32) []byte {
	start := len(b)
	if active == 0 || d.says(active) {
		b = append(b, value...)
	} else {
		if b = d.activate(b, value, active); len(b)-start > MaxSize {
			b = append(b[:start], value...)
		}
	}
	b[start+1], b[start+2] = byte(number>>8), byte(number)
	return b
}

// says reports whether whoever gets the packet knows by it that these targets are active; of a new structure all are.
func (d *Descriptor) says(active uint32) bool {
	if d.Activates {
		return d.Active == active
	}
	return d.Attached && active == d.Structure.All()
}

func (d *Descriptor) activate(b, value []byte, active uint32) []byte {
	const activates = 1 << 3
	r, w := reader{data: value}, writer{data: b}
	w.copyBits(&r, mandatoryBits)
	var flags uint32
	if d.parsed.extended {
		flags = r.read(flagBits)
	}
	w.write(flags|activates, flagBits)
	w.copyBits(&r, d.parsed.active)
	w.write(active, len(d.Structure.Targets))
	if d.Activates {
		r.read(len(d.Structure.Targets))
	}
	w.copyBits(&r, d.parsed.end)
	return w.data
}
