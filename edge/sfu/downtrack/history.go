package downtrack

// Sent says where an outgoing packet came from, so that it can be made again bit by bit.
type Sent struct {
	Source   Source
	Out      Rewritten
	Sequence uint16 // of the source
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
	entries [historySize]entry
	frames  *[historySize]Frame // nil before the first: most streams have none
	newest  int64               // extended sequence number of the source
}

// entry is an outgoing packet.
type entry struct {
	Sent
	number int64 // its extended sequence number at the source
}

// Pass takes note of a packet of the source, whether it goes out or not.
func (h *History) Pass(sequence uint16) (number int64) {
	number = h.newest + int64(int16(sequence-uint16(h.newest)))
	h.newest = max(h.newest, number)
	return number
}

// Record remembers an outgoing packet.
func (h *History) Record(sent Sent) {
	h.entries[sent.Out.Sequence%historySize] = entry{sent, h.Pass(sent.Sequence)}
}

// maxPassed is how far the numbers of the source may go on until those of before could be another packet's: they go around while few
// packets go out, where a hostile sender leaps or most are left out.
const maxPassed = 1 << 15

// Lookup finds an outgoing packet; false if it was never sent or is too long ago.
func (h *History) Lookup(sequence uint16) (Sent, bool) {
	sent := &h.entries[sequence%historySize]
	return sent.Sent, sent.Source != 0 && sent.Out.Sequence == sequence && h.newest-sent.number < maxPassed
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
