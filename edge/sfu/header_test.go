package sfu

import (
	"testing"

	"github.com/pion/rtp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestHeadersAreThoseOfPion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := outHeader{
			payloadType: rapid.Uint8Max(127).Draw(t, "type"), marker: rapid.Bool().Draw(t, "marker"),
			sequence: rapid.Uint16().Draw(t, "sequence"), timestamp: rapid.Uint32().Draw(t, "time"), ssrc: rapid.Uint32().Draw(t, "ssrc"),
			numbered: rapid.Uint8Max(15).Draw(t, "numbered"), number: rapid.Uint16().Draw(t, "number"),
		}
		for i := range h.extensions {
			value := rapid.SliceOfN(rapid.Byte(), 0, 17).Draw(t, "value")
			h.extensions[i] = extension{rapid.SampledFrom([]uint8{0, 4*uint8(i) + 1, 4*uint8(i) + 2, 15}).Draw(t, "id"), value}
		}
		h.described.id = rapid.SampledFrom([]uint8{0, 9, 15}).Draw(t, "described")
		h.described.value = rapid.SliceOfN(rapid.Byte(), 0, rapid.SampledFrom([]int{17, 257}).Draw(t, "most")).Draw(t, "descriptor")
		if h.numbered < 12 {
			h.numbered = 0
		}
		before := rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(t, "before")
		raw := h.appendTo(before)
		require.Equal(t, before, raw[:len(before)])
		var p rtp.Packet
		require.NoError(t, p.Unmarshal(append(raw[len(before):], "payload"...)))
		require.Equal(t, "payload", string(p.Payload))
		require.Equal(t, h.payloadType, p.PayloadType)
		require.Equal(t, h.marker, p.Marker)
		require.Equal(t, h.sequence, p.SequenceNumber)
		require.Equal(t, h.timestamp, p.Timestamp)
		require.Equal(t, h.ssrc, p.SSRC)
		requireExtension(t, &p, h.extensions[0], 16)
		requireExtension(t, &p, h.extensions[1], 16)
		requireExtension(t, &p, h.described, 255)
		if h.numbered > 0 && h.numbered < 15 {
			require.Equal(t, []byte{byte(h.number >> 8), byte(h.number)}, p.GetExtension(h.numbered))
		}
	})
}

// requireExtension checks that an extension is there if it fits.
func requireExtension(t *rapid.T, p *rtp.Packet, e extension, most int) {
	if e.id > 0 && e.id < 15 && len(e.value) > 0 && len(e.value) <= most {
		require.Equal(t, e.value, p.GetExtension(e.id))
	}
}
