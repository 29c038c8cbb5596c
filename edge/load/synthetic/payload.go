package synthetic

import "time"

const (
	// maxPayload is the largest payload of a video packet in bytes: with all headers it fits an IPv6 path of 1280.
	maxPayload = 1160
	// keyFrameFactor is how much larger a key frame is than another picture.
	keyFrameFactor = 3
	// descriptorSize is that of the VP8 payload descriptor with a 15-bit picture id (RFC 7741).
	descriptorSize = 4
)

// Whole VP8 frames (RFC 6386) of 16 by 16 black pixels, as an encoder made them: decoders do not look at what follows the last
// partition's last symbol, so that they may be of any size.
var (
	keyFrame = []byte{
		0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x10, 0x00, 0x10, 0x00, 0x00, 0x07, 0x08, 0x85, 0x85,
		0x88, 0x99, 0x84, 0x88, 0x01, 0x24, 0x10, 0x00, 0x60, 0x6b, 0x00, 0xfe, 0xff, 0xba, 0xff, 0x40,
	}
	deltaFrame = []byte{
		0xd1, 0x01, 0x00, 0x00, 0x10, 0x09, 0x20, 0x00, 0xc0, 0x00, 0xc2, 0xc1, 0x7f, 0xa0, 0x00, 0x40, 0x00, 0x00,
	}
)

// sound is an Opus packet of silence of a size in bytes (RFC 6716 section 3.2.5: one frame, and padding).
func sound(size int) []byte {
	const head, frame = 3, 2
	padding := max(size-head-frame, stampSize)
	packet := make([]byte, head+frame+padding)
	copy(packet, []byte{0xfb, 0x41, byte(padding), 0xff, 0xfe})
	return packet
}

// picture is the camera's: what it sends, and how far it is.
type picture struct {
	size     int // of a picture that is no key frame, in bytes of payload
	every    time.Duration
	bursts   int // a picture's
	number   uint32
	packets  int // of the current picture
	sent     int
	burstNow int
	payload  int // of the first packets
	larger   int // packets at the end that have one byte more
	key      bool
	buffer   []byte
}

func newPicture(f Format) picture {
	if f.VideoBitrate == 0 {
		return picture{}
	}
	every := time.Second / time.Duration(f.FrameRate)
	return picture{
		size: max(f.VideoBitrate/8/f.FrameRate, minPicture), every: every,
		bursts: max(1, int(float64(every)/spread/float64(burstEvery))+1),
		buffer: make([]byte, maxPayload),
	}
}

// minPicture is the smallest picture, a key frame.
var minPicture = descriptorSize + len(keyFrame) + stampSize

// begin starts the next picture.
func (p *picture) begin(key bool) {
	size := p.size
	if key {
		size *= keyFrameFactor
	}
	p.key, p.sent, p.burstNow = key, 0, 0
	p.packets = (size + maxPayload - 1) / maxPayload
	p.payload, p.larger = size/p.packets, size%p.packets // as browsers cut pictures
	if p.payload < minPicture {
		p.payload, p.larger = minPicture, 0
	}
}

// burst sends the next packets of a picture, and returns when, from the first picture's beginning, the next ones are due.
func (p *picture) burst(on *Track) time.Duration {
	if p.sent == p.packets {
		p.begin(on.keyFrames.Swap(false) || p.number == 0)
	}
	p.burstNow++
	// Evenly: 5 packets in 2 bursts are 3 and 2.
	until := min(p.packets, (p.packets*p.burstNow+p.bursts-1)/p.bursts)
	for ; p.sent < until; p.sent++ {
		on.send(p.packet(), uint32(uint64(p.number)*videoClock/uint64(time.Second/p.every)), p.sent == p.packets-1)
	}
	if p.sent < p.packets {
		return time.Duration(p.number)*p.every + time.Duration(p.burstNow)*burstEvery
	}
	p.number++
	return time.Duration(p.number) * p.every
}

// packet makes the next packet of a picture in the buffer.
func (p *picture) packet() []byte {
	payload := p.buffer[:p.payload]
	if p.packets-p.sent <= p.larger {
		payload = p.buffer[:p.payload+1]
	}
	payload[0], payload[1], payload[2], payload[3] = 0x80, 0x80, 0x80|byte(p.number>>8&0x7f), byte(p.number)
	if p.sent > 0 {
		return payload
	}
	payload[0] |= 0x10 // the beginning of a partition
	if p.key {
		copy(payload[descriptorSize:], keyFrame)
	} else {
		copy(payload[descriptorSize:], deltaFrame)
	}
	return payload
}
