package sfu

import (
	"encoding/binary"
	"iter"
	"sync"
	"time"

	"github.com/pion/rtcp"

	"github.com/wardline/wardline/edge/sfu/bandwidth"
	"github.com/wardline/wardline/edge/udp"
)

// feedback takes what a subscriber says about the streams it gets. It is the handler of the subscriber's transport; a
// subscriber sends no media.
type feedback struct {
	path *path

	mu    sync.Mutex
	downs map[uint32]*downTrack // by the SSRC of their media
}

func newFeedback(p *path) *feedback {
	return &feedback{path: p, downs: make(map[uint32]*downTrack)}
}

// receiveRTP implements handler.
func (f *feedback) receiveRTP([]byte, *udp.Batch) {}

// handled implements handler.
func (f *feedback) handled(*udp.Batch) {}

// about says which down track sends a stream.
func (f *feedback) about(ssrc uint32, down *downTrack) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.downs[ssrc] = down
}

func (f *feedback) down(ssrc uint32) *downTrack {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.downs[ssrc]
}

// receiveRTCP implements handler; what cannot be read, or is about streams that are not sent, is skipped.
func (f *feedback) receiveRTCP(raw []byte, out *udp.Batch) {
	for each := range controlPackets(raw) {
		f.receiveOne(each, out)
	}
}

// controlPackets are those that came together (RFC 3550, section 6.1), up to the first that is cut short: one that cannot be read
// says nothing against the others.
func controlPackets(raw []byte) iter.Seq[[]byte] {
	const header, word = 4, 4
	return func(yield func([]byte) bool) {
		for len(raw) >= header {
			size := header + word*int(binary.BigEndian.Uint16(raw[2:])) // RFC 3550, section 6.4.1
			if size > len(raw) || !yield(raw[:size]) {
				return
			}
			raw = raw[size:]
		}
	}
}

// receiveOne takes one of the packets that came together.
func (f *feedback) receiveOne(raw []byte, out *udp.Batch) {
	if bandwidth.IsFeedback(raw) {
		f.path.feedback(raw)
		return
	}
	packets, err := rtcp.Unmarshal(raw)
	if err != nil {
		return
	}
	for _, packet := range packets {
		switch m := packet.(type) {
		case *rtcp.PictureLossIndication:
			f.pictureLost(m.MediaSSRC)
		case *rtcp.FullIntraRequest:
			for _, ssrc := range m.DestinationSSRC() {
				f.pictureLost(ssrc)
			}
		case *rtcp.TransportLayerNack:
			if down := f.down(m.MediaSSRC); down != nil {
				down.resend(m, out)
			}
		}
	}
}

func (f *feedback) pictureLost(ssrc uint32) {
	if down := f.down(ssrc); down != nil {
		down.pictureLost(time.Now())
	}
}
