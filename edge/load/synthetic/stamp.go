package synthetic

import (
	"encoding/binary"
	"time"
)

// stampSize is how many bytes of a payload a stamp takes.
const stampSize = 20

// stampMagic tells a stamp from other payloads: a server may send packets of its own.
const stampMagic = 0x574c4c44

// Stamp is at the end of each packet's payload, so that receivers know what they got and how long it took. The end is where no
// server rewrites anything.
type Stamp struct {
	// Track is the track's number in the run, Index that of the packet in the track, from 0.
	Track, Index uint32
	// Sent is when it was handed to be sent, by Now.
	Sent time.Duration
}

// begun is the beginning of the clock.
var begun = time.Now()

// Now is the time on the clock of stamps, which only this process has.
func Now() time.Duration { return time.Since(begun) }

// At is a time on the clock of stamps.
func At(t time.Time) time.Duration { return t.Sub(begun) }

// write puts the stamp at the end of a payload.
func (s Stamp) write(payload []byte) {
	at := payload[len(payload)-stampSize:]
	binary.BigEndian.PutUint32(at, stampMagic)
	binary.BigEndian.PutUint32(at[4:], s.Track)
	binary.BigEndian.PutUint32(at[8:], s.Index)
	binary.BigEndian.PutUint64(at[12:], uint64(s.Sent))
}

// ReadStamp reads the stamp at the end of an RTP packet, whose padding is not passed.
func ReadStamp(packet []byte) (Stamp, bool) {
	if len(packet) < stampSize {
		return Stamp{}, false
	}
	at := packet[len(packet)-stampSize:]
	if binary.BigEndian.Uint32(at) != stampMagic {
		return Stamp{}, false
	}
	return Stamp{
		Track: binary.BigEndian.Uint32(at[4:]), Index: binary.BigEndian.Uint32(at[8:]),
		Sent: time.Duration(binary.BigEndian.Uint64(at[12:])),
	}, true
}
