package sfu

import (
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/edge/sfu/downtrack"
	"github.com/wardline/wardline/edge/udp"
)

func TestOnlyPicturesThatComeAtOnceAreWaitedFor(t *testing.T) {
	// read is what was read at once: packets of a picture, and whether the last one ends it.
	type read struct {
		at      time.Duration
		picture uint32
		packets int
		ends    bool
		want    bool
	}
	const ms = time.Millisecond
	for name, reads := range map[string][]read{
		"one by one": {
			{0, 1, 1, false, false},
			{1 * ms, 1, 1, false, false},
			{2 * ms, 1, 1, true, false},
			{33 * ms, 2, 1, false, false},
			{34 * ms, 2, 1, false, false},
		},
		"at once": {
			{0, 1, 1, false, false},
			{udp.MaxHold / 2, 1, 1, false, true},
			{udp.MaxHold, 1, 1, true, false},
			{33 * ms, 2, 1, false, true},
			{33*ms + udp.MaxHold/2, 2, 3, true, false},
		},
		"several in one read": {{0, 1, 2, false, true}, {33 * ms, 2, 1, true, false}, {66 * ms, 3, 1, false, true}},
		"no longer": {
			{0, 1, 2, false, true}, {33 * ms, 2, 1, false, true}, {35 * ms, 2, 1, false, false}, {66 * ms, 3, 1, false, false},
		},
		"a lost end": {{0, 1, 2, false, true}, {33 * ms, 2, 2, false, true}},
		"nothing":    {{0, 1, 2, false, true}, {ms, 1, 0, false, false}},
	} {
		t.Run(name, func(t *testing.T) {
			var b burst
			for i, each := range reads {
				came := make([]packet, each.packets)
				for j := range came {
					came[j].Header = rtp.Header{Timestamp: each.picture, Marker: each.ends && j == each.packets-1}
					came[j].numbers = downtrack.Packet{Arrival: each.at}
				}
				require.Equal(t, each.want, b.goesOn(came), "read %d", i)
				b.done = each.at
			}
		})
	}
}

// TestPacketsOfAPictureHaveOneSize has packets as browsers cut pictures, which differ by a byte.
func TestPacketsOfAPictureHaveOneSize(t *testing.T) {
	l, raw := layerOf(t, webrtc.RTPCodecTypeVideo)
	sent, out := &sizes{}, &wire{}
	for _, to := range []way{sent, out} {
		d := newDownTrack("t", webrtc.RTPCodecTypeVideo, newFeedback(newPath(nil)), l.metrics)
		d.way, d.bound, d.open, d.ssrc, d.dialect = to, true, true, 7, l.dialect
		d.follow(l, time.Now(), true)
	}
	for i, size := range []int{-2, -1, 0, -9} {
		each := append([]byte{}, raw[:len(raw)-10+size]...)
		each[3] = byte(i)
		l.receive(each, nil)
	}
	l.forward(nil)
	require.Len(t, *sent, 4)
	require.Equal(t, (*sent)[0], (*sent)[1])
	require.Equal(t, (*sent)[1], (*sent)[2])
	require.Less(t, (*sent)[3], (*sent)[2])
	for i, size := range []int{-2, -1, 0, -9} {
		require.Len(t, out.packets[i].Payload, 1150-10+size, "what receivers take out of it is what was sent")
		require.Equal(t, raw[len(raw)-1150+14:][:1100], out.packets[i].Payload[14:1114])
	}
}

// sizes are those of packets that left.
type sizes []int

func (s *sizes) send(packet []byte, _ *udp.Batch, _ udp.Class) error {
	*s = append(*s, len(packet))
	return nil
}

func (s *sizes) sendControl(*udp.Batch, ...rtcp.Packet) {}
