package mux

import "encoding/binary"

// STUN messages (RFC 8489) as far as they say whose they are.
const (
	stunHeader     = 20
	stunCookie     = 0x2112a442
	stunUsername   = 0x0006
	bindingRequest = 0x0001
	bindingSuccess = 0x0101
)

// isSTUN reports whether a datagram is a STUN message and not DTLS, RTP or RTCP (RFC 7983).
func isSTUN(datagram []byte) bool {
	return len(datagram) >= stunHeader && datagram[0] < 4 && binary.BigEndian.Uint32(datagram[4:]) == stunCookie
}

// isSuccess reports whether a STUN message answers a check.
func isSuccess(message []byte) bool { return binary.BigEndian.Uint16(message) == bindingSuccess }

// AnswersCheck reports whether a datagram of an agent says that a connectivity check was genuine.
func AnswersCheck(datagram []byte) bool { return isSTUN(datagram) && isSuccess(datagram) }

// checkedFragment is the user name fragment that a connectivity check is for: what its USERNAME has before
// the colon (RFC 8445, section 7.2.2). It reports false for what is no check.
func checkedFragment(datagram []byte) ([]byte, bool) {
	if !isSTUN(datagram) || binary.BigEndian.Uint16(datagram) != bindingRequest {
		return nil, false
	}
	rest := datagram[stunHeader:]
	for len(rest) >= 4 {
		kind, size := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		rest = rest[4:]
		if size > len(rest) {
			return nil, false
		}
		if kind == stunUsername {
			for i, b := range rest[:size] {
				if b == ':' {
					return rest[:i], true
				}
			}
			return rest[:size], true
		}
		rest = rest[min((size+3)&^3, len(rest)):] // values are padded to four bytes
	}
	return nil, false
}
