package sfu

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/wardline/wardline/edge/sfu/codec/descriptor"
	"github.com/wardline/wardline/edge/sfu/downtrack"
)

// describedAs and describedTo are the ids of the dependency descriptor on both sides.
const describedAs, describedTo = 5, 6

// keyStructure is what a browser says of VP9 of three spatial and three temporal layers, behind the number of its key frame
// (L3T3_KEY); its templates have the ids 0 to 14.
const keyStructure = "80081485214eaaaaa8000600004000100002aa80a8000600004000100002a000a800060000400016d549241b5524906d5" +
	"4923157e001974ca864330e222396eca8655304224390eca87753013f00b3027f016704ff02cf"

// scalable is a layer whose packets have dependency descriptors, all of one picture at one time.
type scalable struct {
	tb       testing.TB
	layer    *layer
	sequence uint16
}

func newScalable(tb testing.TB, id downtrack.Source) *scalable {
	tb.Helper()
	l, _ := layerOf(tb, webrtc.RTPCodecTypeVideo)
	l.id, l.dialect.dependency = id, describedAs
	l.dialect.formats = map[uint8]format{98: {mime: "video/vp9"}}
	return &scalable{tb: tb, layer: l}
}

// send receives a packet of a picture: its descriptor is that of a template, or of a key frame for template 0.
func (s *scalable) send(picture uint32, template byte, frame uint16, start, end, marker bool) {
	s.tb.Helper()
	value := []byte{template, byte(frame >> 8), byte(frame)}
	if start {
		value[0] |= 0x80
	}
	if end {
		value[0] |= 0x40
	}
	if template == 0 && start {
		structure, err := hex.DecodeString(keyStructure)
		require.NoError(s.tb, err)
		value = append(value, structure...)
	}
	s.sendDescribed(picture, value, marker)
}

func (s *scalable) sendDescribed(picture uint32, value []byte, marker bool) {
	s.tb.Helper()
	s.sequence++
	header := rtp.Header{Version: 2, PayloadType: 98, SequenceNumber: s.sequence, Timestamp: 3000 * picture, Marker: marker}
	header.ExtensionProfile, header.Extension = 0x1000, true
	require.NoError(s.tb, header.SetExtension(describedAs, value))
	payload := make([]byte, 100)
	payload[0] = 0x40 // of no key frame, as far as the payload says
	raw, err := (&rtp.Packet{Header: header, Payload: payload}).Marshal()
	require.NoError(s.tb, err)
	s.layer.receive(raw, nil)
	s.layer.forward(nil)
}

// viewer is a subscriber of scalable layers.
func viewer(tb testing.TB, l *layer) (*downTrack, *wire) {
	tb.Helper()
	out := &wire{}
	d := newDownTrack("t", webrtc.RTPCodecTypeVideo, newFeedback(newPath(rate.NewLimiter(rate.Inf, 0))), l.metrics)
	d.way, d.bound, d.open, d.ssrc, d.dialect = out, true, true, 7, l.dialect
	d.dialect.dependency = describedTo
	return d, out
}

// described reads the descriptors of packets that came, which have to make one stream.
func described(tb testing.TB, packets []rtp.Packet) []descriptor.Descriptor {
	tb.Helper()
	all := make([]descriptor.Descriptor, len(packets))
	var structure *descriptor.Structure
	for i := range packets {
		require.True(tb, all[i].Parse(packets[i].GetExtension(describedTo), structure))
		structure = all[i].Structure
	}
	return all
}

func TestFramesAreDescribedOverSwitches(t *testing.T) {
	one, other := newScalable(t, 1), newScalable(t, 2)
	d, out := viewer(t, one.layer)
	plain, plainly := viewer(t, one.layer)
	plain.dialect.dependency = 0
	d.follow(one.layer, time.Now(), false)
	plain.follow(one.layer, time.Now(), false)
	one.send(1, 3, 65530, true, true, true)
	require.Empty(t, out.packets, "of a structure that nobody knows")
	one.send(2, 0, 65534, true, false, false)
	one.send(2, 0, 65534, false, true, true)
	one.send(3, 3, 65535, true, true, true)
	d.follow(other.layer, time.Now(), false)
	other.send(4, 0, 300, true, true, true)
	other.send(5, 3, 301, true, true, true)
	one.send(4, 0, 0, true, true, true)
	frames := described(t, out.packets)
	require.Len(t, frames, 5)
	for i, want := range []struct {
		number   uint16
		attached bool
		diffs    int
	}{{65534, true, 0}, {65534, false, 0}, {65535, false, 1}, {0, true, 0}, {1, false, 1}} {
		require.Equal(t, want.number, frames[i].Number)
		require.Equal(t, want.attached, frames[i].Attached)
		require.Len(t, frames[i].Diffs, want.diffs)
	}
	require.Len(t, plainly.packets, 4)
	for _, p := range plainly.packets {
		require.Nil(t, p.GetExtension(describedTo))
	}
}

func TestDescribedFramesAreSentAgain(t *testing.T) {
	s := newScalable(t, 1)
	d, out := viewer(t, s.layer)
	d.follow(s.layer, time.Now(), false)
	s.send(1, 0, 9, true, true, true)
	s.send(2, 3, 10, true, true, true)
	d.resend(&rtcp.TransportLayerNack{MediaSSRC: 7, Nacks: rtcp.NackPairsFromSequenceNumbers([]uint16{1, 2})}, nil)
	require.Len(t, out.packets, 4)
	require.Equal(t, out.packets[:2], out.packets[2:])
	d.repair.ssrc, d.dialect.repairs = 9, map[uint8]uint8{98: 99}
	d.resend(&rtcp.TransportLayerNack{MediaSSRC: 7, Nacks: rtcp.NackPairsFromSequenceNumbers([]uint16{1})}, nil)
	require.Equal(t, out.packets[0].GetExtension(describedTo), out.packets[4].GetExtension(describedTo))
}
