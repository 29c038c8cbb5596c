package bandwidth_test

import (
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/edge/sfu/bandwidth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// message is feedback as pion writes it: of packets base, base+1, ..., with a delta in units of 250 µs for
// each that arrived, negative for one that did not.
func message(tb testing.TB, base uint16, deltas ...int64) []byte {
	tb.Helper()
	m := rtcp.TransportLayerCC{
		Header:             rtcp.Header{Count: rtcp.FormatTCC, Type: rtcp.TypeTransportSpecificFeedback},
		BaseSequenceNumber: base, PacketStatusCount: uint16(len(deltas)), ReferenceTime: 16,
	}
	for len(deltas) > 0 {
		chunk := &rtcp.StatusVectorChunk{SymbolSize: rtcp.TypeTCCSymbolSizeTwoBit}
		for i := range 7 {
			symbol := rtcp.TypeTCCPacketNotReceived
			if i < len(deltas) && deltas[i] >= 0 {
				symbol = rtcp.TypeTCCPacketReceivedSmallDelta
				if deltas[i] > 255 {
					symbol = rtcp.TypeTCCPacketReceivedLargeDelta
				}
				m.RecvDeltas = append(m.RecvDeltas, &rtcp.RecvDelta{Type: symbol, Delta: deltas[i] * 250})
			}
			chunk.SymbolList = append(chunk.SymbolList, symbol)
		}
		m.PacketChunks = append(m.PacketChunks, chunk)
		deltas = deltas[min(7, len(deltas)):]
	}
	m.Header.Length = uint16(m.MarshalSize()/4 - 1)
	raw, err := m.Marshal()
	require.NoError(tb, err)
	return raw
}

func TestResults(t *testing.T) {
	var sent bandwidth.Sent
	for i := range 10 {
		require.Equal(t, uint16(i+1), sent.Add(time.Duration(i)*time.Millisecond, 100+i))
	}
	require.Equal(t, uint16(10), sent.Last())
	require.Equal(t, int64(1045), sent.Bytes())
	raw := message(t, 1, 4, -1, 400, 0)
	require.True(t, bandwidth.IsFeedback(raw))
	results, err := sent.Results(raw, 50*time.Millisecond, nil)
	require.NoError(t, err)
	const reference = 16 * 64 * time.Millisecond
	require.Equal(t, []bandwidth.Result{
		{Number: 1, Sent: 0, Arrived: reference + time.Millisecond, Size: 100},
		{Number: 2, Sent: time.Millisecond, Arrived: reference + time.Millisecond, Size: 101, Lost: true},
		{Number: 3, Sent: 2 * time.Millisecond, Arrived: reference + 101*time.Millisecond, Size: 102},
		{Number: 4, Sent: 3 * time.Millisecond, Arrived: reference + 101*time.Millisecond, Size: 103},
	}, results)

	results, err = sent.Results(message(t, 1, 4, 4, 400, 0), 60*time.Millisecond, nil)
	require.NoError(t, err)
	require.Len(t, results, 1, "what arrived counts once; what was late counts now")
	require.Equal(t, uint16(2), results[0].Number)
	require.False(t, results[0].Lost)

	results, err = sent.Results(message(t, 9, 1, 1, 1, 1), 60*time.Millisecond, nil)
	require.NoError(t, err)
	require.Len(t, results, 2, "of what was sent")
}

func TestResultsOfOldPackets(t *testing.T) {
	var sent bandwidth.Sent
	for i := range 70_000 {
		sent.Add(time.Duration(i)*time.Millisecond, 100)
	}
	results, err := sent.Results(message(t, sent.Last()-3000, 1, 1), 70*time.Second, nil)
	require.NoError(t, err)
	require.Empty(t, results)
	results, err = sent.Results(message(t, sent.Last()-1, 1, 1), 70*time.Second, nil)
	require.NoError(t, err)
	require.Len(t, results, 2)
	require.Equal(t, 69_998*time.Millisecond, results[0].Sent)
}

// TestResultsOfLongCalls has the times that are remembered go around, after 71 minutes and each time that long.
func TestResultsOfLongCalls(t *testing.T) {
	const around = (1 << 32) * time.Microsecond
	var sent bandwidth.Sent
	for _, began := range []time.Duration{around - 10*time.Millisecond, 10*around - time.Microsecond, 20 * around} {
		first := sent.Add(began, 100)
		sent.Add(began+30*time.Millisecond, 100)
		results, err := sent.Results(message(t, first, 1, 1), began+50*time.Millisecond, nil)
		require.NoError(t, err)
		require.Len(t, results, 2)
		require.Equal(t, began, results[0].Sent)
		require.Equal(t, began+30*time.Millisecond, results[1].Sent)
	}
}

// TestResultsOfMoreThanIsRemembered is about a receiver that was away while more was sent than is remembered.
func TestResultsOfMoreThanIsRemembered(t *testing.T) {
	const lost, each = 5000, time.Millisecond
	var sent bandwidth.Sent
	for i := range lost + 2 {
		sent.Add(time.Duration(i)*each, 100)
	}
	m := rtcp.TransportLayerCC{
		Header:             rtcp.Header{Count: rtcp.FormatTCC, Type: rtcp.TypeTransportSpecificFeedback},
		BaseSequenceNumber: 1, PacketStatusCount: lost + 2,
		PacketChunks: []rtcp.PacketStatusChunk{
			&rtcp.RunLengthChunk{PacketStatusSymbol: rtcp.TypeTCCPacketReceivedSmallDelta, RunLength: 1},
			&rtcp.RunLengthChunk{PacketStatusSymbol: rtcp.TypeTCCPacketNotReceived, RunLength: lost},
			&rtcp.RunLengthChunk{PacketStatusSymbol: rtcp.TypeTCCPacketReceivedLargeDelta, RunLength: 1},
		},
		RecvDeltas: []*rtcp.RecvDelta{
			{Type: rtcp.TypeTCCPacketReceivedSmallDelta}, {Type: rtcp.TypeTCCPacketReceivedLargeDelta, Delta: 5_000_000},
		},
	}
	m.Header.Length = uint16(m.MarshalSize()/4 - 1)
	raw, err := m.Marshal()
	require.NoError(t, err)
	now := (lost + 100) * each
	results, err := sent.Results(raw, now, nil)
	require.NoError(t, err)
	require.Len(t, results, 2048)
	require.Equal(t, bandwidth.Result{Number: lost + 2, Sent: (lost + 1) * each, Arrived: 5 * time.Second, Size: 100}, results[2047])
	require.True(t, results[2046].Lost)
	e := bandwidth.New(megabit, 50*kilobit, 20*megabit)
	e.Update(now, results)
	require.True(t, e.Interrupted())
}

func TestResultsRefusesNonsense(t *testing.T) {
	var sent bandwidth.Sent
	sent.Add(0, 100)
	whole := message(t, 1, 1, 1, 1)
	tests := map[string][]byte{
		"empty":             nil,
		"header only":       whole[:20],
		"deltas cut":        whole[:22],
		"of no packets":     append(append([]byte{}, whole[:14]...), 0, 0, 0, 0, 0, 0, 0, 0),
		"of 65535 packets":  append(append([]byte{}, whole[:14]...), 0xff, 0xff, 0, 0, 0, 0, 0x3f, 0xff),
		"an empty run":      append(append([]byte{}, whole[:14]...), 0, 1, 0, 0, 0, 0, 0x20, 0),
		"a reserved symbol": append(append([]byte{}, whole[:14]...), 0, 1, 0, 0, 0, 0, 0x60, 1),
	}
	for name, raw := range tests {
		t.Run(name, func(t *testing.T) {
			results, err := sent.Results(raw, time.Second, nil)
			require.Error(t, err)
			require.Empty(t, results)
		})
	}
	require.False(t, bandwidth.IsFeedback([]byte{0x8f}))
	require.False(t, bandwidth.IsFeedback([]byte{0x81, 205}))
}

// FuzzResults reads any message beside pion and expects the same arrivals.
func FuzzResults(f *testing.F) {
	f.Add(message(f, 1, 4, -1, 400, 0))
	f.Add(message(f, 65530, 1, 1, 1, 1, 1, 1, 1, 1, 1))
	f.Add([]byte{0x8f, 205, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 8, 0, 0, 1, 0, 0x20, 8, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Fuzz(func(t *testing.T, raw []byte) {
		var sent bandwidth.Sent
		for range 5000 {
			sent.Add(0, 1)
		}
		results, err := sent.Results(raw, time.Second, nil)
		if err != nil {
			require.Empty(t, results)
			return
		}
		require.LessOrEqual(t, len(results), 2048)
		var theirs rtcp.TransportLayerCC
		if !bandwidth.IsFeedback(raw) || theirs.Unmarshal(raw) != nil {
			return
		}
		at := time.Duration(int32(theirs.ReferenceTime<<8)>>8) * 64 * time.Millisecond
		arrivals := map[uint16]time.Duration{}
		number, delta := theirs.BaseSequenceNumber, 0
		for _, symbol := range symbols(&theirs) {
			if symbol != rtcp.TypeTCCPacketNotReceived && delta < len(theirs.RecvDeltas) {
				at += time.Duration(theirs.RecvDeltas[delta].Delta) * time.Microsecond
				delta++
				arrivals[number] = at
			}
			number++
		}
		for _, r := range results {
			arrived, ok := arrivals[r.Number]
			require.Equal(t, ok, !r.Lost, "number %d", r.Number)
			if ok {
				require.Equal(t, arrived, r.Arrived, "number %d", r.Number)
			}
		}
	})
}

func symbols(m *rtcp.TransportLayerCC) (all []uint16) {
	for _, chunk := range m.PacketChunks {
		switch c := chunk.(type) {
		case *rtcp.RunLengthChunk:
			for range c.RunLength {
				all = append(all, c.PacketStatusSymbol)
			}
		case *rtcp.StatusVectorChunk:
			all = append(all, c.SymbolList...)
		}
	}
	return all[:min(len(all), int(m.PacketStatusCount))]
}

// A receiver may say anything about its clock; what is remembered of it stays bounded.
func TestLyingReceiver(t *testing.T) {
	clocks := map[string]func(i int) time.Duration{
		"stands still": func(int) time.Duration { return time.Second },
		"runs back":    func(i int) time.Duration { return -time.Duration(i) * time.Second },
		"jumps":        func(i int) time.Duration { return time.Duration(i%7) * time.Hour },
		"races":        func(i int) time.Duration { return time.Duration(i) * time.Nanosecond },
	}
	for name, clock := range clocks {
		t.Run(name, func(t *testing.T) {
			e := bandwidth.New(megabit, 100*kilobit, 10*megabit)
			var r []bandwidth.Result
			for i := range 5_000 {
				now := time.Duration(i) * time.Millisecond
				r = append(r[:0], bandwidth.Result{Number: uint16(i), Sent: now, Arrived: clock(i), Size: 1200})
				e.Update(now, r)
				require.GreaterOrEqual(t, e.Rate(), 100*kilobit)
				require.LessOrEqual(t, e.Rate(), 10*megabit)
			}
		})
	}
}

func BenchmarkSent(b *testing.B) {
	var sent bandwidth.Sent
	b.ReportAllocs()
	for b.Loop() {
		sent.Add(time.Second, 1200)
	}
}

// BenchmarkFeedback is what a message about 20 packets costs, of which a subscriber sends ten a second.
func BenchmarkFeedback(b *testing.B) {
	var sent bandwidth.Sent
	e := bandwidth.New(1e6, 1e5, 1e7)
	deltas := make([]int64, 20)
	for i := range deltas {
		deltas[i] = 20
	}
	var results []bandwidth.Result
	now := time.Second
	raw := message(b, 0, deltas...)
	b.ReportAllocs()
	for b.Loop() {
		var first uint16
		for i := range deltas {
			now += 5 * time.Millisecond
			if number := sent.Add(now, 1200); i == 0 {
				first = number
			}
		}
		raw[12], raw[13] = byte(first>>8), byte(first)
		raw[17], raw[18] = byte(now/(64*time.Millisecond)>>8), byte(now/(64*time.Millisecond))
		results, _ = sent.Results(raw, now, results[:0])
		e.Update(now, results)
	}
}
