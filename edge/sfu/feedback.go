package sfu

import (
	"io"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/transport/v5/packetio"

	"github.com/wardline/wardline/edge/sfu/bandwidth"
)

// feedback takes what a subscriber says about the streams it gets, right where it is decrypted: no goroutine
// waits for it for each stream, and what is said about a stream of repairs is heard as well.
type feedback struct {
	path  *path
	flood func() // told, once, when there is talk of more streams than there can be

	mu      sync.Mutex
	downs   map[uint32]*downTrack // by the SSRC of their media
	streams int                   // that there was talk of
}

// maxTalkedOf is how many streams a subscriber can speak about: media and repairs of every slot, and as many
// again. pion keeps something for each for as long as the connection lives.
const maxTalkedOf = 8 * maxSlots

func newFeedback(p *path, flood func()) *feedback {
	return &feedback{path: p, flood: sync.OnceFunc(flood), downs: make(map[uint32]*downTrack)}
}

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

// receive acts on one control packet; what cannot be read is skipped.
func (f *feedback) receive(raw []byte) {
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
				down.resend(m)
			}
		}
	}
}

func (f *feedback) pictureLost(ssrc uint32) {
	if down := f.down(ssrc); down != nil {
		down.pictureLost(time.Now())
	}
}

// buffer gives pion a place for what it receives of a stream. Control packets go to receive as they come; a
// subscriber sends nothing else.
func (f *feedback) buffer(kind packetio.BufferPacketType, _ uint32) io.ReadWriteCloser {
	sink := &sink{closed: make(chan struct{})}
	if kind == packetio.RTCPBufferPacket {
		sink.take = f.receive
	}
	f.mu.Lock()
	f.streams++
	flooded := f.streams > maxTalkedOf
	f.mu.Unlock()
	if flooded {
		f.flood()
	}
	return sink
}

// sink hands packets on instead of keeping them. Whoever reads from it waits until it is closed.
type sink struct {
	take   func([]byte)
	once   sync.Once
	closed chan struct{}
}

// Write implements io.Writer.
func (s *sink) Write(raw []byte) (int, error) {
	if s.take != nil {
		s.take(raw)
	}
	return len(raw), nil
}

// Read implements io.Reader.
func (s *sink) Read([]byte) (int, error) {
	<-s.closed
	return 0, io.EOF
}

// Close implements io.Closer.
func (s *sink) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}
