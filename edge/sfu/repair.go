package sfu

import (
	"encoding/binary"
	"time"

	"github.com/pion/rtcp"
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

// What a subscriber can make the server send again: more is no loss of packets but a broken network, or
// an attack.
const (
	maxResend                       = 256 // for one request
	resendsPerSecond, resendsInARow = 1000, 2000
)

// resend answers a request for lost packets (RFC 4585, section 6.2.1) from the ring.
func (d *downTrack) resend(request *rtcp.TransportLayerNack, by *udp.Batch) {
	count := 0
	for _, pair := range request.Nacks {
		for _, sequence := range pair.PacketList() {
			count++
			if count > maxResend || !d.path.resends.Allow() {
				d.metrics.nacksThrottled.Inc()
				return
			}
			if d.resendOne(request.MediaSSRC, sequence, by) {
				d.metrics.nacksAnswered.Inc()
			} else {
				d.metrics.nacksMissed.Inc()
			}
		}
	}
}

// resendOne takes the lock for one packet only: the source, which feeds all its subscribers, waits for it.
func (d *downTrack) resendOne(ssrc uint32, sequence uint16, by *udp.Batch) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	sent, ok := d.history.Lookup(sequence)
	if !ok || !d.flowsLocked() || ssrc != uint32(d.ssrc) || d.layer == nil || d.layer.id != sent.Source {
		return false
	}
	readAlike := true
	return d.layer.again(sent.Number, func(p *packet) {
		if readAlike = d.readAlikeLocked(p, sent.Out); !readAlike || d.repairLocked(p, sent.Out, by) {
			return
		}
		if bytes, ok := d.sendLocked(p, sent, by); ok {
			d.metrics.packetsForwarded.Inc()
			d.metrics.bytesForwarded.Add(float64(bytes))
		}
	}) && readAlike
}
