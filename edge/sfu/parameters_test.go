package sfu

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/wardline/wardline/edge/sfu/packetring"
)

// slices264 are packets that could each be the first of a key frame, and find out whether they are.
type slices264 struct {
	parameters parameters
	ring       *packetring.Ring
}

func (s *slices264) comes(sequence uint16, picture uint32) bool {
	raw := make([]byte, 12)
	binary.BigEndian.PutUint32(raw[4:], picture)
	var p packet
	p.Timestamp = picture
	var fits bool
	p.numbers.Number, fits = s.ring.Put(sequence, raw)
	return fits && s.parameters.begins(&p, s.ring)
}

// TestAPictureOfManySlicesIsLookedAtOnce is about a sender that lets each packet be the first of a key frame: looking at all the
// others for each would keep a processor busy.
func TestAPictureOfManySlicesIsLookedAtOnce(t *testing.T) {
	s := slices264{parameters{sent: true}, packetring.New(videoRing)}
	sequence := uint16(0)
	for ; sequence < videoRing/2; sequence++ {
		s.comes(sequence, 7)
	}
	require.Less(t, testing.AllocsPerRun(100, func() {
		s.comes(sequence, 7)
		sequence++
	}), 5.0)
}

func TestASliceBeginsAKeyFrameIfAllBeforeItIsThere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := slices264{parameters{sent: true}, packetring.New(videoRing)}
		const perPicture = 5
		came := map[uint16]bool{}
		for range rapid.IntRange(1, 60).Draw(t, "packets") {
			sequence := uint16(rapid.IntRange(1, 40).Draw(t, "sequence"))
			again := came[sequence]
			came[sequence] = true
			whole := !again
			for before := sequence - 1; whole; before-- {
				whole = came[before]
				if before/perPicture != sequence/perPicture {
					break
				}
			}
			require.Equal(t, whole, s.comes(sequence, uint32(sequence/perPicture)+1))
		}
	})
}
