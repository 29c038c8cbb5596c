package synthetic

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
)

// Window is the time whose packets count, on the clock of stamps. Safe for concurrent use; the zero value is closed.
type Window struct{ from, to atomic.Int64 }

// Open counts what is sent from then on, until Close.
func (w *Window) Open(at time.Duration) {
	w.to.Store(int64(1<<63 - 1))
	w.from.Store(int64(at))
}

// Close ends it.
func (w *Window) Close(at time.Duration) { w.to.Store(int64(at)) }

// Has reports whether a packet sent at that time counts.
func (w *Window) Has(sent time.Duration) bool {
	return w.from.Load() <= int64(sent) && int64(sent) < w.to.Load()
}

// Track is one track that synthetic media is sent on, over any number of peer connections. It implements webrtc.TrackLocal.
type Track struct {
	number uint32
	id     string
	kind   webrtc.RTPCodecType
	mime   string
	window *Window

	keyFrames atomic.Bool // somebody needs one
	counted   atomic.Int64
	bytes     atomic.Int64
	index     uint32
	sequence  uint16
	level     byte // of what is sent, in -dBov (RFC 6464)

	mu    sync.Mutex
	bound []binding
}

// binding is one peer connection that a track is sent on.
type binding struct {
	context string
	ssrc    webrtc.SSRC
	codec   webrtc.PayloadType
	level   uint8 // header extension, 0 if there is none
	to      webrtc.TrackLocalWriter
}

// Number is the track's in stamps.
func (t *Track) Number() uint32 { return t.number }

// Counted is how many packets, and bytes of payload, were sent within the window.
func (t *Track) Counted() (packets, bytes int64) { return t.counted.Load(), t.bytes.Load() }

// KeyFrame has the next picture be a key frame.
func (t *Track) KeyFrame() { t.keyFrames.Store(true) }

// Bind implements webrtc.TrackLocal.
func (t *Track) Bind(c webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	known := c.CodecParameters()
	at := slices.IndexFunc(known, func(p webrtc.RTPCodecParameters) bool { return strings.EqualFold(p.MimeType, t.mime) })
	if at < 0 {
		return webrtc.RTPCodecParameters{}, fmt.Errorf("%s: %w", t.mime, webrtc.ErrUnsupportedCodec)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bound = append(t.bound, binding{c.ID(), c.SSRC(), known[at].PayloadType, levelExtension(c.HeaderExtensions()), c.WriteStream()})
	t.KeyFrame()
	return known[at], nil
}

// levelExtension is the id of the header extension for audio levels, 0 if it was not agreed on.
func levelExtension(among []webrtc.RTPHeaderExtensionParameter) uint8 {
	for _, each := range among {
		if each.URI == sdp.AudioLevelURI {
			return uint8(each.ID)
		}
	}
	return 0
}

// Unbind implements webrtc.TrackLocal.
func (t *Track) Unbind(c webrtc.TrackLocalContext) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := len(t.bound)
	t.bound = slices.DeleteFunc(t.bound, func(b binding) bool { return b.context == c.ID() })
	if len(t.bound) == before {
		return webrtc.ErrUnbindFailed
	}
	return nil
}

// ID implements webrtc.TrackLocal.
func (t *Track) ID() string { return t.id }

// RID implements webrtc.TrackLocal.
func (t *Track) RID() string { return "" }

// StreamID implements webrtc.TrackLocal.
func (t *Track) StreamID() string { return "load" }

// Kind implements webrtc.TrackLocal.
func (t *Track) Kind() webrtc.RTPCodecType { return t.kind }

// send stamps a payload and sends it to all. What a connection does not take is lost, as on a network without a path.
func (t *Track) send(payload []byte, timestamp uint32, marker bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.bound) == 0 {
		return
	}
	stamp := Stamp{Track: t.number, Index: t.index, Sent: Now()}
	stamp.write(payload)
	for _, each := range t.bound {
		// A new header each time: interceptors change it.
		header := rtp.Header{
			Version: 2, Marker: marker, PayloadType: uint8(each.codec), SequenceNumber: t.sequence, Timestamp: timestamp,
			SSRC: uint32(each.ssrc),
		}
		if each.level != 0 && t.kind == webrtc.RTPCodecTypeAudio {
			_ = header.SetExtension(each.level, []byte{t.level})
		}
		_, _ = each.to.WriteRTP(&header, payload)
	}
	t.index++
	t.sequence++
	if t.window.Has(stamp.Sent) {
		t.counted.Add(1)
		t.bytes.Add(int64(len(payload)))
	}
}
