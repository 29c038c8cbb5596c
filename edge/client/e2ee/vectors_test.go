package e2ee

import (
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"math/big"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/signaling"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew")

const vectorsFile = "testdata/vectors.json"

// vectors are what both implementations must agree on, this one and that of edge/web, whose tests read them too.
type vectors struct {
	Participant string        `json:"participant"`
	Generation  uint16        `json:"generation"`
	Step        uint8         `json:"step"`
	Secret      string        `json:"secret"`
	Ratcheted   string        `json:"ratcheted"`
	Frames      []frameVector `json:"frames"`
	Encounter   string        `json:"encounter"`
	People      []person      `json:"people"`
	Number      string        `json:"safety_number"`
	// Letters are from the first of the people to the second.
	KeyLetter     string `json:"key_letter"`
	ReceiptLetter string `json:"receipt_letter"`
}

// frameVector is one frame: the n-th of its source has counter n.
type frameVector struct {
	Source signaling.Source `json:"source"`
	Leg    uint32           `json:"leg"`
	Plain  string           `json:"plain"`
	Sealed string           `json:"sealed"`
}

// person is a participant with their private scalar.
type person struct {
	Participant string `json:"participant"`
	Scalar      string `json:"scalar"`
	Key         string `json:"key"`
}

func (p person) identity(t *testing.T) (identity, *ecdh.PrivateKey) {
	t.Helper()
	scalar, err := hex.DecodeString(p.Scalar)
	require.NoError(t, err)
	private, err := ecdh.P256().NewPrivateKey(scalar)
	require.NoError(t, err)
	return identity{p.Participant, private.PublicKey()}, private
}

func testKey() mediaKey {
	key := mediaKey{generation: 0x0102, step: 3}
	for i := range key.secret {
		key.secret[i] = byte(i)
	}
	return key
}

// compute makes everything that does not depend on chance.
func compute(t *testing.T) vectors {
	t.Helper()
	key := testKey()
	ratcheted, err := hkdf.Key(sha256.New, key.secret[:], nil, "wardline e2ee ratchet", secretBytes)
	require.NoError(t, err)
	v := vectors{
		Participant: "doctor", Generation: key.generation, Step: key.step, Secret: hex.EncodeToString(key.secret[:]),
		Ratcheted: hex.EncodeToString(ratcheted), Encounter: "visit-1",
	}
	for _, c := range []struct {
		source signaling.Source
		leg    uint32
		plain  string
	}{
		{signaling.Microphone, 1, "f8fffe"},
		{signaling.Microphone, 1, "f8fffe"},
		{signaling.Camera, 1, "3001009d012a0100010000474000"},
		{signaling.Camera, 1, "3101009d012a01000100"},
		{signaling.Camera, 70_000, "30"},
		{signaling.Screen, 2, ""},
	} {
		plain, err := hex.DecodeString(c.plain)
		require.NoError(t, err)
		sealer, err := newSealer(v.Participant, c.source, c.leg, key)
		require.NoError(t, err)
		for _, before := range v.Frames {
			if before.Source == c.source && before.Leg == c.leg {
				sealer.counter++
			}
		}
		sealed, err := sealer.Seal(plain)
		require.NoError(t, err)
		v.Frames = append(v.Frames, frameVector{c.source, c.leg, c.plain, hex.EncodeToString(sealed)})
	}
	for i, name := range []string{"doctor", "patient"} {
		p := person{Participant: name, Scalar: fmt.Sprintf("%064x", 1000+i)}
		id, _ := p.identity(t)
		p.Key = base64.RawURLEncoding.EncodeToString(id.key.Bytes())
		v.People = append(v.People, p)
	}
	v.Number = safetyNumber(t, v.Encounter, v.People)
	return v
}

// safetyNumber is the number that people compare, as docs/protocol.md has it.
func safetyNumber(t *testing.T, encounter string, sorted []person) string {
	t.Helper()
	known := ""
	for _, each := range sorted {
		id, _ := each.identity(t)
		known += each.Participant + "\x00" + string(id.key.Bytes())
	}
	bits, err := pbkdf2.Key(sha256.New, known, []byte("wardline e2ee fingerprint\x00"+encounter), 131_072, 16)
	require.NoError(t, err)
	digits := new(big.Int).Mod(new(big.Int).SetBytes(bits), new(big.Int).Exp(big.NewInt(10), big.NewInt(30), nil))
	return fmt.Sprintf("%030s", digits)
}

func TestVectors(t *testing.T) {
	want := compute(t)
	first, firstPrivate := want.People[0].identity(t)
	second, secondPrivate := want.People[1].identity(t)
	sends, err := newPair(want.Encounter, first, firstPrivate, second)
	require.NoError(t, err)
	if *update {
		want.KeyLetter, want.ReceiptLetter = sends.sealKey(testKey()), sends.sealReceipt(0x0102)
		text, err := json.MarshalIndent(want, "", "  ")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(vectorsFile, append(text, '\n'), 0o644))
	}
	text, err := os.ReadFile(vectorsFile)
	require.NoError(t, err)
	var got vectors
	require.NoError(t, json.Unmarshal(text, &got))
	want.KeyLetter, want.ReceiptLetter = got.KeyLetter, got.ReceiptLetter
	require.Equal(t, want, got)

	reads, err := newPair(want.Encounter, second, secondPrivate, first)
	require.NoError(t, err)
	for letter, want := range map[string]byte{got.KeyLetter: kindKey, got.ReceiptLetter: kindReceipt} {
		kind, generation, err := reads.open(letter)
		require.NoError(t, err)
		require.Equal(t, want, kind)
		require.Equal(t, uint16(0x0102), generation)
		_, _, err = sends.open(letter)
		require.Error(t, err, "a letter sent back to who wrote it")
	}
	_, stranger := person{Scalar: fmt.Sprintf("%064x", 7)}.identity(t)
	wrong, err := newPair(want.Encounter, second, stranger, first)
	require.NoError(t, err)
	_, _, err = wrong.open(got.KeyLetter)
	require.Error(t, err, "a letter for another key")
}

func TestLettersThatMakeNoSense(t *testing.T) {
	private, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	p, err := newPair("e", identity{"a", private.PublicKey()}, private, identity{"a", private.PublicKey()})
	require.NoError(t, err)
	for _, letter := range [][]byte{nil, {kindKey}, {kindReceipt}, {kindReceipt, 0, 1, 2}, {9, 0, 0}, make([]byte, 4+secretBytes)} {
		_, _, err := p.open(p.seal(letter))
		require.ErrorIs(t, err, errLetter)
	}
	for _, data := range []string{"", "AA", "?", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"} {
		_, _, err := p.open(data)
		require.Error(t, err)
	}
}
