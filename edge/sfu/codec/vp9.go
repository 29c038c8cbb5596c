package codec

// ParseVP9 reads a VP9 descriptor; false if the payload is cut short.
func ParseVP9(payload []byte) (Picture, bool) {
	const hasPictureID, inter, hasLayers, flexible, begins = 0x80, 0x40, 0x20, 0x10, 0x08
	var d Picture
	if len(payload) < 1 {
		return d, false
	}
	flags := payload[0]
	at, spatial := 1, byte(0)
	if flags&hasPictureID != 0 {
		var ok bool
		if at, ok = d.parsePictureID(payload, at); !ok {
			return Picture{}, false
		}
	}
	if flags&hasLayers != 0 {
		if at >= len(payload) {
			return Picture{}, false
		}
		spatial = payload[at] >> 1 & 7
		at++
		if flags&flexible == 0 {
			if at >= len(payload) {
				return Picture{}, false
			}
			d.HasTL0, d.TL0, d.tl0At = true, payload[at], at
			at++
		}
	}
	if at >= len(payload) {
		return Picture{}, false
	}
	// A frame that refers to no other, and is the lowest of its picture.
	d.KeyFrame = flags&inter == 0 && flags&begins != 0 && spatial == 0
	return d, true
}
