// Package codec reads the parts of RTP payloads that forwarding needs: where key frames start, and the
// picture numbers that have to stay continuous when the source changes.
package codec

// Picture is what the payload descriptor of a packet of VP8 (RFC 7741, section 4.2) or VP9 (RFC 9628, section
// 4.2) says about the frame it is part of.
type Picture struct {
	// KeyFrame says that this packet starts a key frame.
	KeyFrame bool
	// HasPictureID, PictureID: the running number of the frame, of 15 bits if Wide, else of 7.
	HasPictureID bool
	Wide         bool
	PictureID    uint16
	// HasTL0, TL0 is the running number of the frames of temporal layer 0.
	HasTL0 bool
	TL0    uint8
	// Width and Height are of the picture of a VP8 key frame, in pixels; zero in other packets.
	Width, Height int

	pictureAt, tl0At int
}

// ParseVP8 reads a VP8 descriptor; false if the payload is cut short.
func ParseVP8(payload []byte) (Picture, bool) {
	var d Picture
	if len(payload) < 1 {
		return d, false
	}
	first := payload[0]
	at := 1
	if first&0x80 != 0 {
		var ok bool
		if at, ok = d.parseExtension(payload); !ok {
			return Picture{}, false
		}
	}
	startsFirstPartition := first&0x10 != 0 && first&0x07 == 0
	if startsFirstPartition {
		if at >= len(payload) {
			return Picture{}, false
		}
		d.KeyFrame = payload[at]&0x01 == 0
		d.parseSize(payload[at:])
	}
	return d, true
}

// parseSize reads the dimensions from the frame header of a key frame (RFC 6386, section 9.1): three bytes of
// sizes and flags, a start code and 14 bits each.
func (d *Picture) parseSize(frame []byte) {
	const sizeAt = 6
	if !d.KeyFrame || len(frame) < sizeAt+4 || frame[3] != 0x9d || frame[4] != 0x01 || frame[5] != 0x2a {
		return
	}
	d.Width = int(frame[sizeAt]) | int(frame[sizeAt+1]&0x3f)<<8
	d.Height = int(frame[sizeAt+2]) | int(frame[sizeAt+3]&0x3f)<<8
}

// parseExtension reads the optional octets and returns where the frame's own data begins.
func (d *Picture) parseExtension(payload []byte) (at int, ok bool) {
	if len(payload) < 2 {
		return 0, false
	}
	flags := payload[1]
	at = 2
	if flags&0x80 != 0 {
		if at, ok = d.parsePictureID(payload, at); !ok {
			return 0, false
		}
	}
	if flags&0x40 != 0 {
		if at >= len(payload) {
			return 0, false
		}
		d.HasTL0, d.TL0, d.tl0At = true, payload[at], at
		at++
	}
	if flags&0x30 != 0 {
		at++
	}
	return at, at <= len(payload)
}

func (d *Picture) parsePictureID(payload []byte, at int) (next int, ok bool) {
	if at >= len(payload) {
		return 0, false
	}
	d.HasPictureID, d.pictureAt = true, at
	d.PictureID = uint16(payload[at] & 0x7f)
	if payload[at]&0x80 == 0 {
		return at + 1, true
	}
	if at+1 >= len(payload) {
		return 0, false
	}
	d.Wide = true
	d.PictureID = d.PictureID<<8 | uint16(payload[at+1])
	return at + 2, true
}

// Rewrite puts other numbers into the payload the descriptor was parsed from, or a copy of it. Numbers
// the payload does not carry are ignored.
func (d Picture) Rewrite(payload []byte, pictureID uint16, tl0 uint8) {
	if d.HasPictureID {
		if d.Wide {
			payload[d.pictureAt] = 0x80 | byte(pictureID>>8)&0x7f
			payload[d.pictureAt+1] = byte(pictureID)
		} else {
			payload[d.pictureAt] = byte(pictureID) & 0x7f
		}
	}
	if d.HasTL0 {
		payload[d.tl0At] = tl0
	}
}
