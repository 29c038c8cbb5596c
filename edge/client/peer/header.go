package peer

import "encoding/binary"

// header is what is looked at of an RTP header (RFC 3550 section 5.1).
type header struct {
	sequence uint16
	// extensions is where those begin, 0 if there are none; profile is their form (RFC 8285).
	extensions, end int
	profile         uint16
}

// rtpHeader is the size of a header's fixed part in bytes.
const rtpHeader = 12

// Forms of header extensions.
const (
	oneByte = 0xbede
	twoByte = 0x1000
)

// parse reads a packet's header.
func parse(packet []byte) (header, bool) {
	if len(packet) < rtpHeader || packet[0]>>6 != 2 {
		return header{}, false
	}
	h := header{sequence: binary.BigEndian.Uint16(packet[2:])}
	if packet[0]&0x10 == 0 {
		return h, true
	}
	at := rtpHeader + 4*int(packet[0]&0x0f)
	if len(packet) < at+4 {
		return header{}, false
	}
	h.profile = binary.BigEndian.Uint16(packet[at:])
	h.extensions = at + 4
	h.end = h.extensions + 4*int(binary.BigEndian.Uint16(packet[at+2:]))
	return h, len(packet) >= h.end
}

// extension finds a header extension of two bytes.
func (h header) extension(packet []byte, id uint8) (uint16, bool) {
	if h.extensions == 0 || h.profile != oneByte && h.profile != twoByte {
		return 0, false
	}
	for at := h.extensions; at < h.end; {
		found, length, begin := packet[at]>>4, int(packet[at]&0x0f)+1, at+1
		if h.profile == twoByte {
			if found = packet[at]; found != 0 && at+1 < h.end {
				length, begin = int(packet[at+1]), at+2
			}
		}
		if found == 0 { // padding
			at++
			continue
		}
		if begin+length > h.end {
			return 0, false
		}
		if found == id && length >= 2 {
			return binary.BigEndian.Uint16(packet[begin:]), true
		}
		at = begin + length
	}
	return 0, false
}
