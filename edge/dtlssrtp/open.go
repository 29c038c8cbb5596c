package dtlssrtp

import (
	"encoding/binary"
	"errors"

	"github.com/pion/rtp"
)

// What is wrong with a packet. Anybody can send such, so that saying so has to be cheap.
var (
	errShort    = errors.New("SRTP packet cut short")
	errReplayed = errors.New("SRTP packet came before, or too late")
	errForged   = errors.New("SRTP packet not genuine")
	errStreams  = errors.New("too many SRTP streams")
)

// maxStreams is how many SSRCs one side of a connection can have used. None is forgotten: anybody could send again what came of it.
const maxStreams = 1024

// gcmOpener opens what is sealed with AES-GCM (RFC 7714).
type gcmOpener struct {
	rtp, rtcp gcm
	data      controlData
	streams   map[uint32]*receivedStream
	last      *receivedStream // that a packet came for
	unknown   receivedStream  // one that nothing genuine came for yet
	kept      []byte          // a packet that may have to be opened twice
}

// receivedStream is what is known of an SSRC.
type receivedStream struct {
	ssrc         uint32
	media, other replay // of RTP, and of RTCP
}

func newGCMOpener(masterKey, masterSalt []byte) (*gcmOpener, error) {
	o := &gcmOpener{streams: make(map[uint32]*receivedStream)}
	return o, errors.Join(
		o.rtp.init(masterKey, masterSalt, labelKey, labelSalt),
		o.rtcp.init(masterKey, masterSalt, labelControlKey, labelControlSalt),
	)
}

func (o *gcmOpener) openRTP(into, packet []byte) ([]byte, error) {
	header, hidden, ok := readable(packet)
	if !ok || len(packet) < header+tagSize {
		return nil, errShort
	}
	ssrc, sequence := binary.BigEndian.Uint32(packet[8:]), binary.BigEndian.Uint16(packet[2:])
	s := o.stream(ssrc)
	index := s.media.estimate(sequence)
	if !s.media.fresh(index) {
		return nil, errReplayed
	}
	// All that came before the numbers went around may be lost (RFC 3711, section 3.3.1).
	secondRound := s.media.next == 0 && sequence < half
	if secondRound {
		o.kept = append(o.kept[:0], packet...) // what fails to open in place is gone
	}
	into = sized(into, len(packet)-tagSize)
	opened := o.tryRTP(into, packet, header, ssrc, index)
	if !opened && secondRound {
		index += round
		opened = o.tryRTP(into, o.kept, header, ssrc, index)
	}
	if !opened {
		return nil, errForged
	}
	copy(into, packet[:header])
	if hidden {
		show(into)
	}
	return into, o.genuine(s, &s.media, index)
}

// tryRTP opens a packet if it is genuine and has that index.
func (o *gcmOpener) tryRTP(into, packet []byte, header int, ssrc uint32, index uint64) bool {
	_, err := o.rtp.aead.Open(into[header:header], o.rtp.at(ssrc, index), packet[header:], packet[:header])
	return err == nil
}

func (o *gcmOpener) openRTCP(into, packet []byte) ([]byte, error) {
	end := len(packet) - controlTrailer
	if end < controlHeader+tagSize {
		return nil, errShort
	}
	trailer := binary.BigEndian.Uint32(packet[end:])
	if trailer&encrypted == 0 {
		return nil, errForged // WebRTC knows no control packets in the clear
	}
	ssrc, index := binary.BigEndian.Uint32(packet[4:]), uint64(trailer&^encrypted)
	s := o.stream(ssrc)
	if !s.other.fresh(index) {
		return nil, errReplayed
	}
	into = sized(into, end-tagSize)
	if _, err := o.rtcp.aead.Open(into[controlHeader:controlHeader], o.rtcp.at(ssrc, index), packet[controlHeader:end],
		o.data.of(packet, trailer)); err != nil {
		return nil, errForged
	}
	copy(into, packet[:controlHeader])
	return into, o.genuine(s, &s.other, index)
}

// stream finds an SSRC. One that is not known is so only once something genuine came: anybody can name one.
func (o *gcmOpener) stream(ssrc uint32) *receivedStream {
	if o.last != nil && o.last.ssrc == ssrc {
		return o.last
	}
	if s := o.streams[ssrc]; s != nil {
		o.last = s
		return s
	}
	o.unknown = receivedStream{ssrc: ssrc}
	return &o.unknown
}

// genuine takes note of a packet that has been opened.
func (o *gcmOpener) genuine(s *receivedStream, of *replay, index uint64) error {
	of.saw(index)
	if s != &o.unknown {
		return nil
	}
	if len(o.streams) == maxStreams {
		return errStreams
	}
	known := *s
	o.streams[known.ssrc], o.last = &known, &known
	return nil
}

// round is how many sequence numbers there are before they go around.
const round, half = 1 << 16, 1 << 15

// estimate is the index that a sequence number stands for (RFC 3711, section 3.3.1 and appendix A).
func (r *replay) estimate(sequence uint16) uint64 {
	if r.next == 0 {
		return uint64(sequence)
	}
	highest := r.next - 1
	rollover, ahead := highest>>16, int(sequence)-int(uint16(highest))
	switch {
	case ahead > half && rollover > 0:
		rollover--
	case ahead < -half:
		rollover++
	}
	return rollover<<16 | uint64(sequence)
}

// readable is how much of a sealed packet is not encrypted: its header, or if extensions are hidden what begins them (RFC 9335).
// Contributing sources are not hidden with them: whoever has such is a mixer.
func readable(packet []byte) (header int, hidden, ok bool) {
	if len(packet) < fixedHeader {
		return 0, false, false
	}
	header = fixedHeader + 4*int(packet[0]&sourcesMask)
	if packet[0]&extensionBit == 0 {
		return header, false, true
	}
	if len(packet) < header+extensionsHeader {
		return 0, false, false
	}
	profile, words := binary.BigEndian.Uint16(packet[header:]), int(binary.BigEndian.Uint16(packet[header+2:]))
	if profile == rtp.CryptexProfileOneByte || profile == rtp.CryptexProfileTwoByte {
		return header + extensionsHeader, true, header == fixedHeader
	}
	return header + extensionsHeader + 4*words, false, true
}

// show gives extensions that were hidden the profile that says they are not.
func show(packet []byte) {
	profile := uint16(rtp.ExtensionProfileTwoByte)
	if binary.BigEndian.Uint16(packet[fixedHeader:]) == rtp.CryptexProfileOneByte {
		profile = rtp.ExtensionProfileOneByte
	}
	binary.BigEndian.PutUint16(packet[fixedHeader:], profile)
}

// sized is that many bytes of a buffer, or of a new one if it has no room for them.
func sized(buffer []byte, size int) []byte {
	if cap(buffer) < size {
		return make([]byte, size)
	}
	return buffer[:size]
}
