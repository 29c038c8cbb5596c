package reception_test

import (
	"slices"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/wardline/wardline/edge/sfu/reception"
)

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

func TestReport(t *testing.T) {
	s := reception.Statistics{ClockRate: 90_000}
	_, ok := s.Report(7, 0)
	require.False(t, ok, "nothing came")
	for i := range 100 {
		if i%10 != 3 {
			s.Received(uint16(65_500+i), uint32(i*900), ms(10*i+5))
		}
	}
	report, ok := s.Report(7, time.Second)
	require.True(t, ok)
	require.Equal(t, rtcp.ReceptionReport{
		SSRC: 7, FractionLost: 25, TotalLost: 10, LastSequenceNumber: 1<<16 + 63,
	}, report, "a tenth of 256, over a wrap, without jitter")
	s.Reported(0x0102030405060708, time.Second)
	s.Received(64, 90_000, ms(1045)) // 40 ms late
	report, _ = s.Report(7, ms(1500))
	require.Zero(t, report.FractionLost, "since the last report")
	require.Equal(t, uint32(10), report.TotalLost)
	require.Equal(t, uint32(40*90/16), report.Jitter)
	require.Equal(t, uint32(0x03040506), report.LastSenderReport)
	require.Equal(t, uint32(65536/2), report.Delay)
}

func TestAStreamThatJumpsBeginsAnew(t *testing.T) {
	s := reception.Statistics{ClockRate: 48_000}
	s.Received(1, 0, 0)
	s.Received(30_000, 0, ms(20))
	report, _ := s.Report(1, ms(20))
	require.Zero(t, report.TotalLost)
	require.Equal(t, uint32(30_000), report.LastSequenceNumber)
	require.Zero(t, report.Jitter)
}

// due is what is asked for at that many milliseconds.
func due(m *reception.Missing, now int) []rtcp.NackPair {
	pairs, _ := m.Due(ms(now), nil)
	return pairs
}

func TestWhatIsMissingIsAskedFor(t *testing.T) {
	var m reception.Missing
	for _, sequence := range []uint16{65_533, 65_535, 1, 20} {
		m.Received(sequence, 0)
	}
	require.Empty(t, due(&m, 9), "it may only be late")
	pairs := due(&m, 10)
	var asked []uint16
	for _, p := range pairs {
		asked = append(asked, p.PacketList()...)
	}
	require.Equal(t, []uint16{65_534, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19}, asked)
	require.Len(t, pairs, 2, "packed")
	require.Empty(t, due(&m, 100), "an answer takes its time")
	m.Received(65_534, ms(40))
	for sequence := range uint16(18) {
		m.Received(sequence+2, ms(40))
	}
	require.Empty(t, due(&m, 46))
	require.Equal(t, []rtcp.NackPair{{PacketID: 0}}, due(&m, 48), "after a quarter more than it took for the others")
}

func TestNobodyIsAskedForEver(t *testing.T) {
	var m reception.Missing
	m.Received(1, 0)
	m.Received(3, 0)
	asked := 0
	for now := range 3000 {
		asked += len(due(&m, now))
	}
	require.Equal(t, 8, asked)
	m.Received(5, ms(3000))
	require.Empty(t, due(&m, 4001), "too late")
	m.Received(1000, ms(4001))
	require.Empty(t, due(&m, 5000), "so many are no loss of packets")
}

func TestWhatIsLostForGoodIsTold(t *testing.T) {
	type arrival struct {
		sequence uint16
		ms       int
	}
	const keyFrame = 7 // every packet of that number starts one
	for name, c := range map[string]struct {
		came []arrival
		lost int // when it is told, in ms; -1 if it is not
	}{
		"nothing":                              {[]arrival{{1, 0}, {2, 20}, {3, 3000}}, -1},
		"a few, asked for in vain":             {[]arrival{{1, 0}, {3, 20}}, 830},
		"a few, and they come":                 {[]arrival{{1, 0}, {4, 20}, {2, 90}, {3, 90}}, -1},
		"more than are asked for":              {[]arrival{{1, 0}, {259, 20}}, 20},
		"more than are asked for, by and by":   {[]arrival{{1, 0}, {200, 20}, {300, 30}}, 30},
		"many, while there was no network":     {[]arrival{{1, 0}, {18, 1001}}, 1001},
		"nothing, though there was no network": {[]arrival{{1, 0}, {2, 9000}}, -1},
		"the end of a picture that stood long": {[]arrival{{1, 0}, {3, 5000}, {2, 5100}}, -1},
		"the sender begins anew":               {[]arrival{{9000, 0}, {1, 20}}, 20},
		"a few, before a key frame":            {[]arrival{{1, 0}, {3, 20}, {keyFrame, 40}, {4, 60}, {5, 60}, {6, 60}}, -1},
		"a few, behind a key frame":            {[]arrival{{keyFrame, 0}, {9, 20}}, 830},
	} {
		t.Run(name, func(t *testing.T) {
			var m reception.Missing
			told := -1
			for now := range 10_000 {
				lost := false
				for _, each := range c.came {
					if each.ms != now {
						continue
					}
					lost = m.Received(each.sequence, ms(now))
					if each.sequence == keyFrame {
						m.Started(keyFrame)
					}
				}
				if _, inVain := m.Due(ms(now), nil); lost || inVain {
					require.Negative(t, told, "once")
					told = now
				}
			}
			require.Equal(t, c.lost, told)
		})
	}
}

// TestAPathThatGotLongerIsWaitedFor has answers take 20 ms, and then 300 ms: behind a queue of the sender's, say.
func TestAPathThatGotLongerIsWaitedFor(t *testing.T) {
	var m reception.Missing
	sequence, now := uint16(1), 0
	m.Received(sequence, 0)
	repaired := func(after int) (asked int) { // a packet is lost and is there that long after it was asked for first
		m.Received(sequence+2, ms(now))
		for from := now + 10; now < from+after; now++ {
			pairs, lost := m.Due(ms(now), nil)
			require.False(t, lost, "its repair is on its way")
			asked += len(pairs)
		}
		m.Received(sequence+1, ms(now))
		sequence += 2
		return asked
	}
	for range 20 {
		require.LessOrEqual(t, repaired(20), 4)
	}
	for range 30 {
		require.LessOrEqual(t, repaired(300), 6)
	}
	for range 10 {
		require.LessOrEqual(t, repaired(300), 2, "it is known by now")
	}
	for range 60 {
		repaired(20)
	}
	require.Equal(t, 1, repaired(20))
	require.LessOrEqual(t, repaired(300), 8)
}

func TestTheEndOfAPictureIsAskedFor(t *testing.T) {
	var m reception.Missing
	asked := func(until int) (asked [][]uint16) {
		for now := range until {
			if pairs := due(&m, now); len(pairs) > 0 {
				require.Len(t, pairs, 1)
				asked = append(asked, pairs[0].PacketList())
			}
		}
		return asked
	}
	m.Received(65_534, 0)
	require.Empty(t, asked(2000), "it may be that ends are not seen")
	m.Ended(65_534)
	require.Empty(t, asked(2000))
	m.Received(65_535, ms(2000))
	require.Equal(t, slices.Repeat([][]uint16{{0, 1, 2, 3}}, 3), asked(9000), "not for ever")
	m.Received(1, ms(9010))
	m.Ended(1)
	require.Equal(t, [][]uint16{{0}}, asked(9050), "the end came, and something else is missing")
}

func TestOnlyWhatIsMissingIsAskedFor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m reception.Missing
		var got [1 << 16]bool
		sequence, now := rapid.Uint16().Draw(t, "first"), 0
		m.Received(sequence, 0)
		got[sequence] = true
		for range rapid.IntRange(1, 100).Draw(t, "packets") {
			next := sequence + uint16(rapid.IntRange(-20, 40).Draw(t, "step"))
			now += rapid.IntRange(0, 30).Draw(t, "ms")
			m.Received(next, ms(now))
			got[next] = true
			if int16(next-sequence) > 0 {
				sequence = next
			}
			count := 0
			for _, pair := range due(&m, now) {
				for _, asked := range pair.PacketList() {
					require.False(t, got[asked], "%d came", asked)
					require.Positive(t, int16(sequence-asked))
					count++
				}
			}
			require.LessOrEqual(t, count, 256)
		}
	})
}
