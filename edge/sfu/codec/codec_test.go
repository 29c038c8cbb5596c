package codec_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/edge/sfu/codec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParseVP8(t *testing.T) {
	tests := map[string]struct {
		payload []byte
		want    codec.Picture
		ok      bool
	}{
		"empty":                     {payload: nil},
		"key frame without numbers": {payload: []byte{0x10, 0x00}, want: codec.Picture{KeyFrame: true}, ok: true},
		"delta frame":               {payload: []byte{0x10, 0x01}, ok: true},
		"continuation of a frame":   {payload: []byte{0x00, 0x00}, ok: true},
		"second partition":          {payload: []byte{0x11, 0x00}, ok: true},
		"start without frame":       {payload: []byte{0x10}},
		"extension cut":             {payload: []byte{0x90}},
		"narrow picture id": {
			payload: []byte{0x90, 0x80, 0x7f, 0x00},
			want:    codec.Picture{KeyFrame: true, HasPictureID: true, PictureID: 127}, ok: true,
		},
		"wide picture id": {
			payload: []byte{0x90, 0x80, 0x81, 0x02, 0x00},
			want:    codec.Picture{KeyFrame: true, HasPictureID: true, Wide: true, PictureID: 258}, ok: true,
		},
		"picture id missing":  {payload: []byte{0x90, 0x80}},
		"wide picture id cut": {payload: []byte{0x90, 0x80, 0x81}},
		"temporal layer": {
			payload: []byte{0x90, 0xe0, 0x01, 0x09, 0x40, 0x01},
			want:    codec.Picture{HasPictureID: true, PictureID: 1, HasTL0: true, TL0: 9}, ok: true,
		},
		"key frame with its size": {
			payload: []byte{0x10, 0x50, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x41},
			want:    codec.Picture{KeyFrame: true, Width: 640, Height: 360}, ok: true,
		},
		"key frame without start code": {
			payload: []byte{0x10, 0x50, 0, 0, 0x9d, 0x01, 0x2b, 0x80, 0x02, 0x68, 0x41}, want: codec.Picture{KeyFrame: true}, ok: true,
		},
		"temporal layer number gone": {payload: []byte{0x80, 0x40}},
		"key index gone":             {payload: []byte{0x80, 0x10}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := codec.ParseVP8(test.payload)
			require.Equal(t, test.ok, ok)
			if !ok {
				return
			}
			require.Equal(t, test.want.KeyFrame, got.KeyFrame)
			require.Equal(t, test.want.HasPictureID, got.HasPictureID)
			require.Equal(t, test.want.Wide, got.Wide)
			require.Equal(t, test.want.PictureID, got.PictureID)
			require.Equal(t, test.want.HasTL0, got.HasTL0)
			require.Equal(t, test.want.TL0, got.TL0)
			require.Equal(t, test.want.Width, got.Width)
			require.Equal(t, test.want.Height, got.Height)
		})
	}
}

func TestParseVP9(t *testing.T) {
	tests := map[string]struct {
		payload []byte
		want    codec.Picture
		ok      bool
	}{
		"empty":                       {payload: nil},
		"key frame without numbers":   {payload: []byte{0x08, 0}, want: codec.Picture{KeyFrame: true}, ok: true},
		"later packet of a key frame": {payload: []byte{0x00, 0}, ok: true},
		"inter frame":                 {payload: []byte{0x48, 0}, ok: true},
		"nothing behind":              {payload: []byte{0x08}},
		"picture id cut":              {payload: []byte{0x88, 0x81}},
		"narrow picture id": {
			payload: []byte{0x88, 0x11, 0},
			want:    codec.Picture{KeyFrame: true, HasPictureID: true, PictureID: 17}, ok: true,
		},
		"lowest layer of a key frame": {
			payload: []byte{0xa8, 0x81, 2, 0x00, 9, 0},
			want:    codec.Picture{KeyFrame: true, HasPictureID: true, Wide: true, PictureID: 258, HasTL0: true, TL0: 9}, ok: true,
		},
		"upper layer of a key frame": {
			payload: []byte{0xa8, 0x81, 2, 0x03, 9, 0},
			want:    codec.Picture{HasPictureID: true, Wide: true, PictureID: 258, HasTL0: true, TL0: 9}, ok: true,
		},
		"flexible mode has no index": {
			payload: []byte{0xb8, 0x81, 2, 0x00, 0},
			want:    codec.Picture{KeyFrame: true, HasPictureID: true, Wide: true, PictureID: 258}, ok: true,
		},
		"layers cut":                   {payload: []byte{0xa8, 0x01}},
		"index of the base layer gone": {payload: []byte{0xa8, 0x01, 0x00}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := codec.ParseVP9(test.payload)
			require.Equal(t, test.ok, ok)
			require.Equal(t, test.want.KeyFrame, got.KeyFrame)
			require.Equal(t, test.want.PictureID, got.PictureID)
			require.Equal(t, test.want.HasPictureID, got.HasPictureID)
			require.Equal(t, test.want.HasTL0, got.HasTL0)
			require.Equal(t, test.want.TL0, got.TL0)
		})
	}
}

func TestAV1KeyFrame(t *testing.T) {
	tests := map[string]struct {
		payload []byte
		want    bool
	}{
		"empty":                 {nil, false},
		"header alone":          {[]byte{0x08}, false},
		"new sequence":          {[]byte{0x18, 0x0a}, true},
		"continued from before": {[]byte{0x98, 0x0a}, false},
		"within a sequence":     {[]byte{0x10, 0x32}, false},
		"continues in the next": {[]byte{0x58, 0x0a}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { require.Equal(t, test.want, codec.AV1KeyFrame(test.payload)) })
	}
}

func TestH264KeyFrame(t *testing.T) {
	tests := map[string]struct {
		payload    []byte
		want       bool
		parameters bool
	}{
		"empty":             {},
		"IDR slice":         {[]byte{0x65, 0x88}, true, false},
		"parameter set":     {[]byte{0x67, 0x42}, true, true},
		"delta slice":       {[]byte{0x41, 0x9a}, false, false},
		"STAP-A with SPS":   {[]byte{0x78, 0, 2, 0x67, 0x42, 0, 1, 0x68}, true, true},
		"STAP-A SPS second": {[]byte{0x78, 0, 1, 0x09, 0, 2, 0x67, 0x42}, true, true},
		"STAP-A without":    {[]byte{0x78, 0, 1, 0x68}, false, false},
		"STAP-A cut":        {[]byte{0x78, 0, 9, 0x41}, false, false},
		"FU-A first of IDR": {[]byte{0x7c, 0x85}, true, false},
		"FU-A later of IDR": {[]byte{0x7c, 0x05}, false, false},
		"FU-A of delta":     {[]byte{0x7c, 0x81}, false, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.want, codec.H264KeyFrame(test.payload))
			require.Equal(t, test.parameters, codec.H264Parameters(test.payload))
		})
	}
}

func TestREDPrimary(t *testing.T) {
	tests := map[string]struct {
		payload []byte
		want    string
		ok      bool
	}{
		"empty":           {},
		"only primary":    {[]byte("\x6fnew"), "new", true},
		"one redundant":   {[]byte("\xef\x00\x00\x03\x6foldnew"), "new", true},
		"header cut":      {payload: []byte("\xef\x00")},
		"primary missing": {payload: []byte("\xef\x00\x00\x03")},
		"block cut":       {payload: []byte("\xef\x00\x00\x09\x6fold")},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := codec.REDPrimary(test.payload)
			require.Equal(t, test.ok, ok)
			require.Equal(t, test.want, string(got))
		})
	}
}

func FuzzVP8Descriptor(f *testing.F) {
	f.Add([]byte{0x90, 0xe0, 0x81, 0x02, 0x09, 0x40, 0x00}, uint16(300), uint8(7))
	f.Add([]byte{0x90, 0x80, 0x7f, 0x00}, uint16(5), uint8(0))
	f.Add([]byte{0x10}, uint16(0), uint8(0))
	f.Add([]byte{0x10, 0x50, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x41}, uint16(0), uint8(0))
	f.Fuzz(func(t *testing.T, payload []byte, picture uint16, tl0 uint8) {
		requireRewrites(t, codec.ParseVP8, payload, picture, tl0)
	})
}

func FuzzVP9Descriptor(f *testing.F) {
	f.Add([]byte{0xa8, 0x81, 2, 0x00, 9, 0}, uint16(300), uint8(7))
	f.Add([]byte{0x88, 0x11, 0}, uint16(5), uint8(0))
	f.Add([]byte{0xb8, 0x81, 2, 0x03, 0}, uint16(0), uint8(0))
	f.Fuzz(func(t *testing.T, payload []byte, picture uint16, tl0 uint8) {
		requireRewrites(t, codec.ParseVP9, payload, picture, tl0)
	})
}

func FuzzAV1KeyFrame(f *testing.F) {
	f.Add([]byte{0x18, 0x0a})
	f.Fuzz(func(_ *testing.T, payload []byte) { codec.AV1KeyFrame(payload) })
}

// requireRewrites checks that numbers can be replaced, that nothing else changes, and that it can be undone.
func requireRewrites(t *testing.T, parse func([]byte) (codec.Picture, bool), payload []byte, picture uint16, tl0 uint8) {
	t.Helper()
	before, ok := parse(payload)
	if !ok {
		return
	}
	changed := bytes.Clone(payload)
	before.Rewrite(changed, picture, tl0)
	after, ok := parse(changed)
	require.True(t, ok)
	require.Equal(t, before.KeyFrame, after.KeyFrame)
	if before.HasPictureID {
		mask := uint16(0x7f)
		if before.Wide {
			mask = 0x7fff
		}
		require.Equal(t, picture&mask, after.PictureID)
	}
	if before.HasTL0 {
		require.Equal(t, tl0, after.TL0)
	}
	before.Rewrite(changed, before.PictureID, before.TL0)
	require.Equal(t, payload, changed, "nothing else changes")
}

func FuzzH264KeyFrame(f *testing.F) {
	f.Add([]byte{0x78, 0, 2, 0x67, 0x42, 0, 1, 0x68})
	f.Add([]byte{0x7c, 0x85})
	f.Add([]byte{})
	f.Fuzz(func(_ *testing.T, payload []byte) { codec.H264KeyFrame(payload) })
}

func FuzzREDPrimary(f *testing.F) {
	f.Add([]byte("\xef\x00\x00\x03\x6foldnew"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		if primary, ok := codec.REDPrimary(payload); ok {
			require.True(t, bytes.HasSuffix(payload, primary))
		}
	})
}

func TestH264ProfilesDecodeWhatTheyTakeIn(t *testing.T) {
	const baseline, main, constrainedHigh, high = "42001F", "4d001f", "640c2a", "640028"
	basic := []string{"42e01f", "42c015", "4d801e"} // all of them constrained baseline
	unknown := []string{"f4001f", "64001", "6400zz", ""}
	takes := map[string][]string{
		baseline:        append([]string{baseline}, basic...),
		main:            append([]string{main, baseline}, basic...),
		constrainedHigh: append([]string{constrainedHigh, baseline}, basic...),
		high:            append([]string{high, constrainedHigh, main, baseline}, basic...),
	}
	for _, id := range basic {
		takes[id] = basic
	}
	for _, id := range unknown {
		takes[id] = nil
	}
	for decoder, taken := range takes {
		for stream := range takes {
			require.Equal(t, slices.Contains(taken, stream), codec.H264Decodes(decoder, stream), "%s of %s", decoder, stream)
		}
	}
}
