package sfu

import (
	"slices"

	"github.com/wardline/wardline/edge/sfu/codec"
)

// translate finds the subscriber's payload type for a packet, and unpacks redundant audio for one who
// does not know it.
func (d *downTrack) translate(p *packet) (payloadType uint8, payload []byte, ok bool) {
	if payloadType, ok = d.payloadType(p.format); ok {
		return payloadType, p.Payload, true
	}
	if p.format.mime != mimeRED {
		return 0, nil, false
	}
	if payload, ok = codec.REDPrimary(p.Payload); !ok {
		return 0, nil, false
	}
	payloadType, ok = d.payloadType(format{mime: "audio/opus"})
	return payloadType, payload, ok
}

// spoken is the payload type found for a format: that of a stream hardly ever changes.
type spoken struct {
	format      format
	payloadType uint8
}

func (d *downTrack) payloadType(wanted format) (uint8, bool) {
	if d.spoken.format == wanted && wanted.mime != "" {
		return d.spoken.payloadType, true
	}
	payloadType, ok := d.findPayloadType(wanted)
	if ok {
		d.spoken = spoken{wanted, payloadType}
	}
	return payloadType, ok
}

// findPayloadType looks for the format itself, else for one whose decoders take it, else for the same codec: what a client says of
// profiles is less than what most decoders can.
func (d *downTrack) findPayloadType(wanted format) (uint8, bool) {
	var able, alike []uint8
	for payloadType, f := range d.dialect.formats {
		switch {
		case f == wanted:
			return payloadType, true
		case f.mime != wanted.mime:
		case f.mime == "video/h264" && codec.H264Decodes(f.profile, wanted.profile):
			able = append(able, payloadType)
		default:
			alike = append(alike, payloadType)
		}
	}
	for _, found := range [][]uint8{able, alike} {
		if len(found) > 0 {
			return slices.Min(found), true
		}
	}
	return 0, false
}
