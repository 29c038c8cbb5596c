package sfu

import "encoding/binary"

// outHeader is the header of an RTP packet that leaves (RFC 3550, section 5.1).
type outHeader struct {
	payloadType uint8
	marker      bool
	padding     bool
	sequence    uint16
	timestamp   uint32
	ssrc        uint32
	extensions  [2]extension // those without an id or a value are left out
	described   extension    // likewise; it may be long
	numbered    uint8        // id of the extension for the transport-wide number, zero for none
	number      uint16
}

// extension is a header extension with an id of 1 to 14 and a value of 1 to 16 bytes (RFC 8285, section 4.2), or 255 if it may
// be long (section 4.3).
type extension struct {
	id    uint8
	value []byte
}

const (
	rtpVersion        = 2 << 6
	paddingBit        = 1 << 5
	extensionBit      = 1 << 4
	markerBit         = 1 << 7
	extensionsProfile = 0xbede
	longProfile       = 0x1000
	maxExtensionID    = 14
	maxExtension      = 16
	maxLongExtension  = 255
)

// appendTo writes the header behind b.
func (h *outHeader) appendTo(b []byte) []byte {
	first, second := byte(rtpVersion), h.payloadType
	if h.marker {
		second |= markerBit
	}
	if h.padding {
		first |= paddingBit
	}
	start := len(b)
	b = append(b, first, second)
	b = binary.BigEndian.AppendUint16(b, h.sequence)
	b = binary.BigEndian.AppendUint32(b, h.timestamp)
	b = binary.BigEndian.AppendUint32(b, h.ssrc)
	return h.appendExtensions(b, start)
}

func (h *outHeader) appendExtensions(b []byte, start int) []byte {
	if len(h.described.value) > maxExtension {
		return h.appendLongExtensions(b, start)
	}
	at := len(b)
	for _, each := range h.extensions {
		// One that does not fit is left out; media matters more.
		if each.id == 0 || each.id > maxExtensionID || len(each.value) == 0 || len(each.value) > maxExtension {
			continue
		}
		b = append(beginExtensions(b, at), each.id<<4|uint8(len(each.value)-1))
		b = append(b, each.value...)
	}
	if id, value := h.described.id, h.described.value; id > 0 && id <= maxExtensionID && len(value) > 0 {
		b = append(beginExtensions(b, at), id<<4|uint8(len(value)-1))
		b = append(b, value...)
	}
	if h.numbered > 0 && h.numbered <= maxExtensionID {
		b = append(beginExtensions(b, at), h.numbered<<4|1, byte(h.number>>8), byte(h.number))
	}
	return endExtensions(b, at, start)
}

// appendLongExtensions writes them in the form where ids and lengths have a byte each (RFC 8285, section 4.3).
func (h *outHeader) appendLongExtensions(b []byte, start int) []byte {
	at := len(b)
	number := [2]byte{byte(h.number >> 8), byte(h.number)}
	for _, each := range [...]extension{h.extensions[0], h.extensions[1], h.described, {h.numbered, number[:]}} {
		if each.id == 0 || each.id > maxExtensionID || len(each.value) == 0 || len(each.value) > maxLongExtension {
			continue
		}
		if len(b) == at {
			b = append(b, longProfile>>8, longProfile&0xff, 0, 0)
		}
		b = append(b, each.id, byte(len(each.value)))
		b = append(b, each.value...)
	}
	return endExtensions(b, at, start)
}

// endExtensions fills the extensions at that place up to a whole word, and says that and how long they are.
func endExtensions(b []byte, at, start int) []byte {
	if len(b) == at {
		return b
	}
	const word = 4
	for (len(b)-at)%word != 0 {
		b = append(b, 0)
	}
	b[start] |= extensionBit
	binary.BigEndian.PutUint16(b[at+2:], uint16((len(b)-at)/word-1))
	return b
}

// beginExtensions begins the extensions at that place, unless that has been done.
func beginExtensions(b []byte, at int) []byte {
	if len(b) > at {
		return b
	}
	return append(b, extensionsProfile>>8, extensionsProfile&0xff, 0, 0)
}
