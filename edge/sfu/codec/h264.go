package codec

// NAL unit types of H.264 that matter here (RFC 6184, ITU-T H.264 table 7-1).
const (
	nalIDR   = 5
	nalSPS   = 7
	nalSTAPA = 24
	nalFUA   = 28
)

// H264KeyFrame reports whether an H.264 payload starts a key frame: it holds a sequence parameter set, or
// the beginning of an IDR slice. A payload that is cut short starts nothing.
func H264KeyFrame(payload []byte) bool {
	return begins(payload, func(nal byte) bool { return nal == nalIDR || nal == nalSPS })
}

// H264Parameters reports whether an H.264 payload holds a sequence parameter set. Senders that repeat it begin each key frame with
// one, while of IDR slices a key frame can have several.
func H264Parameters(payload []byte) bool {
	return begins(payload, func(nal byte) bool { return nal == nalSPS })
}

// begins reports whether a payload holds the beginning of a wanted unit.
func begins(payload []byte, wanted func(nal byte) bool) bool {
	if len(payload) < 2 {
		return false
	}
	switch kind := payload[0] & 0x1f; kind {
	case nalSTAPA:
		return aggregates(payload[1:], wanted)
	case nalFUA:
		const startBit = 0x80
		return payload[1]&startBit != 0 && wanted(payload[1]&0x1f)
	default:
		return wanted(kind)
	}
}

// aggregates walks the units of an aggregation packet, each behind a 16 bit size.
func aggregates(units []byte, wanted func(nal byte) bool) bool {
	for len(units) > 2 {
		size := int(units[0])<<8 | int(units[1])
		if wanted(units[2] & 0x1f) {
			return true
		}
		if size > len(units)-2 {
			return false
		}
		units = units[2+size:]
	}
	return false
}
