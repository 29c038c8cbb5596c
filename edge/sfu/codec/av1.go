package codec

// AV1KeyFrame reports whether an AV1 payload starts a coded video sequence, which begins with a key frame (RTP
// Payload Format For AV1, section 4.4): the aggregation header says so, and no unit is continued in it.
func AV1KeyFrame(payload []byte) bool {
	const continues, begins = 0x80, 0x08
	return len(payload) > 1 && payload[0]&begins != 0 && payload[0]&continues == 0
}
