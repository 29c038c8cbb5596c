package downtrack

// Sent says where an outgoing packet came from, so that it can be made again bit by bit.
type Sent struct {
	Source Source
	Out    Rewritten
	Number int64 // at the source
	// Transport is the transport-wide number it left with.
	Transport uint16
}

// historySize is how many outgoing packets can be asked for again: a second of a fast video.
const historySize = 1024

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

// History remembers the last outgoing packets of one source by their sequence number. The zero value is empty.
type History struct {
	entries [historySize]Sent
	frames  *[historySize]Frame // nil before the first: most streams have none
}

// Record remembers an outgoing packet.
func (h *History) Record(sent Sent) { h.entries[sent.Out.Sequence%historySize] = sent }

// Lookup finds an outgoing packet; false if it was never sent or is too long ago.
func (h *History) Lookup(sequence uint16) (Sent, bool) {
	sent := h.entries[sequence%historySize]
	return sent, sent.Source != 0 && sent.Out.Sequence == sequence
}

// Describe remembers what the descriptor of an outgoing packet says.
func (h *History) Describe(sequence uint16, f Frame) {
	if h.frames == nil {
		h.frames = &[historySize]Frame{}
	}
	h.frames[sequence%historySize] = f
}

// Described is what the descriptor of a packet said that Lookup finds; zero if it had none.
func (h *History) Described(sequence uint16) Frame {
	if h.frames == nil {
		return Frame{}
	}
	return h.frames[sequence%historySize]
}
