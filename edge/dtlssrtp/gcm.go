package dtlssrtp

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"

	"github.com/pion/srtp/v3"
)

const (
	saltSize, tagSize = 12, 16
	// Labels of what is derived from the master key (RFC 3711, section 4.3.2).
	labelKey, labelSalt               = 0, 2
	labelControlKey, labelControlSalt = 3, 5
)

// gcm is AES-GCM (RFC 7714) with the keys for one kind of packets in one direction.
type gcm struct {
	aead  cipher.AEAD
	salt  [saltSize]byte
	nonce [saltSize]byte // kept, so that none is allocated
}

// isGCM reports whether a profile is sealed with AES-GCM.
func isGCM(profile srtp.ProtectionProfile) bool {
	return profile == srtp.ProtectionProfileAeadAes128Gcm || profile == srtp.ProtectionProfileAeadAes256Gcm
}

func (g *gcm) init(masterKey, masterSalt []byte, keyLabel, saltLabel byte) error {
	master, err := aes.NewCipher(masterKey)
	if err != nil {
		return fmt.Errorf("SRTP master key: %w", err)
	}
	block, err := aes.NewCipher(derive(master, masterSalt, keyLabel, len(masterKey)))
	if err != nil {
		return fmt.Errorf("SRTP session key: %w", err)
	}
	if g.aead, err = cipher.NewGCM(block); err != nil {
		return fmt.Errorf("SRTP session key: %w", err)
	}
	copy(g.salt[:], derive(master, masterSalt, saltLabel, saltSize))
	return nil
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

// at is the nonce of a packet: the salt, with the SSRC and the index of 48 bits, or of 31 for control packets, XORed into it
// (RFC 7714, sections 8.1 and 9.1). It is good until the next call.
func (g *gcm) at(ssrc uint32, index uint64) []byte {
	g.nonce = g.salt
	binary.BigEndian.PutUint32(g.nonce[2:], binary.BigEndian.Uint32(g.salt[2:])^ssrc)
	binary.BigEndian.PutUint32(g.nonce[6:], binary.BigEndian.Uint32(g.salt[6:])^uint32(index>>16))
	binary.BigEndian.PutUint16(g.nonce[10:], binary.BigEndian.Uint16(g.salt[10:])^uint16(index))
	return g.nonce[:]
}

// Layout of control packets: what of them stays readable, and what is behind the tag (RFC 7714, section 9).
const (
	controlHeader, controlTrailer = 8, 4
	encrypted                     = 1 << 31 // in the trailer, beside the index
)

// controlData is what of a control packet is authenticated without being encrypted: header and trailer.
type controlData [controlHeader + controlTrailer]byte

func (d *controlData) of(packet []byte, trailer uint32) []byte {
	copy(d[:], packet[:controlHeader])
	binary.BigEndian.PutUint32(d[controlHeader:], trailer)
	return d[:]
}
