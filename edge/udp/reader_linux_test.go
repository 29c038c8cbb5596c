package udp

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestArrivalIsBeforeReading has a datagram wait: how long it did is the system's to say.
func TestArrivalIsBeforeReading(t *testing.T) {
	from, to := plain(t, "127.0.0.1:0"), plain(t, "127.0.0.1:0")
	reader, err := NewReader(to)
	require.NoError(t, err)
	_, err = from.WriteToUDPAddrPort([]byte("early"), addressOf(to))
	require.NoError(t, err)
	sent := time.Now()
	<-time.After(30 * time.Millisecond)
	require.NoError(t, reader.Read(func(batch []Arrival) bool {
		require.Len(t, batch, 1)
		require.True(t, batch[0].At.Before(sent.Add(20*time.Millisecond)))
		return false
	}))
}

func TestWhatControlMessagesSay(t *testing.T) {
	now := time.Now()
	require.Zero(t, waited(nil, now))
	require.Zero(t, waited(make([]byte, 7), now))
	require.Zero(t, waited(make([]byte, controlRoom), now), "of no length")
}
