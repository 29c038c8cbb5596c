package sfu

import (
	"encoding/binary"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/wardline/wardline/edge/sfu/downtrack"
	"github.com/wardline/wardline/edge/udp"
)

// repair is the stream of retransmissions beside a down track (RFC 4588): what is sent again has numbers of
// its own there, so that it can be told from the first time, and padding can go out without touching media.
type repair struct {
	ssrc     webrtc.SSRC // zero if the subscriber takes none
	sequence uint16
}

// maxPadding is what a packet can hold of it.
const maxPadding = 255

// repairLocked sends a packet again as a retransmission; false if the subscriber takes none.
func (d *downTrack) repairLocked(p *packet, out downtrack.Rewritten, by *udp.Batch) bool {
	if d.repair.ssrc == 0 {
		return false
	}
	repaired, payload, ok := d.translate(p)
	if !ok {
		return false
	}
	payloadType, ok := d.dialect.repairs[repaired]
	if !ok {
		return false
	}
	header := outHeader{
		payloadType: payloadType, marker: p.Marker, timestamp: out.Timestamp,
		extensions: [2]extension{{d.dialect.captureTime, p.capture}},
	}
	if p.described {
		d.describeLocked(p, out, &header)
	}
	raw := d.beginRepairLocked(&header, len(payload), by)
	raw = binary.BigEndian.AppendUint16(raw, out.Sequence)
	start := len(raw)
	raw = append(raw, payload...)
	if p.picture.HasPictureID || p.picture.HasTL0 {
		p.picture.Rewrite(raw[start:], out.PictureID, out.TL0)
	}
	if err := d.way.send(raw, by, d.class()); err != nil {
		return true
	}
	d.metrics.packetsForwarded.Inc()
	d.metrics.bytesForwarded.Add(float64(len(payload)))
	return true
}

// beginRepairLocked begins the next packet of the stream.
func (d *downTrack) beginRepairLocked(header *outHeader, payload int, by *udp.Batch) []byte {
	d.repair.sequence++
	header.ssrc, header.sequence = uint32(d.repair.ssrc), d.repair.sequence
	return d.beginLocked(header, d.numberLocked(payload, time.Since(d.path.began)), by)
}

// pad sends at least that many bytes of padding as retransmissions of nothing, so that the path is tried
// without media being touched.
func (d *downTrack) pad(bytes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.padsLocked() {
		return
	}
	var payloadType uint8
	for _, payloadType = range d.dialect.repairs {
		break
	}
	for ; bytes > 0; bytes -= maxPadding + wireOverhead {
		header := outHeader{payloadType: payloadType, padding: true, timestamp: d.stream.Last().Timestamp}
		raw := append(d.beginRepairLocked(&header, maxPadding, nil), padding[:]...)
		if err := d.way.send(raw, nil, d.class()); err != nil {
			return
		}
		d.metrics.padding.Inc()
	}
}

// padding ends with its length (RFC 3550, section 5.1).
var padding = [maxPadding]byte{maxPadding - 1: maxPadding}

// pads reports whether padding can be sent.
func (d *downTrack) pads() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.padsLocked()
}

func (d *downTrack) padsLocked() bool {
	return d.repair.ssrc != 0 && len(d.dialect.repairs) > 0 && d.flowsLocked()
}
