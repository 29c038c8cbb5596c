package downtrack_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/edge/sfu/downtrack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	low  downtrack.Source = 1
	high downtrack.Source = 2
)

func forward(t *testing.T, s *downtrack.Stream, from downtrack.Source, p downtrack.Packet) downtrack.Rewritten {
	t.Helper()
	out, ok := s.Forward(from, &p)
	require.True(t, ok)
	return out
}

func TestStreamWaitsForAStart(t *testing.T) {
	s := downtrack.New(90_000)
	_, ok := s.Forward(low, &downtrack.Packet{Start: true})
	require.False(t, ok, "no source chosen")
	s.Switch(low)
	_, ok = s.Forward(low, &downtrack.Packet{Number: 1})
	require.False(t, ok, "delta frame first")
	require.Equal(t, uint16(2), forward(t, s, low, downtrack.Packet{Number: 2, Start: true}).Sequence)
	require.Equal(t, uint16(4), forward(t, s, low, downtrack.Packet{Number: 4}).Sequence)
	require.Equal(t, uint16(3), forward(t, s, low, downtrack.Packet{Number: 3}).Sequence, "late packets keep their place")
	_, ok = s.Forward(low, &downtrack.Packet{Number: 1})
	require.False(t, ok, "from before the start")
	_, ok = s.Forward(0, &downtrack.Packet{Start: true})
	require.False(t, ok)
}

func TestStreamTakesNoPacketThatIsTooLate(t *testing.T) {
	s := downtrack.New(90_000)
	s.Switch(low)
	forward(t, s, low, downtrack.Packet{Number: 1990, Start: true})
	forward(t, s, low, downtrack.Packet{Number: 3024})
	_, ok := s.Forward(low, &downtrack.Packet{Number: 2000})
	require.False(t, ok, "its number may have gone out for another")
	_, ok = s.Skip(low, &downtrack.Packet{Number: 2000})
	require.False(t, ok)
	require.Equal(t, uint16(2001), forward(t, s, low, downtrack.Packet{Number: 2001}).Sequence)
}

// upTo sends packets of the low source, with the most that may be lost in between, so that the next number is one that goes out as it is.
func upTo(t *testing.T, s *downtrack.Stream, next int64) {
	t.Helper()
	for number := next - 1<<15; number < next; number += 4096 {
		forward(t, s, low, downtrack.Packet{Number: number, Start: true})
	}
}

// TestStreamBeginsFarFromTheEndOfNumbers is about a receiver that misses the first packets: it takes the first one it gets for one of
// the first round, and could not decrypt any packet of a stream that is in the second by then.
func TestStreamBeginsFarFromTheEndOfNumbers(t *testing.T) {
	for number, want := range map[int64]uint16{0: 0, 32_767: 32_767, 32_768: 0, 65_535: 32_767, 1<<16 + 5: 5, 3<<16 - 1: 32_767} {
		s := downtrack.New(90_000)
		s.Switch(low)
		require.Equal(t, want, forward(t, s, low, downtrack.Packet{Number: number, Start: true}).Sequence)
		require.Equal(t, want+3, forward(t, s, low, downtrack.Packet{Number: number + 3}).Sequence)
	}
}

func TestStreamSwitchContinues(t *testing.T) {
	s := downtrack.New(90_000)
	s.Switch(low)
	upTo(t, s, 65535)
	forward(t, s, low, downtrack.Packet{Number: 65535, Timestamp: 1000, Start: true, Numbered: true, PictureID: 32767, TL0: 255})
	s.Switch(high)
	require.Equal(t, high, s.Pending())
	_, ok := s.Forward(high, &downtrack.Packet{Number: 500})
	require.False(t, ok, "delta frame of the new layer")
	out := forward(t, s, low, downtrack.Packet{Number: 65536, Timestamp: 4000, Arrival: 33 * time.Millisecond, Numbered: true})
	require.Equal(t, downtrack.Rewritten{Sequence: 0, Timestamp: 4000}, out, "the old layer goes on until then")
	out = forward(t, s, high, downtrack.Packet{
		Number: 501, Timestamp: 777, Start: true, Arrival: 43 * time.Millisecond, Numbered: true, PictureID: 90, TL0: 8,
	})
	require.Equal(t, downtrack.Rewritten{Sequence: 1, Timestamp: 4900, PictureID: 1, TL0: 1}, out)
	require.Equal(t, high, s.Current())
	require.Zero(t, s.Pending())
	_, ok = s.Forward(low, &downtrack.Packet{Number: 1, Start: true})
	require.False(t, ok, "the old layer is out")
	out = forward(t, s, high, downtrack.Packet{Number: 502, Timestamp: 777 + 3000, Numbered: true, PictureID: 91, TL0: 8})
	require.Equal(t, downtrack.Rewritten{Sequence: 2, Timestamp: 7900, PictureID: 2, TL0: 1}, out)
	require.Equal(t, uint32(4900-777), s.TimestampOffset())
}

func TestStreamNumbersFrames(t *testing.T) {
	s := downtrack.New(90_000)
	s.Switch(low)
	forward(t, s, low, downtrack.Packet{Number: 1, Start: true, Framed: true, Frame: 65535})
	require.Equal(t, uint16(65535), s.Frame(65535))
	forward(t, s, low, downtrack.Packet{Number: 2, Framed: true, Frame: 1})
	require.Equal(t, uint16(1), s.Frame(1), "gaps stay")
	forward(t, s, low, downtrack.Packet{Number: 3}) // padding has none
	s.Switch(high)
	forward(t, s, high, downtrack.Packet{Number: 9, Start: true, Framed: true, Frame: 700})
	require.Equal(t, uint16(2), s.Frame(700))
	require.Equal(t, uint16(4), s.Frame(702))
}

func TestStreamClosesUpBehindWhatIsSkipped(t *testing.T) {
	s := downtrack.New(90_000)
	s.Switch(low)
	packet := func(n int) *downtrack.Packet {
		return &downtrack.Packet{
			Number: int64(65530 + n), Timestamp: uint32(3000 * n), Start: true,
			Numbered: true, Consecutive: true, PictureID: uint16(0x7ffb+n) & 0x7fff,
		}
	}
	number := func(n int) (sequence, picture uint16) { return uint16(65530 + n), uint16(0x7ffb+n) & 0x7fff }
	passes := func(n, as int) {
		t.Helper()
		out, ok := s.Forward(low, packet(n))
		require.True(t, ok)
		sequence, picture := number(as)
		require.Equal(t, sequence, out.Sequence)
		require.Equal(t, picture, out.PictureID)
	}
	skips := func(n int) {
		t.Helper()
		_, late := s.Skip(low, packet(n))
		require.False(t, late)
	}
	upTo(t, s, 65530)
	passes(0, 0)
	skips(1)
	skips(3)
	skips(3)
	passes(2, 1)
	passes(4, 2)
	skips(5)
	passes(8, 5) // 6 and 7 are lost
	kept, late := s.Skip(low, packet(6))
	require.True(t, late, "its number would be a hole")
	sequence, _ := number(3)
	require.Equal(t, sequence, kept.Sequence)
	passes(7, 4)
	_, ok := s.Forward(low, packet(5))
	require.False(t, ok, "it has no number")
	_, late = s.Skip(high, packet(9))
	require.False(t, late, "of another source")
	s.Switch(high)
	out := forward(t, s, high, downtrack.Packet{Number: 3, Start: true, Numbered: true, PictureID: 3})
	sequence, picture := number(6)
	require.Equal(t, sequence, out.Sequence)
	require.Equal(t, picture, out.PictureID)
	require.Equal(t, sequence+2, forward(t, s, high, downtrack.Packet{Number: 5}).Sequence, "gaps of another source stay")
}

// TestStreamGivesNoNumbersToWhatIsSkipped is about a source of which nothing goes out, for as long as that takes.
func TestStreamGivesNoNumbersToWhatIsSkipped(t *testing.T) {
	s := downtrack.New(90_000)
	s.Switch(low)
	require.Equal(t, uint16(9), forward(t, s, low, downtrack.Packet{Number: 9, Start: true}).Sequence)
	s.Switch(high)
	for _, number := range []int64{500, 502, 501, 503} {
		_, late := s.Skip(high, &downtrack.Packet{Number: number, Start: number == 500})
		require.False(t, late, "nothing has gone out behind it")
	}
	require.Equal(t, high, s.Current())
	require.Equal(t, uint16(10), forward(t, s, high, downtrack.Packet{Number: 504}).Sequence)
	s.Switch(low)
	_, late := s.Skip(low, &downtrack.Packet{Number: 20})
	require.False(t, late)
	require.Equal(t, high, s.Current(), "nothing begins there")
}

func TestHistoryDescribes(t *testing.T) {
	h := downtrack.NewHistory(256)
	require.Zero(t, h.Described(7))
	h.Describe(7, downtrack.Frame{Number: 9})
	require.Equal(t, uint16(9), h.Described(7).Number)
}

func TestStreamAlignsOnCaptureTime(t *testing.T) {
	s := downtrack.New(90_000)
	s.Switch(low)
	forward(t, s, low, downtrack.Packet{Timestamp: 9000, Start: true, Capture: time.Second, CaptureClock: "p"})
	s.Switch(high)
	out := forward(t, s, high, downtrack.Packet{
		Timestamp: 5, Start: true, Arrival: time.Minute, Capture: time.Second + 100*time.Millisecond, CaptureClock: "p",
	})
	require.Equal(t, uint32(18000), out.Timestamp, "the same clock: captures count")
	s.Switch(low)
	out = forward(t, s, low, downtrack.Packet{
		Timestamp: 5, Start: true, Arrival: time.Minute + 10*time.Millisecond, Capture: time.Hour, CaptureClock: "q",
	})
	require.Equal(t, uint32(18900), out.Timestamp, "another clock: arrivals count")
	s.Switch(high)
	out = forward(t, s, high, downtrack.Packet{Timestamp: 5, Start: true})
	require.Equal(t, uint32(18901), out.Timestamp, "never the same timestamp twice")
	s.Switch(low)
	forward(t, s, low, downtrack.Packet{Start: true, Arrival: time.Hour, Capture: time.Hour, CaptureClock: "p"})
	before := s.Last().Timestamp
	s.Switch(high)
	out = forward(t, s, high, downtrack.Packet{
		Start: true, Arrival: time.Hour + 100*time.Millisecond, Capture: 24 * time.Hour, CaptureClock: "p",
	})
	require.Equal(t, before+9000, out.Timestamp, "a clock that was set in between")
}

func TestStreamStop(t *testing.T) {
	s := downtrack.New(48_000)
	s.Switch(low)
	forward(t, s, low, downtrack.Packet{Number: 10, Start: true})
	s.Switch(high)
	s.Switch(low)
	require.Zero(t, s.Pending(), "back to the current source")
	s.Stop()
	_, ok := s.Forward(low, &downtrack.Packet{Number: 21, Start: true})
	require.False(t, ok)
	require.Zero(t, s.Current())
}

func TestHistory(t *testing.T) {
	h := downtrack.NewHistory(256)
	_, ok := h.Lookup(0)
	require.False(t, ok, "empty")
	h.Record(downtrack.Sent{Source: low, Number: 7, Out: downtrack.Rewritten{Sequence: 1000}})
	sent, ok := h.Lookup(1000)
	require.True(t, ok)
	require.Equal(t, int64(7), sent.Number)
	_, ok = h.Lookup(1000 + 256)
	require.False(t, ok)
	h.Record(downtrack.Sent{Source: low, Number: 8, Out: downtrack.Rewritten{Sequence: 1000 + 256}})
	_, ok = h.Lookup(1000)
	require.False(t, ok, "overwritten")

	next := downtrack.Sent{Source: low, Number: 9, Transport: 11, Out: downtrack.Rewritten{Sequence: 1257, PictureID: 5, TL0: 3}}
	h.Record(next)
	sent, ok = h.Lookup(1257)
	require.True(t, ok)
	require.Equal(t, next, sent)
	_, ok = h.Lookup(1256)
	require.True(t, ok, "beside it")
	next.Source, next.Out.Sequence = high, 1258
	h.Record(next)
	_, ok = h.Lookup(1257)
	require.False(t, ok, "of another source")
	h.Forget()
	_, ok = h.Lookup(1258)
	require.False(t, ok, "forgotten")
}

func TestStreamMendsJumps(t *testing.T) {
	at := func(ms int) time.Duration { return time.Duration(ms) * time.Millisecond }
	start := func() *downtrack.Stream {
		s := downtrack.New(90_000)
		s.Switch(low)
		forward(t, s, low, downtrack.Packet{Number: 100, Timestamp: 9000, Start: true})
		return s
	}
	tests := map[string]struct {
		packet downtrack.Packet
		want   downtrack.Rewritten
	}{
		"as usual": {
			downtrack.Packet{Number: 101, Timestamp: 12000, Arrival: at(33)},
			downtrack.Rewritten{Sequence: 101, Timestamp: 12000},
		},
		"many lost": {
			downtrack.Packet{Number: 4100, Timestamp: 99000, Arrival: at(1000)},
			downtrack.Rewritten{Sequence: 4100, Timestamp: 99000},
		},
		"numbers jump": {
			downtrack.Packet{Number: 20_100, Timestamp: 12000, Arrival: at(33)},
			downtrack.Rewritten{Sequence: 102, Timestamp: 12000},
		},
		"time jumps": {
			downtrack.Packet{Number: 101, Timestamp: 1 << 30, Arrival: at(100)},
			downtrack.Rewritten{Sequence: 101, Timestamp: 18000},
		},
		"time runs back": {
			downtrack.Packet{Number: 101, Timestamp: 3 << 30, Arrival: at(100)},
			downtrack.Rewritten{Sequence: 101, Timestamp: 18000},
		},
		"both, and no time since": {
			downtrack.Packet{Number: 30_000, Timestamp: 1 << 30},
			downtrack.Rewritten{Sequence: 102, Timestamp: 9001},
		},
		"a still screen": {
			downtrack.Packet{Number: 101, Timestamp: 9000 + 60*90_000, Arrival: time.Minute},
			downtrack.Rewritten{Sequence: 101, Timestamp: 9000 + 60*90_000},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.want, forward(t, start(), low, test.packet))
		})
	}
	s := start()
	forward(t, s, low, downtrack.Packet{Number: 20_000, Timestamp: 12000})
	_, ok := s.Forward(low, &downtrack.Packet{Number: 19_999, Timestamp: 12000})
	require.False(t, ok, "its number would be taken")
	next := forward(t, s, low, downtrack.Packet{Number: 20_001, Timestamp: 15000})
	require.Equal(t, downtrack.Rewritten{Sequence: 103, Timestamp: 15000}, next)
}

func TestStreamMendsJumpsOfWhatIsSkipped(t *testing.T) {
	s := downtrack.New(90_000)
	s.Switch(low)
	sent := forward(t, s, low, downtrack.Packet{Number: 100, Start: true}).Sequence
	number := int64(100)
	for range 20 {
		number += 4000
		_, late := s.Skip(low, &downtrack.Packet{Number: number})
		require.False(t, late)
	}
	require.LessOrEqual(t, forward(t, s, low, downtrack.Packet{Number: number + 1}).Sequence-sent, uint16(4096))
}

// FuzzContinuation plays any packets, with any numbers, and switches, and checks that whatever goes out
// continues what went out: newer packets follow closely and not too far in the future, late ones are late by
// what a receiver bears, and no number goes out for two packets.
func FuzzContinuation(f *testing.F) {
	f.Add([]byte{0x10, 0, 0, 0, 0x1f, 0, 1, 1, 0x1f, 0, 2, 2, 0x20, 0, 0, 0, 0x2f, 0x80, 0, 9, 0x2f, 0x80, 1, 10})
	f.Add([]byte{0x10, 0, 0, 0, 0x1f, 0, 1, 1, 0x13, 0, 2, 1, 0x17, 0, 3, 1, 0x13, 0, 6, 1, 0x17, 0, 9, 1, 0x13, 0, 8, 1, 0x17, 0, 7, 1, 0})
	f.Add([]byte{0x10, 0, 0, 0, 0x1f, 0, 1, 1, 0x17, 0x70, 0, 255, 0x17, 0, 1, 0, 0x17, 0xff, 0xff, 128})
	f.Add([]byte("0000000000008\xd7001\xdc007\xea000"))
	f.Fuzz(func(t *testing.T, script []byte) {
		s := downtrack.New(90_000)
		skips := len(script)%2 == 1
		type origin struct {
			from   downtrack.Source
			number int64
		}
		var newest [4]int64
		sent := map[uint16]origin{}
		var order []uint16
		var highest downtrack.Rewritten
		var arrival time.Duration
		started := false
		for ; len(script) >= 4; script = script[4:] {
			from := downtrack.Source(script[0]>>4) & 3
			if script[0]&0xf == 0 {
				s.Switch(from)
				continue
			}
			arrival += time.Duration(script[0]&3) * 20 * time.Millisecond
			number := newest[from] + int64(int16(uint16(script[1])<<8|uint16(script[2])-uint16(newest[from])))
			newest[from] = max(newest[from], number)
			p := downtrack.Packet{
				Number: number, Timestamp: uint32(script[3]) << 24, Start: script[0]&8 != 0, Arrival: arrival, Numbered: true,
			}
			var out downtrack.Rewritten
			var ok bool
			if script[0]&4 == 0 && skips {
				out, ok = s.Skip(from, &p)
			} else {
				out, ok = s.Forward(from, &p)
			}
			if !ok {
				continue
			}
			if before, taken := sent[out.Sequence]; taken {
				now := origin{from, p.Number}
				require.Equal(t, before, now, "one number for two packets")
			}
			ahead := int16(out.Sequence - highest.Sequence)
			if started && ahead > 0 {
				require.LessOrEqual(t, ahead, int16(4096))
				require.InDelta(t, 0, int32(out.Timestamp-highest.Timestamp), (11+arrival.Seconds())*90_000)
			}
			require.True(t, !started || ahead > -1024, "too late")
			if !started || ahead > 0 {
				highest = out
			}
			started = true
			if sent[out.Sequence] = (origin{from, p.Number}); len(order) > 4000 { // a cycle of numbers begins anew
				delete(sent, order[0])
				order = order[1:]
			}
			order = append(order, out.Sequence)
		}
	})
}

// FuzzStream plays any packets and switches and checks that the output stays one valid stream: over a
// switch the sequence number grows by exactly one and the timestamp grows; between switches distances
// within the source are kept.
func FuzzStream(f *testing.F) {
	f.Add([]byte{0x01, 0x10, 0x12, 0x02, 0x20, 0x23})
	f.Add([]byte{0x01, 0x1f, 0x02, 0x2f, 0x01, 0x11})
	f.Fuzz(func(t *testing.T, script []byte) {
		s := downtrack.New(90_000)
		number := [4]int64{0, 65530, 30000, 5}
		var arrival time.Duration
		var highest, lastOut downtrack.Rewritten
		var lastIn downtrack.Packet
		var lastFrom downtrack.Source
		for i, b := range script {
			from := downtrack.Source(b>>4) & 3
			if from == 0 {
				s.Switch(downtrack.Source(b) & 3)
				continue
			}
			if b&3 == 0 {
				continue // the ring refuses a packet that came already
			}
			arrival += time.Duration(b&3) * 10 * time.Millisecond
			number[from] += int64(b & 3)
			p := downtrack.Packet{
				Number: number[from], Timestamp: uint32(i) * uint32(from) * 3000, Start: b&8 != 0, Arrival: arrival,
				Numbered: true, PictureID: uint16(i) & 0x7fff,
			}
			before := s.Current()
			out, ok := s.Forward(from, &p)
			if !ok {
				continue
			}
			switch {
			case before != from && lastFrom != 0:
				require.Equal(t, highest.Sequence+1, out.Sequence)
				require.Positive(t, int32(out.Timestamp-highest.Timestamp))
				require.Equal(t, (highest.PictureID+1)&0x7fff, out.PictureID)
			case before == from && lastFrom == from:
				require.Equal(t, uint16(p.Number-lastIn.Number), out.Sequence-lastOut.Sequence)
				require.Equal(t, p.Timestamp-lastIn.Timestamp, out.Timestamp-lastOut.Timestamp)
			}
			if lastFrom == 0 || before != from || int16(out.Sequence-highest.Sequence) >= 0 {
				highest = out
			}
			lastOut, lastIn, lastFrom = out, p, from
		}
	})
}
