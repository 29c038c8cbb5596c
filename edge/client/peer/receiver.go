package peer

import (
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/sdp/v3"
	"github.com/pion/transport/v5/packetio"
	"github.com/pion/webrtc/v4"
)

// Receiver is the receiving side of one peer connection.
type Receiver struct {
	direct
	feedbackID atomic.Uint32 // of the transport-wide sequence number's header extension, 0 while there is none

	mu      sync.Mutex
	sinks   map[uint32]*sink // of RTP
	arrived *twcc.Recorder
}

func newReceiver() *Receiver {
	return &Receiver{sinks: make(map[uint32]*sink), arrived: twcc.NewRecorder(feedbackSSRC)}
}

// buffer is a webrtc.SettingEngine's BufferFactory.
func (r *Receiver) buffer(kind packetio.BufferPacketType, ssrc uint32) io.ReadWriteCloser {
	if kind == packetio.RTCPBufferPacket {
		return newSink(r.control)
	}
	from := &reception{}
	s := newSink(func(packet []byte, at time.Time) { r.note(ssrc, from, packet, at) })
	s.received, s.gone = from, func() { r.forget(ssrc, s) }
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sinks[ssrc] = s
	return s
}

// Take has each packet of a track handed to take as it comes, from what OnTrack is called with. The packet is an RTP
// packet that is valid during the call; take must not block.
func (r *Receiver) Take(track *webrtc.TrackRemote, receiver *webrtc.RTPReceiver, take func(packet []byte, at time.Time)) {
	for _, extension := range receiver.GetParameters().HeaderExtensions {
		if extension.URI == sdp.TransportCCURI {
			r.feedbackID.Store(uint32(extension.ID))
		}
	}
	// What pion looked at to find the track.
	first := make([]byte, maxPacket)
	if n, _, err := track.Read(first); err == nil {
		take(first[:n], time.Now())
	}
	r.mu.Lock()
	s := r.sinks[uint32(track.SSRC())]
	r.mu.Unlock()
	r.begin()
	if s != nil {
		s.open(take)
	}
}

// note counts a packet of a stream, whether anybody takes it or not.
func (r *Receiver) note(ssrc uint32, from *reception, packet []byte, at time.Time) {
	h, ok := parse(packet)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	from.packet(h.sequence)
	if id := r.feedbackID.Load(); id != 0 {
		if number, ok := h.extension(packet, uint8(id)); ok {
			r.arrived.Record(ssrc, number, at.UnixMicro())
		}
	}
}

// forget drops what is known of a stream that ended.
func (r *Receiver) forget(ssrc uint32, ended *sink) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sinks[ssrc] == ended {
		delete(r.sinks, ssrc)
	}
}
