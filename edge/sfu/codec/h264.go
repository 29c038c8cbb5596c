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
	if len(payload) < 2 {
		return false
	}
	switch kind := payload[0] & 0x1f; kind {
	case nalSTAPA:
		return stapStartsKeyFrame(payload[1:])
	case nalFUA:
		const startBit = 0x80
		return payload[1]&startBit != 0 && startsKeyFrame(payload[1]&0x1f)
	default:
		return startsKeyFrame(kind)
	}
}

func startsKeyFrame(nal byte) bool { return nal == nalIDR || nal == nalSPS }

// stapStartsKeyFrame walks the units of an aggregation packet, each behind a 16 bit size.
func stapStartsKeyFrame(units []byte) bool {
	for len(units) > 2 {
		size := int(units[0])<<8 | int(units[1])
		if startsKeyFrame(units[2] & 0x1f) {
			return true
		}
		if size > len(units)-2 {
			return false
		}
		units = units[2+size:]
	}
	return false
}
