package descriptor_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/edge/sfu/codec/descriptor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// packed turns fields of bits, apart by spaces, into bytes.
func packed(fields ...string) []byte {
	var out []byte
	for i, bit := range strings.ReplaceAll(strings.Join(fields, ""), " ", "") {
		if i%8 == 0 {
			out = append(out, 0)
		}
		if bit == '1' {
			out[len(out)-1] |= 0x80 >> (i % 8)
		}
	}
	return out
}

// A structure of two decode targets: 60 is the template of key frames, 61 of the lower temporal layer, 62 of the upper one.
const (
	counts   = "111100 00001"      // the first id, two targets
	layers   = "00 01 11"          // the same, the next temporal layer, no more
	dtis     = "1010 1110 0001"    // SS, RS, -D
	diffs    = "0 10001 0 10000 0" // none, 2, 1
	chains   = "10 0000 0010 0001" // one, so that no bits say which protects a target
	plain    = counts + layers + dtis + diffs + chains + "0"
	sized    = counts + layers + dtis + diffs + chains + "1 0000001001111111 0000000101100111"
	keyFrame = "1 0 111100 0000000100000000"
)

// learned is the structure that a stream of these packets has.
func learned(tb testing.TB) *descriptor.Structure {
	tb.Helper()
	var d descriptor.Descriptor
	require.True(tb, d.Parse(packed(keyFrame, "10000", sized), nil))
	return d.Structure
}

func TestStructure(t *testing.T) {
	s := learned(t)
	require.Equal(t, []descriptor.Target{{Spatial: 0, Temporal: 0}, {Spatial: 0, Temporal: 1}}, s.Targets)
	require.Equal(t, []descriptor.Resolution{{Width: 640, Height: 360}}, s.Resolutions)
	require.Equal(t, uint32(0b11), s.All())
	require.Equal(t, uint32(0b11), s.Covered(1), "who has all pictures has every other")
	require.Equal(t, uint32(0b01), s.Covered(0))
}

func TestParse(t *testing.T) {
	const switches, discardable = descriptor.Indications(0b1010), descriptor.Indications(0b0100)
	tests := map[string]struct {
		value []byte
		want  descriptor.Descriptor
	}{
		"key frame": {
			packed(keyFrame, "10000", plain),
			descriptor.Descriptor{Start: true, Number: 256, Indications: switches, Chains: []uint8{0}, Attached: true},
		},
		"key frame of fewer targets": {
			packed(keyFrame, "11000", plain, "01"),
			descriptor.Descriptor{
				Start: true, Number: 256, Indications: switches, Chains: []uint8{0}, Attached: true, Activates: true, Active: 1,
			},
		},
		"by its template": {
			packed("1 1 111110 1111111111111111"),
			descriptor.Descriptor{
				Start: true, End: true, Number: 65535, Temporal: 1, Indications: discardable, Diffs: []uint16{1}, Chains: []uint8{1},
			},
		},
		"middle of a frame": {
			packed("0 0 111101 0000000000000010"),
			descriptor.Descriptor{Number: 2, Indications: 0b1011, Diffs: []uint16{2}, Chains: []uint8{2}},
		},
		"everything its own": {
			packed("0 1 111101 0000000000000010", "00111", "0001", "01 0011 10 00010000 11 111111111111 00", "11111111"),
			descriptor.Descriptor{
				End: true, Number: 2, Indications: discardable, Diffs: []uint16{4, 17, 4096}, Chains: []uint8{255},
			},
		},
		"needs nothing": {
			packed("0 1 111101 0000000000000010", "00010", "00"),
			descriptor.Descriptor{End: true, Number: 2, Indications: 0b1011, Chains: []uint8{2}},
		},
	}
	var d descriptor.Descriptor
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			require.True(t, d.Parse(test.value, learned(t)))
			require.Equal(t, test.want.Diffs, append([]uint16(nil), d.Diffs...))
			require.Equal(t, test.want.Chains, d.Chains)
			got := descriptor.Descriptor{
				Start: d.Start, End: d.End, Number: d.Number, Spatial: d.Spatial, Temporal: d.Temporal, Indications: d.Indications,
				Attached: d.Attached, Activates: d.Activates, Active: d.Active,
			}
			test.want.Diffs, test.want.Chains = nil, nil
			require.Equal(t, test.want, got)
		})
	}
}

func TestParseRefuses(t *testing.T) {
	tests := map[string]struct {
		value     []byte
		structure *descriptor.Structure
	}{
		"nothing":                     {nil, learned(t)},
		"cut short":                   {[]byte{0xc0, 0}, learned(t)},
		"before a structure":          {packed("1 1 111101 0000000000000010"), nil},
		"of another structure":        {packed("1 1 000000 0000000000000010"), learned(t)},
		"cut in the structure":        {packed(keyFrame, "10000", counts, layers, "1010"), nil},
		"cut in its indications":      {packed("1 1 111101 0000000000000010", "00111"), learned(t)},
		"cut in its diffs":            {packed("1 1 111101 0000000000000010", "00010", "11"), learned(t)},
		"a structure within a frame":  {packed("0 0 111100 0000000100000000", "10000", plain), nil},
		"too many spatial layers":     {packed(keyFrame, "10000", counts, "10 10 10 10 10 11", strings.Repeat("0", 200)), nil},
		"too many temporal layers":    {packed(keyFrame, "10000", counts, strings.Repeat("01", 8), "11", strings.Repeat("0", 200)), nil},
		"more templates than ids":     {packed(keyFrame, "10000", counts, strings.Repeat("00", 64), "11", strings.Repeat("0", 900)), nil},
		"longer than an extension is": {make([]byte, 256), learned(t)},
	}
	var d descriptor.Descriptor
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { require.False(t, d.Parse(test.value, test.structure)) })
	}
}

func TestAppendTo(t *testing.T) {
	const next, renumbered = "0 1 111101 0000000000000010", "0 1 111101 0000001100000001"
	const key = "1 0 111100 0000001100000001"
	tests := map[string]struct {
		value, want []byte
		active      uint32
	}{
		"another number":           {packed(next), packed(renumbered), 0},
		"fewer targets":            {packed(next), packed(renumbered, "01000", "01"), 1},
		"as many as there are":     {packed(next), packed(renumbered, "01000", "11"), 3},
		"others":                   {packed(next, "01000", "11"), packed(renumbered, "01000", "01"), 1},
		"the same":                 {packed(next, "01000", "11"), packed(renumbered, "01000", "11"), 3},
		"before what is its own":   {packed(next, "00101", "0001 11111111"), packed(renumbered, "01101", "01 0001 11111111"), 1},
		"behind a structure":       {packed(keyFrame, "10000", plain), packed(key, "11000", plain, "01"), 1},
		"all of a structure":       {packed(keyFrame, "10000", plain), packed(key, "10000", plain), 3},
		"instead of a structure's": {packed(keyFrame, "11000", plain, "10"), packed(key, "11000", plain, "01"), 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var d descriptor.Descriptor
			require.True(t, d.Parse(test.value, learned(t)))
			before := bytes.Clone(test.value)
			require.Equal(t, append([]byte("x"), test.want...), d.AppendTo([]byte("x"), test.value, 769, test.active))
			require.Equal(t, before, test.value)
		})
	}
}

func TestAppendToKeepsWhatFits(t *testing.T) {
	value := packed("0 1 111101 0000000000000010", "00010", strings.Repeat("11 000000000000", 143), "01 0000 00 0")
	require.Len(t, value, descriptor.MaxSize)
	var d descriptor.Descriptor
	require.True(t, d.Parse(value, learned(t)))
	want := bytes.Clone(value)
	want[2] = 3
	require.Equal(t, want, d.AppendTo(nil, value, 3, 1)[:descriptor.MaxSize])
}

// recorded reads descriptors that a browser sent, one packet a line.
func recorded(tb testing.TB, name string) [][]byte {
	tb.Helper()
	text, err := os.ReadFile("testdata/" + name + ".txt")
	require.NoError(tb, err)
	var all [][]byte
	for line := range strings.Lines(string(text)) {
		value, err := hex.DecodeString(strings.TrimSpace(line))
		require.NoError(tb, err)
		all = append(all, value)
	}
	return all
}

// TestChromium reads what Chromium 156 sends: each frame refers to frames that there were, of layers that are no higher, and
// whoever leaves a decode target's other frames out has all that its frames need.
func TestChromium(t *testing.T) {
	for name, test := range map[string]struct {
		targets, sizes int
		active         uint32 // at the end
	}{
		"vp8-l1t3":     {3, 1, 0b111},
		"vp9-l3t3-key": {9, 3, 0b111_111_111},
		"vp9-l3t3":     {9, 3, 0b111_111}, // its largest layer is off
		"av1-l1t3":     {3, 1, 0b111},
	} {
		t.Run(name, func(t *testing.T) {
			var d descriptor.Descriptor
			var structure *descriptor.Structure
			var active uint32
			type frame struct {
				descriptor.Indications
				spatial, temporal uint8
			}
			frames := map[uint16]frame{}
			for _, value := range recorded(t, name) {
				require.True(t, d.Parse(value, structure))
				structure = d.Structure
				if d.Attached {
					active = structure.All()
				}
				if d.Activates {
					active = d.Active
				}
				require.Equal(t, value, d.AppendTo(nil, value, d.Number, 0))
				frames[d.Number] = frame{d.Indications, d.Spatial, d.Temporal}
				for _, diff := range d.Diffs {
					before, known := frames[d.Number-diff]
					require.True(t, known, "frame %d needs %d", d.Number, d.Number-diff)
					require.LessOrEqual(t, before.spatial, d.Spatial)
					require.LessOrEqual(t, before.temporal, d.Temporal)
					for target := range structure.Targets {
						if d.Indications.Of(target) != descriptor.NotPresent {
							require.NotEqual(t, descriptor.NotPresent, before.Of(target), "frame %d, target %d", d.Number, target)
							require.NotEqual(t, descriptor.Discardable, before.Of(target))
						}
					}
				}
			}
			require.Len(t, structure.Targets, test.targets)
			require.Len(t, structure.Resolutions, test.sizes)
			require.Equal(t, test.active, active)
		})
	}
}

// FuzzDescriptor reads two packets in a row, whatever they are, and checks that what is made of them reads the same.
func FuzzDescriptor(f *testing.F) {
	for _, name := range []string{"vp8-l1t3", "vp9-l3t3-key"} {
		all := recorded(f, name)
		f.Add(all[0], all[1], uint16(7), uint32(1))
	}
	f.Add(packed(keyFrame, "11000", sized, "01"),
		packed("0 1 111101 0000000000000010", "00111", "0001", "0100 00", "11111111"), uint16(1), uint32(3))
	f.Fuzz(func(t *testing.T, first, second []byte, number uint16, active uint32) {
		var d, again descriptor.Descriptor
		var structure *descriptor.Structure
		for _, value := range [][]byte{first, second} {
			if !d.Parse(value, structure) {
				continue
			}
			require.LessOrEqual(t, len(d.Diffs), 8*descriptor.MaxSize)
			require.LessOrEqual(t, len(d.Structure.Targets), 32)
			wanted := active & d.Structure.All()
			made := d.AppendTo(nil, value, number, wanted)
			require.LessOrEqual(t, len(made), descriptor.MaxSize)
			require.True(t, again.Parse(made, structure))
			require.Equal(t, number, again.Number)
			require.Equal(t, d.Indications, again.Indications)
			require.Equal(t, append([]uint16(nil), d.Diffs...), append([]uint16(nil), again.Diffs...))
			require.Equal(t, append([]uint8(nil), d.Chains...), append([]uint8(nil), again.Chains...))
			if again.Activates && wanted != 0 && len(made) != len(value) {
				require.Equal(t, wanted, again.Active)
			}
			structure = d.Structure
		}
	})
}

func BenchmarkParse(b *testing.B) {
	all := recorded(b, "vp9-l3t3-key")
	var d descriptor.Descriptor
	require.True(b, d.Parse(all[0], nil))
	structure, i := d.Structure, 0
	all = all[1:10] // behind the key frame's own
	b.ReportAllocs()
	for b.Loop() {
		if !d.Parse(all[i], structure) {
			b.Fatal("not read")
		}
		i = (i + 1) % len(all)
	}
}
