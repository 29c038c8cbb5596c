package codec

// REDPrimary returns the newest block of a redundant audio payload (RFC 2198): what a receiver that
// does not know RED would have been sent. False if the payload is malformed.
func REDPrimary(payload []byte) ([]byte, bool) {
	const more, headerBytes = 0x80, 4
	redundant := 0
	at := 0
	for {
		if at >= len(payload) {
			return nil, false
		}
		if payload[at]&more == 0 {
			at++
			break
		}
		if at+headerBytes > len(payload) {
			return nil, false
		}
		redundant += int(payload[at+2]&0x03)<<8 | int(payload[at+3])
		at += headerBytes
	}
	if at+redundant > len(payload) {
		return nil, false
	}
	return payload[at+redundant:], true
}
