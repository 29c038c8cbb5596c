package sfu

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// TestAKeyFrameWhoseBeginningComesLate has the first packet of a key frame of another structure come behind others that are read by it.
func TestAKeyFrameWhoseBeginningComesLate(t *testing.T) {
	s := newScalable(t, 1)
	d, out := viewer(t, s.layer)
	d.follow(s.layer, time.Now(), false)
	s.sequence = 1
	s.send(1, 13, 8, true, true, true) // of a key frame before
	s.sequence = 10
	s.send(2, 0, 9, false, true, true)
	for frame := range uint16(2 * maxCame) {
		s.send(3+uint32(frame), 13, 10+frame, true, true, true)
	}
	require.Empty(t, out.packets)
	received := testutil.ToFloat64(s.layer.metrics.packetsReceived)
	s.sequence = 9
	s.send(2, 0, 9, true, false, false)
	require.Len(t, out.packets, 2+2*maxCame)
	for i, p := range out.packets {
		require.Equal(t, out.packets[0].SequenceNumber+uint16(i), p.SequenceNumber)
	}
	require.InDelta(t, received+1, testutil.ToFloat64(s.layer.metrics.packetsReceived), 0)
	s.sequence = 11 + 2*maxCame
	s.send(500, 13, 10+2*maxCame, true, true, true)
	require.Len(t, out.packets, 3+2*maxCame, "nothing waits any more")
}

// TestUnreadablePacketsGetNoNumbersAround has a publisher's numbers go around with packets that cannot be read, so that no subscriber gets
// them: what comes then under a number that went out is another packet.
func TestUnreadablePacketsGetNoNumbersAround(t *testing.T) {
	s := newScalable(t, 1)
	d, out := viewer(t, s.layer)
	d.follow(s.layer, time.Now(), false)
	s.send(1, 0, 9, true, true, true)
	s.send(2, 13, 10, true, true, true)
	for _, sequence := range []uint16{20_001, 40_001, 60_001} {
		s.sequence = sequence
		s.send(2, 63, 10, true, true, true) // of another structure
	}
	require.Len(t, out.packets, 2)
	s.sequence = 0
	s.send(3, 13, 11, true, true, true)
	require.Len(t, out.packets, 3)
	require.Equal(t, out.packets[1].SequenceNumber+2, out.packets[2].SequenceNumber, "a number of its own")
	s.send(4, 13, 12, true, true, true)
	d.resend(nackOf(7, out.packets[0].SequenceNumber, out.packets[1].SequenceNumber), nil)
	require.Len(t, out.packets, 4, "others are in their place by now")
}

func TestWhatWaitsToBeReadIsBounded(t *testing.T) {
	s := newScalable(t, 1)
	for range 3 * videoRing {
		s.send(1, 13, 8, true, true, true)
	}
	require.Len(t, s.layer.unread, videoRing)
	require.Equal(t, 1<<16+int64(s.sequence), s.layer.unread[videoRing-1])
	s.send(2, 0, 9, true, true, true)
	require.Empty(t, s.layer.unread, "it is of a key frame before")
}
