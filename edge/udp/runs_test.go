package udp

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func packetsOf(sizes []int, to ...string) []*packet {
	packets := make([]*packet, len(sizes))
	for i, size := range sizes {
		packets[i] = &packet{data: make([]byte, size), to: netip.MustParseAddrPort(to[i%len(to)])}
	}
	return packets
}

// lengths are the sizes of the planned runs' packets.
func lengths(r *runs, packets []*packet) [][]int {
	var all [][]int
	for _, each := range r.list {
		var run []int
		for i := each.first; i >= 0; i = r.next[i] {
			run = append(run, len(packets[i].data))
		}
		all = append(all, run)
	}
	return all
}

func TestRuns(t *testing.T) {
	const a, b = "127.0.0.1:1", "[::1]:2"
	for name, c := range map[string]struct {
		sizes  []int
		to     []string
		limit  int
		wanted [][]int
	}{
		"equal sizes":            {[]int{9, 9, 9}, []string{a}, noSegments, [][]int{{9, 9, 9}}},
		"a shorter one ends it":  {[]int{9, 9, 5, 5}, []string{a}, noSegments, [][]int{{9, 9, 5}, {5}}},
		"a longer one is next":   {[]int{9, 10, 10}, []string{a}, noSegments, [][]int{{9}, {10, 10}}},
		"peers apart":            {[]int{9, 8, 9, 8}, []string{a, b}, noSegments, [][]int{{9, 9}, {8, 8}}},
		"empty ones alone":       {[]int{9, 0, 0}, []string{a}, noSegments, [][]int{{9}, {0}, {0}}},
		"not offered":            {[]int{9, 9}, []string{a}, 0, [][]int{{9}, {9}}},
		"limited":                {[]int{9, 9, 8, 8}, []string{a}, 9, [][]int{{9}, {9}, {8, 8}}},
		"longer than a fragment": {[]int{1473, 1473}, []string{a}, noSegments, [][]int{{1473}, {1473}}},
	} {
		t.Run(name, func(t *testing.T) {
			var r runs
			packets := packetsOf(c.sizes, c.to...)
			for range 3 { // memory is used again
				r.plan(packets, c.limit)
				require.Equal(t, c.wanted, lengths(&r, packets))
			}
		})
	}
	t.Run("classes apart", func(t *testing.T) {
		var r runs
		packets := packetsOf([]int{9, 9, 9}, a)
		packets[1].class = Audio
		r.plan(packets, noSegments)
		require.Len(t, r.list, 3)
	})
	t.Run("not too long", func(t *testing.T) {
		var r runs
		r.plan(packetsOf(make1(100, 1472), a), noSegments)
		require.Equal(t, maxRunBytes/1472, r.list[0].count)
		r.plan(packetsOf(make1(100, 10), a), noSegments)
		require.Equal(t, maxSegments, r.list[0].count)
	})
	t.Run("rounds wrap", func(t *testing.T) {
		r := runs{round: ^uint32(0), table: make([]tableSlot, 64)}
		packets := packetsOf([]int{9, 9}, a)
		r.plan(packets, noSegments)
		require.Equal(t, [][]int{{9, 9}}, lengths(&r, packets))
	})
}

func make1(count, size int) []int {
	sizes := make([]int, count)
	for i := range sizes {
		sizes[i] = size
	}
	return sizes
}

// FuzzRuns checks that a plan has every packet once, in order for its peer, in runs that can be cut again.
func FuzzRuns(f *testing.F) {
	f.Add([]byte{0x11, 0x11, 0x21, 0x12, 0x11}, uint16(1500))
	f.Add([]byte{0x00, 0x01, 0xff, 0xfe, 0xff}, uint16(0))
	f.Fuzz(func(t *testing.T, script []byte, limit uint16) {
		script = script[:min(len(script), maxBatch)]
		packets := make([]*packet, len(script))
		for i, b := range script {
			packets[i] = &packet{
				data: make([]byte, int(b&7)*210), class: Class(b >> 3 & 1),
				to: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, b >> 6}), uint16(b>>4&3)+1),
			}
		}
		var r runs
		r.plan(packets, int(limit))
		seen := make([]bool, len(packets))
		latest := map[netip.AddrPort]int32{}
		for _, each := range r.list {
			count, bytes := 0, 0
			for i := each.first; i >= 0; i = r.next[i] {
				p := packets[i]
				require.False(t, seen[i])
				seen[i] = true
				require.Equal(t, each.to, p.to)
				require.Equal(t, each.class, p.class)
				if before, ok := latest[p.to]; ok {
					require.Less(t, before, i, "order of a peer")
				}
				latest[p.to] = i
				if i == each.last {
					require.LessOrEqual(t, len(p.data), each.segment)
				} else {
					require.Len(t, p.data, each.segment)
				}
				count++
				bytes += len(p.data)
			}
			require.Equal(t, each.count, count)
			require.Equal(t, each.bytes, bytes)
			if count > 1 {
				require.Less(t, each.segment, int(limit))
			}
		}
		for i := range seen {
			require.True(t, seen[i], "packet %d", i)
		}
	})
}
