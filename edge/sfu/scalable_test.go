package sfu

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/wardline/wardline/edge/sfu/bandwidth"
	"github.com/wardline/wardline/edge/sfu/codec/descriptor"
	"github.com/wardline/wardline/edge/sfu/downtrack"
	"github.com/wardline/wardline/edge/sfu/packetring"
	"github.com/wardline/wardline/edge/sfu/scalability"
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
	one.send(1, 13, 65530, true, true, true)
	require.Empty(t, out.packets, "of a structure that nobody knows")
	one.send(2, 0, 65534, true, false, false)
	one.send(2, 0, 65534, false, true, true)
	one.send(3, 13, 65535, true, true, true)
	d.follow(other.layer, time.Now(), false)
	other.send(4, 0, 300, true, true, true)
	other.send(5, 13, 301, true, true, true)
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
	s.send(2, 13, 10, true, true, true)
	d.resend(&rtcp.TransportLayerNack{MediaSSRC: 7, Nacks: rtcp.NackPairsFromSequenceNumbers([]uint16{1, 2})}, nil)
	require.Len(t, out.packets, 4)
	require.Equal(t, out.packets[:2], out.packets[2:])
	d.repair.ssrc, d.dialect.repairs = 9, map[uint8]uint8{98: 99}
	d.resend(&rtcp.TransportLayerNack{MediaSSRC: 7, Nacks: rtcp.NackPairsFromSequenceNumbers([]uint16{1})}, nil)
	require.Equal(t, out.packets[0].GetExtension(describedTo), out.packets[4].GetExtension(describedTo))
}

func TestFramesOfAnEarlierStructureAreNotSentAgain(t *testing.T) {
	s := newScalable(t, 1)
	d, out := viewer(t, s.layer)
	d.follow(s.layer, time.Now(), false)
	s.send(1, 0, 9, true, true, true)
	s.send(2, 13, 10, true, true, true)
	s.send(3, 0, 11, true, true, true)
	require.Len(t, out.packets, 3)
	d.resend(&rtcp.TransportLayerNack{MediaSSRC: 7, Nacks: rtcp.NackPairsFromSequenceNumbers([]uint16{1, 2, 3})}, nil)
	require.Len(t, out.packets, 5)
	require.Equal(t, out.packets[0], out.packets[3], "a key frame says itself how it is read")
	require.Equal(t, out.packets[2], out.packets[4])
}

// replay has a layer receive what a browser sent, from a number of packets on; lose says which do not come.
func (s *scalable) replay(from, to int, lose func(i int) bool) {
	s.tb.Helper()
	text, err := os.ReadFile("codec/descriptor/testdata/vp9-l3t3-key.txt")
	require.NoError(s.tb, err)
	picture, before := uint32(1), byte(0)
	var d descriptor.Descriptor
	var structure *descriptor.Structure
	lines := strings.Fields(string(text))
	for i, line := range lines[:to] {
		value, err := hex.DecodeString(line)
		require.NoError(s.tb, err)
		require.True(s.tb, d.Parse(value, structure))
		structure = d.Structure
		if d.Start && d.Spatial < before {
			picture++
		}
		before = d.Spatial
		if i < from || lose != nil && lose(i) {
			continue
		}
		s.sequence = uint16(i)
		s.sendDescribed(picture, value, d.End && d.Spatial == 2)
	}
}

// requireWhole checks that packets have no hole, that what they describe can be decoded, and that each picture ends once.
func requireWhole(tb testing.TB, packets []rtp.Packet) []descriptor.Descriptor {
	tb.Helper()
	frames, known, ended := described(tb, packets), map[uint16]bool{}, map[uint32]bool{}
	for i, d := range frames {
		if i > 0 {
			require.Equal(tb, packets[i-1].SequenceNumber+1, packets[i].SequenceNumber)
			require.Equal(tb, packets[i-1].Timestamp != packets[i].Timestamp, packets[i-1].Marker, "the end of a picture")
		}
		require.False(tb, ended[packets[i].Timestamp])
		ended[packets[i].Timestamp] = packets[i].Marker
		known[d.Number] = true
		for _, diff := range d.Diffs {
			require.True(tb, known[d.Number-diff], "frame %d needs %d", d.Number, d.Number-diff)
		}
	}
	return frames
}

func highest(frames []descriptor.Descriptor) (spatial, temporal uint8) {
	for _, d := range frames {
		spatial, temporal = max(spatial, d.Spatial), max(temporal, d.Temporal)
	}
	return spatial, temporal
}

func TestSubscribersGetTheirLayersOfOneStream(t *testing.T) {
	s := newScalable(t, 1)
	now := time.Now()
	for _, layers := range []scalability.Layers{scalability.All, {Spatial: 1, Temporal: 2}, {Spatial: 0, Temporal: 1}} {
		d, out := viewer(t, s.layer)
		d.follow(s.layer, now, false)
		d.limit(layers, now, false)
		leftOut := testutil.ToFloat64(d.metrics.packetsLeftOut)
		s.layer.ring = packetring.New(videoRing)
		s.replay(0, 60, nil)
		frames := requireWhole(t, out.packets)
		spatial, temporal := highest(frames)
		require.Equal(t, min(layers.Spatial, 2), spatial)
		require.Equal(t, min(layers.Temporal, 2), temporal)
		require.Equal(t, layers == scalability.All, len(frames) > 30, "the others' are left out")
		leftOut = testutil.ToFloat64(d.metrics.packetsLeftOut) - leftOut
		require.InDelta(t, 60-len(frames), leftOut, 0, "and counted")
		require.True(t, frames[0].Activates, "what there is is said")
		require.NotZero(t, frames[0].Active)

		before := len(out.packets)
		d.resend(&rtcp.TransportLayerNack{MediaSSRC: 7, Nacks: rtcp.NackPairsFromSequenceNumbers([]uint16{1, 2, 3, 4, 5})}, nil)
		for _, p := range out.packets[before:] {
			require.Equal(t, out.packets[p.SequenceNumber-out.packets[0].SequenceNumber], p, "again what it was")
		}
		require.GreaterOrEqual(t, len(out.packets)-before, 4)
		d.follow(nil, now, false)
	}
}

func TestFewerLayersComeAtOnce(t *testing.T) {
	s := newScalable(t, 1)
	requests := 0
	s.layer.request = func(uint32) { requests++ }
	now := time.Now()
	d, out := viewer(t, s.layer)
	d.follow(s.layer, now, false)
	s.replay(0, 30, nil)
	asked, before := requests, len(out.packets)
	d.limit(scalability.Layers{Spatial: 2, Temporal: 0}, now.Add(time.Minute), true)
	s.replay(30, 60, nil)
	frames := requireWhole(t, out.packets)
	_, temporal := highest(frames[before+4:])
	require.Zero(t, temporal)
	require.Equal(t, asked, requests, "without a key frame")

	d.limit(scalability.Layers{Spatial: 0, Temporal: 2}, now.Add(2*time.Minute), false)
	require.Equal(t, asked+1, requests, "smaller pictures have not been sent")
	d.retry(now.Add(3 * time.Minute))
	require.Equal(t, asked+2, requests, "one may be lost")
}

func TestLostPacketsThatNobodyNeedsLeaveNoHole(t *testing.T) {
	s := newScalable(t, 1)
	d, out := viewer(t, s.layer)
	d.follow(s.layer, time.Now(), false)
	d.limit(scalability.Layers{Spatial: 0, Temporal: 2}, time.Now(), false)
	late := func(i int) bool { return i >= 10 && i < 20 }
	s.replay(0, 40, late)
	s.replay(10, 20, func(i int) bool { return !late(i) })
	numbers := map[uint16]bool{}
	empty := 0
	for _, p := range out.packets {
		require.False(t, numbers[p.SequenceNumber])
		numbers[p.SequenceNumber] = true
		if len(p.Payload) == 0 {
			empty++
		}
	}
	first, last := out.packets[0].SequenceNumber, out.packets[0].SequenceNumber
	for n := range numbers {
		last = max(last, n)
	}
	require.Len(t, numbers, int(last-first)+1)
	require.Positive(t, empty)
	require.Less(t, empty, 10)
}

// frameByFrame returns a function that has a layer of several decode targets receive one more frame and forward it.
func frameByFrame(tb testing.TB, subscribers int) func() {
	tb.Helper()
	ways, batch := onPort(tb)
	s := newScalable(tb, 1)
	for range subscribers {
		d, _ := viewer(tb, s.layer)
		d.way = ways()
		d.follow(s.layer, time.Now(), false)
	}
	s.send(1, 0, 1, true, true, true)
	raw, ok := s.layer.ring.Get(1<<16+int64(s.sequence), nil)
	require.True(tb, ok)
	var p rtp.Packet
	require.NoError(tb, p.Unmarshal(raw))
	value := []byte{0xc0 | 13, 0, 1}
	require.NoError(tb, p.SetExtension(describedAs, value))
	raw, err := p.Marshal()
	require.NoError(tb, err)
	number, at := uint16(1), bytes.LastIndex(raw, value)+1
	return func() {
		number++
		binary.BigEndian.PutUint16(raw[2:], number)
		binary.BigEndian.PutUint32(raw[4:], 3000*uint32(number))
		binary.BigEndian.PutUint16(raw[at:], number)
		s.layer.receive(raw, batch)
		s.layer.forward(batch)
		batch.Flush()
	}
}

func TestForwardingLayersAllocatesNothing(t *testing.T) {
	receive := frameByFrame(t, 3)
	for range 2 * videoRing {
		receive()
	}
	require.Eventually(t, func() bool { // what tests before this one have left running allocates as well
		return testing.AllocsPerRun(1000, receive) == 0
	}, patience, time.Millisecond)
}

// BenchmarkForwardLayers is the way of a packet of a stream of several decode targets, one frame each.
func BenchmarkForwardLayers(b *testing.B) {
	for _, subscribers := range []int{1, 20} {
		b.Run(fmt.Sprintf("subscribers=%d", subscribers), func(b *testing.B) {
			benchmarkForward(b, subscribers, frameByFrame(b, subscribers))
		})
	}
}

func TestWhatComesLateSaysNothingNew(t *testing.T) {
	s := newScalable(t, 1)
	said := func(sequence uint16, number byte, active uint16) {
		s.sequence = sequence - 1
		s.sendDescribed(uint32(number), []byte{0xc0 | 13, 0, number, byte(1<<6 | active>>6), byte(active << 2)}, true)
	}
	s.send(1, 0, 1, true, true, true)
	require.Equal(t, uint32(0b111_111_111), s.layer.scale.Load().active.Load())
	said(3, 3, 0b111)
	require.Equal(t, uint32(0b111), s.layer.scale.Load().active.Load())
	said(2, 2, 0b111_111)
	require.Equal(t, uint32(0b111), s.layer.scale.Load().active.Load())
	said(5, 5, 0b111_111)
	require.Equal(t, uint32(0b111_111), s.layer.scale.Load().active.Load())
}

func TestALateKeyFrameOfLayersIsShownToWhoWaits(t *testing.T) {
	s := newScalable(t, 1)
	sees, seen := viewer(t, s.layer)
	sees.follow(s.layer, time.Now(), false)
	s.send(1, 0, 1, true, true, true)
	s.send(2, 13, 4, true, true, true)
	comes, out := viewer(t, s.layer)
	comes.follow(s.layer, time.Now(), false)
	late := s.sequence + 1
	s.sequence++
	s.send(3, 0, 7, false, true, true)
	s.send(4, 13, 10, true, true, true)
	require.Empty(t, out.packets)
	s.sequence = late - 1
	s.send(3, 0, 7, true, false, false)
	s.sequence = late + 2
	s.send(5, 13, 13, true, true, true)
	require.Len(t, requireWhole(t, out.packets), 4)
	require.Len(t, seen.packets, 6)
	require.False(t, s.layer.keyFrames.wanted)
	comes.resend(&rtcp.TransportLayerNack{MediaSSRC: 7, Nacks: rtcp.NackPairsFromSequenceNumbers([]uint16{late + 1})}, nil)
	require.Equal(t, out.packets[1], out.packets[4], "again what it was")
}

func TestRungs(t *testing.T) {
	s := newScalable(t, 1)
	s.layer.track.layers = []*layer{s.layer}
	require.Len(t, s.layer.track.rungs(), 1, "before it is known")
	s.replay(0, 60, nil)
	for range meterReady {
		s.layer.tick(time.Now())
	}
	rungs := s.layer.track.rungs()
	got, before := []string{}, bandwidth.Rate(0)
	for i, cost := range costsOf(rungs, time.Now()) {
		got = append(got, fmt.Sprintf("%d%d", rungs[i].layers.Spatial, rungs[i].layers.Temporal))
		require.Positive(t, cost)
		if i > 0 && rungs[i-1].pixels == rungs[i].pixels {
			require.Greater(t, cost, before, "more pictures take more")
		}
		before = cost
	}
	require.Equal(t, "00 01 02 11 12 21 22", strings.Join(got, " "))
	require.Equal(t, 1280*720, rungs[6].pixels)
	require.Equal(t, 640*360, rungs[4].pixels)
	require.Equal(t, 6, rungOf(rungs, s.layer, scalability.All))
	require.Equal(t, 2, rungOf(rungs, s.layer, scalability.Layers{Spatial: 0, Temporal: 7}))
	s.layer.scale.Load().active.Store(0b111)
	require.Zero(t, costsOf(s.layer.track.rungs(), time.Now())[6], "the browser does not send it now")
}
