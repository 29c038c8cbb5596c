// Package e2ee is end-to-end encryption for a participant without a browser: what docs/protocol.md describes and
// edge/web does, as far as somebody who only publishes needs it.
package e2ee

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/wardline/wardline/core/signaling"
)

const (
	secretBytes = 32
	saltBytes   = 12
	version     = 1
	// trailerBytes are behind each frame: counter (4), leg (3), track (1), generation (2), step (1), version (1).
	trailerBytes = 12
	maxLeg       = 1<<24 - 1
)

// errUsedUp says that every nonce of a key has been used.
var errUsedUp = errors.New("all nonces of the key are used")

// mediaKey is a participant's secret: a new generation after somebody left, a step on after somebody came.
type mediaKey struct {
	generation uint16
	step       uint8
	secret     [secretBytes]byte
}

// Sealer encrypts the frames of one source under one media key. It is for one goroutine.
type Sealer struct {
	source  signaling.Source
	aead    cipher.AEAD
	salt    [saltBytes]byte
	trailer [trailerBytes]byte
	counter uint64
}

// newSealer seals a participant's source as sent over a leg; leg 0 is for what goes over all legs alike.
func newSealer(participant string, source signaling.Source, leg uint32, key mediaKey) (*Sealer, error) {
	if leg > maxLeg {
		return nil, fmt.Errorf("leg %d, at most %d", leg, maxLeg)
	}
	s := &Sealer{source: source}
	binary.BigEndian.PutUint32(s.trailer[4:], leg<<8|track(source)<<6)
	binary.BigEndian.PutUint16(s.trailer[8:], key.generation)
	s.trailer[10], s.trailer[11] = key.step, version
	info := "wardline e2ee frame\x00" + participant + "\x00" + string(s.trailer[4:])
	material, err := hkdf.Key(sha256.New, key.secret[:], nil, info, 32+saltBytes)
	if err != nil {
		return nil, fmt.Errorf("derive a frame key: %w", err)
	}
	copy(s.salt[:], material[32:])
	s.aead, err = newAEAD(material[:32])
	return s, err
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("AES: %w", err)
	}
	return cipher.NewGCM(block)
}

// Seal returns an encrypted frame: whole Opus, or VP8 with what a media server reads of it in the clear.
func (s *Sealer) Seal(frame []byte) ([]byte, error) {
	if s.counter > math.MaxUint32 {
		return nil, errUsedUp
	}
	trailer, nonce := s.trailer, s.salt
	binary.BigEndian.PutUint32(trailer[:], uint32(s.counter))
	binary.BigEndian.PutUint32(nonce[8:], binary.BigEndian.Uint32(nonce[8:])^uint32(s.counter))
	s.counter++
	head, rest := split(s.source, frame)
	sealed := append(make([]byte, 0, len(frame)+s.aead.Overhead()+trailerBytes), head...)
	return append(s.aead.Seal(sealed, nonce[:], rest, slices.Concat(head, trailer[:])), trailer[:]...), nil
}

// split divides a frame into what stays readable and the rest: of VP8 (RFC 6386, section 9.1) the frame tag and, of a key
// frame, start code and size.
func split(source signaling.Source, frame []byte) (head, rest []byte) {
	at := 3
	switch {
	case source == signaling.Microphone || len(frame) == 0:
		at = 0
	case frame[0]&1 == 0:
		at = 10
	}
	at = min(at, len(frame))
	return frame[:at], frame[at:]
}

func track(source signaling.Source) uint32 {
	switch source {
	case signaling.Microphone:
		return 0
	case signaling.Screen:
		return 2
	default:
		return 1
	}
}
