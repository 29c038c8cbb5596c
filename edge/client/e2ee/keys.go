package e2ee

import (
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
)

// Kinds of letter: a media key, and the receipt of one.
const (
	kindKey     = 1
	kindReceipt = 2
	nonceBytes  = 12
)

// errLetter says that a letter opened and makes no sense.
var errLetter = errors.New("a letter of an unknown kind")

// identity is who somebody is towards the others: the public key of one session.
type identity struct {
	participant string
	key         *ecdh.PublicKey
}

// pair seals and opens letters between two participants, each direction under a key of its own.
type pair struct{ out, in cipher.AEAD }

func newPair(encounter string, own identity, private *ecdh.PrivateKey, other identity) (*pair, error) {
	shared, err := private.ECDH(other.key)
	if err != nil {
		return nil, fmt.Errorf("agree on a key: %w", err)
	}
	out, err := direction(shared, encounter, own, other)
	if err != nil {
		return nil, err
	}
	in, err := direction(shared, encounter, other, own)
	return &pair{out: out, in: in}, err
}

func direction(shared []byte, encounter string, from, to identity) (cipher.AEAD, error) {
	info := "wardline e2ee seal\x00" + from.participant + "\x00" + to.participant + "\x00" +
		string(from.key.Bytes()) + string(to.key.Bytes())
	key, err := hkdf.Key(sha256.New, shared, []byte(encounter), info, 32)
	if err != nil {
		return nil, fmt.Errorf("derive a key: %w", err)
	}
	return newAEAD(key)
}

func parseKey(text string) (*ecdh.PublicKey, error) {
	point, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	return ecdh.P256().NewPublicKey(point)
}

// sealKey hands over a media key.
func (p *pair) sealKey(key mediaKey) string {
	letter := binary.BigEndian.AppendUint16([]byte{kindKey}, key.generation)
	return p.seal(append(append(letter, key.step), key.secret[:]...))
}

// sealReceipt confirms a generation.
func (p *pair) sealReceipt(generation uint16) string {
	return p.seal(binary.BigEndian.AppendUint16([]byte{kindReceipt}, generation))
}

func (p *pair) seal(letter []byte) string {
	nonce := make([]byte, nonceBytes)
	_, _ = rand.Read(nonce) // never fails
	return base64.RawURLEncoding.EncodeToString(p.out.Seal(nonce, nonce, letter, nil))
}

// open reads a letter of the other's: of which kind it is and the generation it is about.
func (p *pair) open(data string) (kind byte, generation uint16, err error) {
	sealed, err := base64.RawURLEncoding.DecodeString(data)
	if err != nil || len(sealed) < nonceBytes {
		return 0, 0, fmt.Errorf("letter of %d characters: %w", len(data), errLetter)
	}
	letter, err := p.in.Open(nil, sealed[:nonceBytes], sealed[nonceBytes:], nil)
	if err != nil {
		return 0, 0, fmt.Errorf("open a letter: %w", err)
	}
	switch {
	case len(letter) == 4+secretBytes && letter[0] == kindKey, len(letter) == 3 && letter[0] == kindReceipt:
		return letter[0], binary.BigEndian.Uint16(letter[1:]), nil
	default:
		return 0, 0, errLetter
	}
}
