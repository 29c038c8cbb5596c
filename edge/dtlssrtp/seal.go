package dtlssrtp

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// gcm seals RTP with AES-GCM (RFC 7714). That pion can do as well, but it reads again what the sender just wrote; this is the
// most frequent thing that a media server does.
type gcm struct {
	aead   cipher.AEAD
	salt   [saltSize]byte
	nonce  [saltSize]byte // kept, so that none is allocated
	hidden bool           // header extensions are encrypted as well (RFC 9335)

	streams map[uint32]*rollover
	last    *rollover // of the stream that was sealed last
}

// rollover counts how often the sequence numbers of a stream wrapped (RFC 3711, section 3.3.1).
type rollover struct {
	ssrc    uint32
	highest uint64 // index of the newest packet: rollover counter and sequence number
}

const (
	saltSize, tagSize = 12, 16
	// Labels of what is derived from the master key (RFC 3711, section 4.3.2).
	labelKey, labelSalt = 0, 2
	// Bytes of a header that has neither contributing sources nor extensions, and of what begins the extensions.
	fixedHeader, extensionsHeader = 12, 4
)

// errHeader says that a packet is not of the kind that this server makes.
var errHeader = errors.New("RTP header cut short, or with contributing sources")

// newGCM returns nil for a profile without AES-GCM.
func newGCM(config srtp.Config, hidden bool) (*gcm, error) {
	if config.Profile != srtp.ProtectionProfileAeadAes128Gcm && config.Profile != srtp.ProtectionProfileAeadAes256Gcm {
		return nil, nil //nolint:nilnil // not an error: the other profiles are sealed by pion
	}
	master, err := aes.NewCipher(config.Keys.LocalMasterKey)
	if err != nil {
		return nil, fmt.Errorf("SRTP master key: %w", err)
	}
	block, err := aes.NewCipher(derive(master, config.Keys.LocalMasterSalt, labelKey, len(config.Keys.LocalMasterKey)))
	if err != nil {
		return nil, fmt.Errorf("SRTP session key: %w", err)
	}
	g := &gcm{hidden: hidden, streams: make(map[uint32]*rollover)}
	if g.aead, err = cipher.NewGCM(block); err != nil {
		return nil, fmt.Errorf("SRTP session key: %w", err)
	}
	copy(g.salt[:], derive(master, config.Keys.LocalMasterSalt, labelSalt, saltSize))
	return g, nil
}

// derive makes a key or salt of a session (RFC 3711, section 4.3.3).
func derive(master cipher.Block, salt []byte, label byte, size int) []byte {
	var input [aes.BlockSize]byte
	copy(input[:aes.BlockSize-2], salt)
	input[7] ^= label
	var derived []byte
	for block := uint16(0); len(derived) < size; block++ {
		var output [aes.BlockSize]byte
		binary.BigEndian.PutUint16(input[aes.BlockSize-2:], block)
		master.Encrypt(output[:], input[:])
		derived = append(derived, output[:]...)
	}
	return derived[:size]
}

// seal encrypts a packet where it is, or copies it if there is no room behind it.
func (g *gcm) seal(packet []byte) ([]byte, error) {
	header, err := g.header(packet)
	if err != nil {
		return nil, err
	}
	ssrc := binary.BigEndian.Uint32(packet[8:])
	index := g.stream(ssrc).index(binary.BigEndian.Uint16(packet[2:]))
	// The salt, with the SSRC and the index XORed into it (RFC 7714, section 8.1).
	g.nonce = g.salt
	binary.BigEndian.PutUint32(g.nonce[2:], binary.BigEndian.Uint32(g.salt[2:])^ssrc)
	binary.BigEndian.PutUint32(g.nonce[6:], binary.BigEndian.Uint32(g.salt[6:])^uint32(index>>16))
	binary.BigEndian.PutUint16(g.nonce[10:], binary.BigEndian.Uint16(g.salt[10:])^uint16(index))
	if size := len(packet) + tagSize; cap(packet) < size {
		packet = append(make([]byte, 0, size), packet...)
	}
	sealed := g.aead.Seal(packet[header:header], g.nonce[:], packet[header:], packet[:header])
	return packet[:header+len(sealed)], nil
}

// header is how much of a packet stays readable. If its extensions do not, they get the profile that says so.
func (g *gcm) header(packet []byte) (int, error) {
	const sources, extended = 0x0f, 0x10
	if len(packet) < fixedHeader || packet[0]&sources != 0 {
		return 0, errHeader
	}
	if packet[0]&extended == 0 {
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

func (g *gcm) stream(ssrc uint32) *rollover {
	if g.last != nil && g.last.ssrc == ssrc {
		return g.last
	}
	r := g.streams[ssrc]
	if r == nil {
		r = &rollover{ssrc: ssrc}
		g.streams[ssrc] = r
	}
	g.last = r
	return r
}

// first is added to all indexes while they are compared, so that one before the first packet is not below zero.
const first = 1 << 16

// index finds the index of a sequence number, which is at most half of them away from the newest one.
func (r *rollover) index(sequence uint16) uint64 {
	if r.highest == 0 {
		r.highest = first | uint64(sequence)
		return uint64(sequence)
	}
	index := r.highest + uint64(int64(int16(sequence-uint16(r.highest))))
	r.highest = max(r.highest, index)
	return index - first
}
