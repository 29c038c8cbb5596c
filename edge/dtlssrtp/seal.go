package dtlssrtp

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/pion/rtp"
)

// gcmSealer seals with AES-GCM (RFC 7714). That pion can do as well, but it reads again what the sender just wrote; this is the
// most frequent thing that a media server does.
type gcmSealer struct {
	rtp, rtcp gcm
	data      controlData
	hidden    bool         // header extensions are encrypted as well (RFC 9335)
	streams   []sentStream // side by side in the processor's caches: those of a connection are few
	last      int          // the one that was sealed for
}

// sentStream counts the packets of an SSRC.
type sentStream struct {
	highest uint64 // index of the newest packet: how often the sequence numbers wrapped (RFC 3711, section 3.3.1), and the last one
	ssrc    uint32
	control uint32 // control packets
}

const (
	// Bytes of a header that has neither contributing sources nor extensions, and of what begins the extensions.
	fixedHeader, extensionsHeader = 12, 4
	// In a header's first byte: the number of contributing sources, and whether there are extensions.
	sourcesMask, extensionBit = 0x0f, 0x10
)

var (
	// errHeader says that a packet is not of the kind that this server makes.
	errHeader = errors.New("RTP header cut short, or with contributing sources")
	// errSpent says that all indexes of control packets have been used (RFC 3711, section 9.2).
	errSpent = errors.New("too many control packets under one key")
)

func newGCMSealer(masterKey, masterSalt []byte, hidden bool) (*gcmSealer, error) {
	s := &gcmSealer{hidden: hidden}
	return s, errors.Join(
		s.rtp.init(masterKey, masterSalt, labelKey, labelSalt),
		s.rtcp.init(masterKey, masterSalt, labelControlKey, labelControlSalt),
	)
}

func (g *gcmSealer) sealRTP(packet []byte) ([]byte, error) {
	header, err := g.header(packet)
	if err != nil {
		return nil, err
	}
	ssrc := binary.BigEndian.Uint32(packet[8:])
	index := g.stream(ssrc).index(binary.BigEndian.Uint16(packet[2:]))
	packet = roomy(packet, tagSize)
	sealed := g.rtp.aead.Seal(packet[header:header], g.rtp.at(ssrc, index), packet[header:], packet[:header])
	return packet[:header+len(sealed)], nil
}

func (g *gcmSealer) sealRTCP(packet []byte) ([]byte, error) {
	if len(packet) < controlHeader {
		return nil, errHeader
	}
	ssrc := binary.BigEndian.Uint32(packet[4:])
	s := g.stream(ssrc)
	if s.control == encrypted {
		return nil, errSpent
	}
	trailer := s.control | encrypted
	packet = roomy(packet, tagSize+controlTrailer)
	sealed := g.rtcp.aead.Seal(packet[controlHeader:controlHeader], g.rtcp.at(ssrc, uint64(s.control)), packet[controlHeader:],
		g.data.of(packet, trailer))
	s.control++
	return binary.BigEndian.AppendUint32(packet[:controlHeader+len(sealed)], trailer), nil
}

// roomy copies a packet if there are not so many bytes of room behind it.
func roomy(packet []byte, room int) []byte {
	if size := len(packet) + room; cap(packet) < size {
		return append(make([]byte, 0, size), packet...)
	}
	return packet
}

// header is how much of a packet stays readable. If its extensions do not, they get the profile that says so.
func (g *gcmSealer) header(packet []byte) (int, error) {
	if len(packet) < fixedHeader || packet[0]&sourcesMask != 0 {
		return 0, errHeader
	}
	if packet[0]&extensionBit == 0 {
		return fixedHeader, nil
	}
	if len(packet) < fixedHeader+extensionsHeader {
		return 0, errHeader
	}
	words := int(binary.BigEndian.Uint16(packet[fixedHeader+2:]))
	size := fixedHeader + extensionsHeader + 4*words
	if len(packet) < size {
		return 0, errHeader
	}
	if !g.hidden {
		return size, nil
	}
	profile := uint16(rtp.CryptexProfileTwoByte)
	if binary.BigEndian.Uint16(packet[fixedHeader:]) == rtp.ExtensionProfileOneByte {
		profile = rtp.CryptexProfileOneByte
	}
	binary.BigEndian.PutUint16(packet[fixedHeader:], profile)
	return fixedHeader + extensionsHeader, nil
}

func (g *gcmSealer) stream(ssrc uint32) *sentStream {
	if g.last < len(g.streams) && g.streams[g.last].ssrc == ssrc {
		return &g.streams[g.last]
	}
	g.last = slices.IndexFunc(g.streams, func(s sentStream) bool { return s.ssrc == ssrc })
	if g.last < 0 {
		g.last = len(g.streams)
		g.streams = append(g.streams, sentStream{ssrc: ssrc})
	}
	return &g.streams[g.last]
}

// first is added to all indexes while they are compared, so that one before the first packet is not below zero.
const first = 1 << 16

// index finds the index of a sequence number, which is at most half of them away from the newest one.
func (s *sentStream) index(sequence uint16) uint64 {
	if s.highest == 0 {
		s.highest = first | uint64(sequence)
		return uint64(sequence)
	}
	index := s.highest + uint64(int64(int16(sequence-uint16(s.highest))))
	s.highest = max(s.highest, index)
	return index - first
}
