package sfu

import (
	"encoding/binary"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/wardline/wardline/edge/sfu/downtrack"
)

// repair is the stream of retransmissions beside a down track (RFC 4588): what is sent again has numbers of
// its own there, so that it can be told from the first time, and padding can go out without touching media.
type repair struct {
	ssrc     webrtc.SSRC // zero if the subscriber takes none
	sequence uint16
	buffer   []byte
}

// maxPadding is what a packet can hold of it.
const maxPadding = 255

// repairLocked sends a packet again as a retransmission; false if the subscriber takes none.
func (d *downTrack) repairLocked(p *packet, out downtrack.Rewritten) bool {
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
	buffer := binary.BigEndian.AppendUint16(d.repair.buffer[:0], out.Sequence)
	buffer = append(buffer, payload...)
	d.repair.buffer = buffer
	if p.picture.HasPictureID || p.picture.HasTL0 {
		p.picture.Rewrite(buffer[2:], out.PictureID, out.TL0)
	}
	header := d.repairHeaderLocked(payloadType, out.Timestamp, len(buffer))
	header.Marker = p.Marker
	setExtension(&header, d.dialect.captureTime, p.capture)
	if _, err := d.writer.WriteRTP(&header, buffer); err != nil {
		return true
	}
	d.metrics.packetsForwarded.Inc()
	d.metrics.bytesForwarded.Add(float64(len(payload)))
	return true
}

func (d *downTrack) repairHeaderLocked(payloadType uint8, timestamp uint32, payload int) rtp.Header {
	d.repair.sequence++
	header := rtp.Header{
		Version: 2, PayloadType: payloadType, SequenceNumber: d.repair.sequence, Timestamp: timestamp, SSRC: uint32(d.repair.ssrc),
	}
	if d.dialect.transport != 0 {
		d.setTransport(&header, d.path.number(payload))
	}
	return header
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
		header := d.repairHeaderLocked(payloadType, d.stream.Last().Timestamp, maxPadding)
		header.Padding, header.PaddingSize = true, maxPadding
		if _, err := d.writer.WriteRTP(&header, nil); err != nil {
			return
		}
		d.metrics.padding.Inc()
	}
}

// pads reports whether padding can be sent.
func (d *downTrack) pads() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.padsLocked()
}

func (d *downTrack) padsLocked() bool {
	return d.repair.ssrc != 0 && len(d.dialect.repairs) > 0 && d.open && d.writer != nil
}
