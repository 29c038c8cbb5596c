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
			id, value := rapid.Uint8Max(15).Draw(t, "id"), rapid.SliceOfN(rapid.Byte(), 0, 17).Draw(t, "value")
			h.extensions[i] = extension{uint8(20*i) + id, value}
		}
		if h.extensions[0].id == h.numbered {
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
		if first := h.extensions[0]; first.id > 0 && first.id < 15 && len(first.value) > 0 && len(first.value) <= 16 {
			require.Equal(t, first.value, p.GetExtension(first.id))
		}
		if h.numbered > 0 && h.numbered < 15 {
			require.Equal(t, []byte{byte(h.number >> 8), byte(h.number)}, p.GetExtension(h.numbered))
		}
	})
}
