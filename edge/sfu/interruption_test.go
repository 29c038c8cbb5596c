package sfu

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/stretchr/testify/require"
)

// delta is a payload of a picture that refers to the one before.
var delta = append([]byte{0x10, 1}, make([]byte, 20)...)

// filmed is a packet of the video captured at a time.
func filmed(tb testing.TB, sequence uint16, at time.Duration, payload []byte) []byte {
	tb.Helper()
	raw := rtpOf(tb, 20, 96, sequence, payload, nil)
	binary.BigEndian.PutUint32(raw[4:], uint32(at.Milliseconds()*videoClockRate/1000))
	return raw
}

// interrupted is a video of which a key frame, number 1, and a picture went out; the publisher's key frame requests are counted.
func interrupted(tb testing.TB) (in *incoming, l *layer, out *said, asked *int) {
	tb.Helper()
	in, begun, out := newSorter(tb)
	receiveOne(in, filmed(tb, 1, 0, vp8))
	l, asked = out.layerFor(tb, in, (*begun)[0]), new(int)
	in.began((*begun)[0], l, nil)
	receiveOne(in, filmed(tb, 2, 0, delta))
	require.Len(tb, out.packets, 2)
	l.keyFrames.asked = time.Time{} // for the first
	l.request = func(uint32) { *asked++ }
	return in, l, out, asked
}

func TestAfterAnInterruptionPicturesGoOnWithAKeyFrame(t *testing.T) {
	type packet struct {
		sequence uint16
		at       time.Duration // captured
		payload  []byte
	}
	const gone = 3 * time.Second
	for name, c := range map[string]struct {
		came  []packet
		sent  []uint16 // of those that came, which go out
		asked int
	}{
		"what was sent meanwhile is lost":         {[]packet{{90, gone, delta}, {91, gone, vp8}, {92, gone, delta}}, []uint16{91, 92}, 1},
		"what was sent meanwhile comes, late":     {[]packet{{3, 0, delta}, {4, gone, vp8}, {5, gone, delta}}, []uint16{4, 5}, 1},
		"a key frame is the first":                {[]packet{{3, 0, vp8}, {4, 0, delta}}, []uint16{3, 4}, 0},
		"nothing was sent meanwhile":              {[]packet{{3, gone, delta}, {4, gone, delta}}, []uint16{3, 4}, 0},
		"the end of the picture before is lost":   {[]packet{{5, gone, delta}, {6, gone, delta}}, []uint16{5, 6}, 0},
		"padding to try the path":                 {[]packet{{3, 0, []byte{}}, {4, gone, delta}}, []uint16{3, 4}, 0},
		"the publisher's clock stood in the past": {[]packet{{3, 0, delta}, {4, 0, delta}}, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			in, l, out, asked := interrupted(t)
			in.started, l.since = in.started.Add(-gone), l.since.Add(-gone)
			before := len(out.packets)
			for _, p := range c.came {
				receiveOne(in, filmed(t, p.sequence, p.at, p.payload))
			}
			require.Equal(t, c.asked, *asked)
			require.Len(t, out.packets, before+len(c.sent))
			for i, sent := range out.packets[before:] {
				at := slices.IndexFunc(c.came, func(p packet) bool { return p.sequence == c.sent[i] })
				require.Equal(t, c.came[at].payload, sent.Payload[:len(c.came[at].payload)])
				if gap := sent.SequenceNumber - out.packets[before-1].SequenceNumber - 1 - uint16(i); c.asked > 0 {
					require.Zero(t, gap, "nobody is to wait for what is lost")
				}
			}
		})
	}
}

func TestWhatIsAskedForInVainTakesAKeyFrame(t *testing.T) {
	in, l, out, asked := interrupted(t)
	receiveOne(in, filmed(t, 4, 0, delta))
	require.Len(t, out.packets, 3, "number 3 may come yet")
	in.started, l.since = in.started.Add(-2*time.Second), l.since.Add(-2*time.Second)
	in.tick()
	require.Equal(t, 1, *asked)
	receiveOne(in, filmed(t, 5, 2*time.Second, delta))
	require.Len(t, out.packets, 3)
	receiveOne(in, filmed(t, 6, 2*time.Second, vp8))
	require.Len(t, out.packets, 4)
}

func TestASubscriberWhoWasAwayGoesOnWithAKeyFrame(t *testing.T) {
	in, l, out, asked := interrupted(t)
	down := (*l.downs.Load())[0]
	number := out.packets[1].SequenceNumber
	require.True(t, down.resendOne(7, number, nil))
	down.resume(time.Now())
	require.Equal(t, 1, *asked)
	require.False(t, down.resendOne(7, number, nil), "it is too old to be shown")
	before := len(out.packets)
	receiveOne(in, filmed(t, 3, 0, delta))
	require.Len(t, out.packets, before)
	receiveOne(in, filmed(t, 4, 0, vp8))
	require.Len(t, out.packets, before+1)
	require.Equal(t, number+1, out.packets[before].SequenceNumber)
}

func TestAKeyFrameWhoseFirstPacketComesLateIsShown(t *testing.T) {
	const picture = 33 * time.Millisecond
	in, l, out, asked := interrupted(t)
	waits := (*l.downs.Load())[0]
	others := &wire{}
	goesOn := newDownTrack("o", l.track.kind, newFeedback(newPath(nil)), l.metrics)
	goesOn.way, goesOn.bound, goesOn.open, goesOn.ssrc, goesOn.dialect = others, true, true, 8, dialect{formats: l.dialect.formats}
	goesOn.follow(l, time.Now(), true)
	receiveOne(in, filmed(t, 3, picture, vp8))
	waits.resume(time.Now())
	*asked = 0
	before := len(out.packets)
	for sequence, payload := range [][]byte{5: delta, 6: delta, 8: delta} {
		if payload != nil {
			receiveOne(in, filmed(t, uint16(sequence), 2*picture, payload))
		}
	}
	require.Len(t, out.packets, before)
	in.receiveRTP(filmed(t, 4, 2*picture, vp8), nil)
	in.receiveRTP(filmed(t, 9, 3*picture, delta), nil)
	in.handled(nil)
	receiveOne(in, filmed(t, 7, 2*picture, delta))
	numbers := func(packets []rtp.Packet, from int) (all []uint16) {
		for _, p := range packets[from:] {
			all = append(all, p.SequenceNumber-packets[from].SequenceNumber)
		}
		return all
	}
	require.Equal(t, []uint16{0, 1, 2, 4, 5, 3}, numbers(out.packets, before), "in order, and what was lost where it is missing")
	require.Equal(t, out.packets[before-1].SequenceNumber+1, out.packets[before].SequenceNumber)
	require.Equal(t, out.packets[before].Timestamp, out.packets[before+3].Timestamp, "one picture")
	require.Equal(t, []uint16{0, 2, 3, 5, 1, 6, 4}, numbers(others.packets, 0), "whoever has it gets nothing twice")
	now := time.Now().Add(keyFrameEvery)
	l.lastPacket.Store(int64(now.Sub(l.since)))
	l.tick(now)
	require.Zero(t, *asked, "it is what was asked for")
}

func TestAKeyFrameThatBeginsTooLateIsNotTheLastAskedFor(t *testing.T) {
	in, l, out, asked := interrupted(t)
	now := time.Now()
	l.broken(now)
	before := len(out.packets)
	receiveOne(in, filmed(t, 4, 0, delta)) // which belongs to the key frame
	receiveOne(in, filmed(t, 5, caughtUp+time.Millisecond, delta))
	receiveOne(in, filmed(t, 3, 0, vp8))
	require.Len(t, out.packets, before+1)
	l.keyFrames.asked = now.Add(-keyFrameEvery)
	l.tick(now)
	require.Equal(t, 2, *asked)
	receiveOne(in, filmed(t, 6, 0, vp8))
	l.keyFrames.asked = now.Add(-keyFrameEvery)
	l.tick(now)
	require.Equal(t, 2, *asked)
}

// TestAKeyFrameOfSlicesBeginsWithItsParameters has the first packet of an H.264 key frame be lost, and the end of its first slice.
func TestAKeyFrameOfSlicesBeginsWithItsParameters(t *testing.T) {
	parameters, slice, end := []byte{24, 0, 2, 0x67, 1, 0, 2, 0x68, 1}, []byte{0x7c, 0x85, 1}, []byte{0x7c, 0x45, 2}
	const picture = 33 * time.Millisecond
	in, l, out, asked := interrupted(t)
	l.dialect.formats[96] = format{mime: "video/h264"} // shared by all
	send := func(sequence uint16, at time.Duration, payload []byte) {
		receiveOne(in, filmed(t, sequence, at, payload))
	}
	down := (*l.downs.Load())[0]
	down.resume(time.Now())
	before := len(out.packets)
	for sequence, payload := range [][]byte{3: slice, 4: end, 5: parameters, 6: slice, 7: end, 8: slice} {
		if payload != nil {
			send(uint16(sequence), time.Duration((sequence+1)/4)*picture, payload)
		}
	}
	require.Len(t, out.packets, before+6, "before any parameters were sent with it an IDR slice begins a key frame")

	down.resume(time.Now())
	*asked, out.control = 0, nil
	before = len(out.packets)
	send(10, 3*picture, slice)
	send(12, 3*picture, slice)
	in.started = in.started.Add(-20 * time.Millisecond)
	in.tick()
	require.Len(t, out.packets, before, "what cannot be decoded is no beginning")
	missing := []uint16{}
	for _, each := range out.control {
		if request, ok := each.(*rtcp.TransportLayerNack); ok {
			for i := range request.Nacks {
				missing = append(missing, request.Nacks[i].PacketList()...)
			}
		}
	}
	require.Equal(t, []uint16{9, 11}, missing, "all of it is asked for")
	send(9, 3*picture, parameters)
	require.Len(t, out.packets, before+3)
	send(11, 3*picture, end)
	require.Len(t, out.packets, before+4)
	first := out.packets[before].SequenceNumber
	for i, sequence := range []uint16{0, 1, 3, 2} {
		require.Equal(t, first+sequence, out.packets[before+i].SequenceNumber)
	}
	require.False(t, l.keyFrames.wanted)

	down.resume(time.Now())
	before = len(out.packets)
	send(13, 4*picture, []byte{0x09, 0x10})
	send(14, 4*picture, slice)
	require.Len(t, out.packets, before+1, "not all encoders repeat parameters")
}

func TestNobodyIsAskedForKeyFramesThatNobodyGets(t *testing.T) {
	in, l, _, asked := interrupted(t)
	(*l.downs.Load())[0].follow(nil, time.Time{}, false)
	in.started, l.since = in.started.Add(-3*time.Second), l.since.Add(-3*time.Second)
	receiveOne(in, filmed(t, 90, 0, delta))
	require.Zero(t, *asked)
}
