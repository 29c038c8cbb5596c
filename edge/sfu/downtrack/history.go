package downtrack

// Sent says where an outgoing packet came from, so that it can be made again bit by bit.
type Sent struct {
	Source Source
	Out    Rewritten
	Number int64 // at the source
	// Transport is the transport-wide number it left with.
	Transport uint16
}

// Frame is what the dependency descriptor of an outgoing packet says that the incoming one's does not.
type Frame struct {
	Number uint16
	// Last says that the packet ends the picture, as far as it goes out.
	Last bool
	// Structure counts the structures of the source up to the one that the frame was read by.
	Structure uint16
	// Active are the decode targets that go out, zero to leave them as they are.
	Active uint32
}

// History remembers the last outgoing packets of one source by their sequence number. Most of the memory that a stream takes is
// this.
type History struct {
	source  Source // zero before the first
	entries []entry
	frames  []Frame // nil before the first: most streams have none
}

// entry is what differs from one packet of a source to the next.
type entry struct {
	number    int64
	timestamp uint32
	sequence  uint16
	pictureID uint16
	transport uint16
	tl0       uint8
	used      bool
}

// NewHistory makes an empty one of the last size packets, a power of two.
func NewHistory(size int) *History { return &History{entries: make([]entry, size)} }

// Forget empties it.
func (h *History) Forget() {
	clear(h.entries)
	clear(h.frames)
}

// Record remembers an outgoing packet, of another source than the last instead of those of that one.
func (h *History) Record(sent Sent) {
	if sent.Source != h.source {
		h.Forget()
		h.source = sent.Source
	}
	h.entries[h.slot(sent.Out.Sequence)] = entry{
		number: sent.Number, timestamp: sent.Out.Timestamp, sequence: sent.Out.Sequence, pictureID: sent.Out.PictureID,
		transport: sent.Transport, tl0: sent.Out.TL0, used: true,
	}
}

// Lookup finds an outgoing packet; false if it was never sent or is too long ago.
func (h *History) Lookup(sequence uint16) (Sent, bool) {
	e := &h.entries[h.slot(sequence)]
	if !e.used || e.sequence != sequence {
		return Sent{}, false
	}
	return Sent{
		Source: h.source, Number: e.number, Transport: e.transport,
		Out: Rewritten{Timestamp: e.timestamp, Sequence: e.sequence, PictureID: e.pictureID, TL0: e.tl0},
	}, true
}

// Describe remembers what the descriptor of an outgoing packet says.
func (h *History) Describe(sequence uint16, f Frame) {
	if h.frames == nil {
		h.frames = make([]Frame, len(h.entries))
	}
	h.frames[h.slot(sequence)] = f
}

// Described is what the descriptor of a packet said that Lookup finds; zero if it had none.
func (h *History) Described(sequence uint16) Frame {
	if h.frames == nil {
		return Frame{}
	}
	return h.frames[h.slot(sequence)]
}

func (h *History) slot(sequence uint16) int { return int(sequence) & (len(h.entries) - 1) }
