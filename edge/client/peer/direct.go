package peer

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wardline/wardline/edge/dtlssrtp"
)

// direct is the way of media past pion: it is opened on the goroutine that reads the socket, with keys from the handshake
// that pion made.
type direct struct {
	handshake dtlssrtp.Handshake
	known     atomic.Bool // the keys are

	opening sync.Mutex // held while a packet is opened
	opener  *dtlssrtp.Opener
	room    []byte
}

// pass looks for what keys are made from in a datagram of pion's.
func (d *direct) pass(datagram []byte, received bool) {
	if !d.known.Load() && dtlssrtp.IsDTLS(datagram) {
		d.handshake.Pass(datagram, received)
	}
}

// begin is called when a track has come, before which pion has verified who the other side is. Without keys everything goes on
// through pion.
func (d *direct) begin() {
	if d.known.Swap(true) {
		return
	}
	opener, err := d.handshake.Opener()
	if err != nil {
		return
	}
	d.opening.Lock()
	defer d.opening.Unlock()
	d.opener, d.room = opener, make([]byte, maxPacket)
}

// media takes an SRTP packet. It leaves to pion, as it came, what is of no stream that somebody takes yet; what is not genuine, so
// that pion, which saw the stream from its beginning, has the last word; and RTCP, by which pion sees that the path lives.
func (r *Receiver) media(packet []byte, at time.Time) (taken bool) {
	if len(packet) < rtpHeader || dtlssrtp.IsControl(packet) {
		return false
	}
	r.mu.Lock()
	s := r.sinks[binary.BigEndian.Uint32(packet[8:])]
	r.mu.Unlock()
	if s == nil || !s.opened.Load() {
		return false
	}
	r.opening.Lock()
	defer r.opening.Unlock()
	if r.opener == nil {
		return false
	}
	plain, err := r.opener.OpenRTP(r.room, packet)
	if err != nil {
		return false
	}
	return s.put(plain, at) == nil
}
