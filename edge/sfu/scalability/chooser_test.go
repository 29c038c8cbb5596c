package scalability_test

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/wardline/wardline/edge/sfu/codec/descriptor"
	"github.com/wardline/wardline/edge/sfu/scalability"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stream plays what a browser sent.
type stream struct {
	tb      testing.TB
	packets []descriptor.Descriptor
	picture []uint32 // of each packet
	choose  scalability.Chooser
	newest  int // packets before this one come late
}

func play(tb testing.TB, name string) *stream {
	tb.Helper()
	text, err := os.ReadFile("../codec/descriptor/testdata/" + name + ".txt")
	require.NoError(tb, err)
	s := &stream{tb: tb}
	var structure *descriptor.Structure
	var picture uint32
	before := uint8(9)
	for line := range strings.Lines(string(text)) {
		value, err := hex.DecodeString(strings.TrimSpace(line))
		require.NoError(tb, err)
		var d descriptor.Descriptor
		require.True(tb, d.Parse(value, structure))
		structure = d.Structure
		if d.Start && d.Spatial <= before { // a picture goes from its lowest layer up
			picture++
		}
		before = d.Spatial
		s.packets, s.picture = append(s.packets, d), append(s.picture, picture)
	}
	return s
}

// layersOf are the layers of frames that pass among packets from one on: one letter each, by spatial and temporal layer.
func (s *stream) layers(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		d := &s.packets[i]
		if v := s.choose.Choose(s.picture[i], d, i >= s.newest); v.Pass && d.Start {
			b.WriteString([]string{"abc", "def", "ghi"}[d.Spatial][d.Temporal : d.Temporal+1])
		}
	}
	return b.String()
}

func TestTemporalLayers(t *testing.T) {
	s := play(t, "vp8-l1t3")
	require.False(t, s.choose.Waits())
	got := s.choose.Wanted()
	require.Equal(t, scalability.All, got)
	all := s.layers(0, 6)
	require.Contains(t, all, "c")
	s.choose.Want(scalability.Layers{Temporal: 0}, false)
	require.Equal(t, "a", strings.TrimLeft(s.layers(6, 12), "a")+"a", "fewer at once")
	require.False(t, s.choose.Waits())
	s.choose.Want(scalability.All, false)
	require.False(t, s.choose.Waits(), "it needs no key frame")
	require.Contains(t, s.layers(12, len(s.packets)), "c")
}

func TestSpatialLayersThatDependOnEachOther(t *testing.T) {
	s := play(t, "vp9-l3t3")
	require.Contains(t, s.layers(0, 20), "f")
	s.choose.Want(scalability.Layers{Spatial: 0, Temporal: 2}, false)
	require.False(t, s.choose.Waits(), "the smallest is there")
	require.Subset(t, strings.Split("abc", ""), strings.Split(s.layers(20, 40), ""))
	s.choose.Want(scalability.Layers{Spatial: 1, Temporal: 2}, false)
	require.True(t, s.choose.Waits(), "up goes with a key frame")
	require.Subset(t, strings.Split("abc", ""), strings.Split(s.layers(40, 60), ""))
}

func TestSpatialLayersThatDoNot(t *testing.T) {
	s := play(t, "vp9-l3t3-key")
	require.Equal(t, "adg", s.layers(0, 1)+s.layers(1, len(s.packets))[:2], "all of the key frame's picture")
	s.choose.Want(scalability.Layers{Spatial: 0, Temporal: 2}, false)
	require.True(t, s.choose.Waits(), "the smallest has been left out")
	require.Contains(t, s.again(), "b", "a key frame gives it")
	require.False(t, s.choose.Waits())

	s.choose.Want(scalability.All, false)
	require.True(t, s.choose.Waits())
	require.Contains(t, s.again(), "i")
	s.choose.Want(scalability.Layers{Spatial: 1, Temporal: 2}, true)
	require.True(t, s.choose.Waits())
	for i, d := range s.packets[1:] {
		d.Number += 3000
		require.False(t, s.choose.Choose(s.picture[i]+3000, &d, true).Pass, "nothing rather than too much")
	}
}

// again plays the stream once more, from its key frame on.
func (s *stream) again() string {
	span := s.packets[len(s.packets)-1].Number - s.packets[0].Number + 1
	for i := range s.packets {
		s.packets[i].Number += span
		s.picture[i] += 1000
	}
	return s.layers(0, len(s.packets))
}

func TestAKeyFrameCountsWhoseFirstPacketComesLate(t *testing.T) {
	s := play(t, "vp9-l3t3-key")
	s.layers(0, len(s.packets))
	s.choose.Want(scalability.Layers{Spatial: 0, Temporal: 2}, false)
	require.True(t, s.choose.Waits())
	span := s.packets[len(s.packets)-1].Number + 1 - s.packets[0].Number
	for i := range s.packets {
		s.packets[i].Number += span
		s.picture[i] += 1000
	}
	require.True(t, s.packets[0].Attached && !s.packets[0].End)
	s.layers(1, 3)
	require.True(t, s.choose.Waits())
	s.newest = 3
	s.layers(0, 1)
	require.False(t, s.choose.Waits())
	require.Subset(t, strings.Split("abc", ""), strings.Split(s.layers(3, len(s.packets)), ""))
	s.layers(0, 1)
	require.Subset(t, strings.Split("abc", ""), strings.Split(s.layers(20, len(s.packets)), ""), "once")
}

func TestFramesMayBeNumberedAnew(t *testing.T) {
	s := play(t, "vp9-l3t3-key")
	all := s.layers(0, len(s.packets))
	for i := range s.packets {
		s.packets[i].Number -= 20_000
		s.picture[i] += 1000
	}
	require.Equal(t, all, s.layers(0, len(s.packets)))
}

func TestAnotherStreamBeginsWithAKeyFrame(t *testing.T) {
	s := play(t, "av1-l1t3")
	require.NotEmpty(t, s.layers(0, 5))
	s.choose.Reset()
	require.Empty(t, s.layers(5, 10))
	require.NotEmpty(t, s.layers(0, 5))
}

// TestWhatGoesOutCanBeDecoded has a subscriber change its mind all the time, and packets come out of order: each frame that goes
// out refers only to frames that did, all packets of a frame fare alike, and one packet ends each picture, its last.
func TestWhatGoesOutCanBeDecoded(t *testing.T) {
	for _, name := range []string{"vp8-l1t3", "vp9-l3t3-key", "vp9-l3t3", "av1-l1t3"} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(r *rapid.T) {
				s := play(t, name)
				passed, ended := map[uint16]bool{}, map[uint32]bool{}
				stopped := false
				for i := range s.packets {
					if i > 0 && s.picture[i] != s.picture[i-1] {
						last, some := ended[s.picture[i-1]]
						require.True(r, last || !some || stopped, "picture %d has no end", s.picture[i-1])
						stopped = false
					}
					if rapid.IntRange(0, 5).Draw(r, "changes") == 0 {
						layers := scalability.Layers{
							Spatial: rapid.Uint8Range(0, 2).Draw(r, "spatial"), Temporal: rapid.Uint8Range(0, 2).Draw(r, "temporal"),
						}
						atOnce := rapid.Bool().Draw(r, "at once")
						s.choose.Want(layers, atOnce)
						stopped = stopped || atOnce
					}
					d := &s.packets[i]
					v := s.choose.Choose(s.picture[i], d, true)
					if before, known := passed[d.Number]; known && !d.Start {
						require.Equal(r, before, v.Pass, "frame %d", d.Number)
					}
					passed[d.Number] = v.Pass
					if !v.Pass {
						require.Zero(r, v)
						continue
					}
					require.False(r, ended[s.picture[i]], "behind the end of picture %d", s.picture[i])
					ended[s.picture[i]] = v.Last
					for _, diff := range d.Diffs {
						require.True(r, passed[d.Number-diff], "frame %d needs %d", d.Number, d.Number-diff)
					}
				}
			})
		})
	}
}

func BenchmarkChoose(b *testing.B) {
	s := play(b, "vp9-l3t3-key")
	s.choose.Want(scalability.Layers{Spatial: 1, Temporal: 2}, false)
	s.layers(0, len(s.packets))
	i := 1
	b.ReportAllocs()
	for b.Loop() {
		d := &s.packets[i]
		d.Number += 60
		s.choose.Choose(s.picture[i], d, true)
		i = max(1, (i+1)%len(s.packets))
	}
}
