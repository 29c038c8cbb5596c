package packetring_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/wardline/wardline/edge/sfu/packetring"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRingReturnsWhatItHolds(t *testing.T) {
	r := packetring.New(8)
	for s := uint16(65530); s != 4; s++ {
		require.True(t, r.Put(s, []byte{byte(s)}))
	}
	for s := uint16(65532); s != 4; s++ {
		got, ok := r.Get(s, nil)
		require.True(t, ok, "sequence %d", s)
		require.Equal(t, []byte{byte(s)}, got)
	}
	_, ok := r.Get(65531, nil)
	require.False(t, ok, "overwritten")
	_, ok = r.Get(4, nil)
	require.False(t, ok, "not yet received")
}

func TestRingRefusesRepetitions(t *testing.T) {
	r := packetring.New(8)
	require.True(t, r.Put(100, []byte("a")))
	require.False(t, r.Put(100, []byte("b")), "duplicate")
	require.True(t, r.Put(110, []byte("c")))
	require.False(t, r.Put(100, []byte("d")), "older than the ring")
	require.True(t, r.Put(105, []byte("e")), "late but within the ring")
	require.True(t, r.Put(106, nil))
	_, ok := r.Get(100, nil)
	require.False(t, ok)
}

func TestRingPacketBeforeTheFirst(t *testing.T) {
	r := packetring.New(8)
	require.True(t, r.Put(1, []byte("one")))
	require.True(t, r.Put(65535, []byte("before")))
	got, ok := r.Get(65535, nil)
	require.True(t, ok)
	require.Equal(t, "before", string(got))
}

func TestRingNeverReturnsAnotherPacket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := packetring.New(16)
		sequence := rapid.Uint16().Draw(t, "first")
		for range rapid.IntRange(1, 200).Draw(t, "packets") {
			sequence += uint16(rapid.IntRange(-20, 40).Draw(t, "step"))
			r.Put(sequence, []byte{byte(sequence >> 8), byte(sequence)})
			asked := sequence + uint16(rapid.IntRange(-40, 40).Draw(t, "asked"))
			if got, ok := r.Get(asked, nil); ok {
				require.Equal(t, []byte{byte(asked >> 8), byte(asked)}, got)
			}
		}
	})
}
