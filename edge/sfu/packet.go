package sfu

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	"github.com/wardline/wardline/edge/sfu/codec"
	"github.com/wardline/wardline/edge/sfu/codec/descriptor"
	"github.com/wardline/wardline/edge/sfu/downtrack"
)

// format says what a payload type stands for on one peer connection.
type format struct {
	mime    string // lower case
	profile string // H.264 profile-level-id, VP9 profile-id
}

func formatOf(c webrtc.RTPCodecCapability) format {
	f := format{mime: strings.ToLower(c.MimeType)}
	for parameter := range strings.SplitSeq(c.SDPFmtpLine, ";") {
		if name, value, _ := strings.Cut(strings.TrimSpace(parameter), "="); name == "profile-level-id" || name == "profile-id" {
			f.profile = strings.ToLower(value)
		}
	}
	return f
}

// dialect is how one peer connection numbers formats and header extensions.
type dialect struct {
	audioLevel  uint8
	captureTime uint8
	transport   uint8 // transport-wide sequence number
	mid         uint8
	rid         uint8
	repairedRID uint8
	dependency  uint8 // dependency descriptor
	asks        bool  // lost packets can be asked for
	formats     map[uint8]format
	repairs     map[uint8]uint8 // payload types of retransmission, by the one they repair
	repaired    map[uint8]uint8 // the other way round
}

func newDialect(p webrtc.RTPParameters) dialect {
	d := dialect{formats: make(map[uint8]format, len(p.Codecs)), repairs: make(map[uint8]uint8), repaired: make(map[uint8]uint8)}
	for _, c := range p.Codecs {
		if strings.EqualFold(c.MimeType, webrtc.MimeTypeRTX) {
			if repaired, err := strconv.ParseUint(strings.TrimPrefix(c.SDPFmtpLine, "apt="), 10, 7); err == nil {
				d.repairs[uint8(repaired)], d.repaired[uint8(c.PayloadType)] = uint8(c.PayloadType), uint8(repaired)
			}
			continue
		}
		d.formats[uint8(c.PayloadType)] = formatOf(c.RTPCodecCapability)
		d.asks = d.asks || slices.Contains(c.RTCPFeedback, webrtc.RTCPFeedback{Type: webrtc.TypeRTCPFBNACK})
	}
	for _, extension := range p.HeaderExtensions {
		switch extension.URI {
		case sdp.AudioLevelURI:
			d.audioLevel = uint8(extension.ID)
		case absCaptureTimeURI:
			d.captureTime = uint8(extension.ID)
		case sdp.TransportCCURI:
			d.transport = uint8(extension.ID)
		case sdp.SDESMidURI:
			d.mid = uint8(extension.ID)
		case sdp.SDESRTPStreamIDURI:
			d.rid = uint8(extension.ID)
		case sdp.SDESRepairRTPStreamIDURI:
			d.repairedRID = uint8(extension.ID)
		case descriptor.URI:
			d.dependency = uint8(extension.ID)
		}
	}
	return d
}

// packet is a received RTP packet with what forwarding it takes.
type packet struct {
	rtp.Packet
	format  format
	picture codec.Picture
	numbers downtrack.Packet
	// level is the audio level in -dBov, capture the absolute capture time; nil if the packet has none.
	level, capture []byte
	// parameters says that the packet holds what a key frame of H.264 begins with.
	parameters bool
	// dependency is the dependency descriptor, nil if the packet has none, and frame what it says, if described.
	dependency []byte
	frame      descriptor.Descriptor
	described  bool
	structure  uint16 // that it was read by, as scale counts them
	fresh      bool   // no later packet of the stream has come
	late       bool   // a later one has, whether it could be read or not
	overdue    bool   // it is so late that it is of no use any more
}

// parse reads a packet; raw must not change while the result is used. It reports false for what is
// not to be forwarded.
func (d *dialect) parse(raw []byte, p *packet) bool {
	p.Packet = rtp.Packet{Header: rtp.Header{CSRC: p.CSRC[:0], Extensions: p.Extensions[:0]}} // their room is used again
	if err := p.Unmarshal(raw); err != nil {
		return false
	}
	var known bool
	if p.format, known = d.formats[p.PayloadType]; !known {
		return false
	}
	p.numbers = downtrack.Packet{Timestamp: p.Timestamp}
	p.level, p.capture, p.picture = p.extension(d.audioLevel, 1), p.extension(d.captureTime, 8, 16), codec.Picture{}
	p.dependency, p.described, p.parameters = nil, false, false
	if d.dependency != 0 {
		p.dependency = p.GetExtension(d.dependency)
	}
	if len(p.Payload) == 0 {
		return true // padding: it keeps the sequence whole
	}
	return p.parsePayload()
}

// parsePayload finds where decoders can start, and the numbers of frames.
func (p *packet) parsePayload() bool {
	var ok bool
	switch p.format.mime {
	case "video/vp8":
		p.picture, ok = codec.ParseVP8(p.Payload)
	case "video/vp9":
		p.picture, ok = codec.ParseVP9(p.Payload)
	case "video/h264":
		p.numbers.Start, p.parameters = codec.H264KeyFrame(p.Payload), codec.H264Parameters(p.Payload)
		return true
	case "video/av1":
		p.numbers.Start = codec.AV1KeyFrame(p.Payload)
		return true
	default:
		p.numbers.Start = true
		return true
	}
	p.numbers.Start = p.picture.KeyFrame
	p.numbers.Numbered, p.numbers.PictureID, p.numbers.TL0 = true, p.picture.PictureID, p.picture.TL0
	return ok
}

// describe reads the dependency descriptor, if there is one, by what is known of the stream, nil if nothing is. It reports false
// for a frame of another structure: nobody knows what it is good for.
func (p *packet) describe(known *scale) bool {
	if len(p.dependency) == 0 {
		return true
	}
	var structure *descriptor.Structure
	if known != nil {
		structure, p.structure = known.structure, known.count
	}
	if p.described = p.frame.Parse(p.dependency, structure); !p.described {
		return false
	}
	p.numbers.Framed, p.numbers.Frame, p.numbers.Start = true, p.frame.Number, p.frame.Attached
	p.numbers.Consecutive = p.picture.Wide && p.format.mime == "video/vp8"
	return true
}

// extension is the value of a header extension, nil if the packet has none of the right size.
func (p *packet) extension(id uint8, sizes ...int) []byte {
	if id == 0 {
		return nil
	}
	value := p.GetExtension(id)
	if !slices.Contains(sizes, len(value)) {
		return nil
	}
	return value
}

// senderReport is what a publisher last said about its clocks (RFC 3550, section 6.4.1).
type senderReport struct {
	ntp uint64
	rtp uint32
}

// captureAt maps a timestamp to the publisher's wall clock.
func (r senderReport) captureAt(timestamp, clockRate uint32) time.Duration {
	seconds := time.Duration(r.ntp>>32) * time.Second
	fraction := time.Duration((r.ntp & 0xffffffff) * uint64(time.Second) >> 32)
	since := int64(int32(timestamp - r.rtp))
	return seconds + fraction + time.Duration(since*int64(time.Second)/int64(clockRate))
}
