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

func (d *downTrack) findPayloadType(wanted format) (uint8, bool) {
	var found []uint8
	for payloadType, f := range d.dialect.formats {
		if f == wanted {
			return payloadType, true
		}
		if f.mime == wanted.mime {
			found = append(found, payloadType)
		}
	}
	if len(found) == 0 {
		return 0, false
	}
	return slices.Min(found), true
}
