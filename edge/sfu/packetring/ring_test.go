package packetring_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/wardline/wardline/edge/sfu/packetring"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRingReturnsWhatItHolds(t *testing.T) {
	r := packetring.New(8)
	var numbers []int64
	for s := uint16(65530); s != 4; s++ {
		number, ok := r.Put(s, []byte{byte(s)})
		require.True(t, ok)
		numbers = append(numbers, number)
	}
	for i, number := range numbers[2:] {
		require.Equal(t, numbers[0]+2+int64(i), number)
		got, ok := r.Get(number, nil)
		require.True(t, ok, "number %d", number)
		require.Equal(t, []byte{byte(65532 + i)}, got)
	}
	_, ok := r.Get(numbers[1], nil)
	require.False(t, ok, "overwritten")
	_, ok = r.Get(numbers[9]+1, nil)
	require.False(t, ok, "not yet received")
}

func TestRingRefusesRepetitions(t *testing.T) {
	r := packetring.New(8)
	first, ok := r.Put(100, []byte("a"))
	require.True(t, ok)
	for _, each := range []struct {
		sequence uint16
		fits     bool
		why      string
	}{
		{100, false, "duplicate"},
		{110, true, "newer"},
		{100, false, "older than the ring"},
		{105, true, "late but within the ring"},
		{106, true, "empty"},
	} {
		number, ok := r.Put(each.sequence, nil)
		require.Equal(t, each.fits, ok, each.why)
		require.Equal(t, first+int64(each.sequence)-100, number)
	}
	_, ok = r.Get(first, nil)
	require.False(t, ok)
}

func TestRingPacketBeforeTheFirst(t *testing.T) {
	r := packetring.New(8)
	first, ok := r.Put(1, []byte("one"))
	require.True(t, ok)
	before, ok := r.Put(65535, []byte("before"))
	require.True(t, ok)
	require.Equal(t, first-2, before)
	got, ok := r.Get(before, nil)
	require.True(t, ok)
	require.Equal(t, "before", string(got))
}

func TestRingNeverReturnsAnotherPacket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := packetring.New(16)
		sequence := rapid.Uint16().Draw(t, "first")
		packets := map[int64]string{}
		for i := range rapid.IntRange(1, 200).Draw(t, "packets") {
			sequence += uint16(rapid.SampledFrom([]int{-20, -1, 1, 2, 40, 30_000}).Draw(t, "step"))
			packet := fmt.Sprint(i)
			number, ok := r.Put(sequence, []byte(packet))
			require.Equal(t, sequence, uint16(number))
			if ok {
				require.NotContains(t, packets, number, "no two packets have one number")
				packets[number] = packet
			}
			asked := number + int64(rapid.IntRange(-40, 40).Draw(t, "asked"))
			if got, ok := r.Get(asked, nil); ok {
				require.Equal(t, packets[asked], string(got))
			}
		}
	})
}
