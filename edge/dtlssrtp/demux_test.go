package dtlssrtp_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/edge/dtlssrtp"
)

func TestWhatComesToAPortIsToldApart(t *testing.T) {
	for name, c := range map[string]struct {
		datagram             []byte
		dtls, media, control bool
	}{
		"nothing":              {},
		"STUN":                 {datagram: []byte{0, 1}},
		"below DTLS":           {datagram: []byte{19}},
		"DTLS":                 {datagram: []byte{20}, dtls: true},
		"the last of DTLS":     {datagram: []byte{63}, dtls: true},
		"TURN channel data":    {datagram: []byte{64}},
		"one byte of media":    {datagram: []byte{0x80}, media: true},
		"RTP":                  {datagram: []byte{0x80, 96}, media: true},
		"RTP with a marker":    {datagram: []byte{0xbf, 0x80 | 63}, media: true},
		"below RTCP":           {datagram: []byte{0x80, 191}, media: true},
		"the first of RTCP":    {datagram: []byte{0x80, 192}, media: true, control: true},
		"the last of RTCP":     {datagram: []byte{0x80, 223}, media: true, control: true},
		"above RTCP":           {datagram: []byte{0x80, 224}, media: true},
		"what nobody may send": {datagram: []byte{0xc0}},
	} {
		require.Equal(t, c.dtls, dtlssrtp.IsDTLS(c.datagram), name)
		require.Equal(t, c.media, dtlssrtp.IsMedia(c.datagram), name)
		require.Equal(t, c.control, dtlssrtp.IsControl(c.datagram), name)
	}
}
