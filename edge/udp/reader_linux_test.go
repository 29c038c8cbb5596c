package udp

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestArrivalIsBeforeReading has datagrams wait: how long they did is the system's to say, which begins to note it some time
// after the first socket asks.
func TestArrivalIsBeforeReading(t *testing.T) {
	from, to := plain(t, "127.0.0.1:0"), plain(t, "127.0.0.1:0")
	reader, err := NewReader(to)
	require.NoError(t, err)
	const wait = 30 * time.Millisecond
	require.Eventually(t, func() bool {
		_, err := from.WriteToUDPAddrPort([]byte("early"), addressOf(to))
		sent := time.Now()
		require.NoError(t, err)
		<-time.After(wait)
		var at time.Time
		require.NoError(t, reader.Read(func(batch []Arrival) bool {
			require.Len(t, batch, 1)
			at = batch[0].At
			return false
		}))
		return at.Before(sent.Add(wait))
	}, 10*time.Second, time.Millisecond)
}

func TestWhatControlMessagesSay(t *testing.T) {
	now := time.Now()
	require.Zero(t, waited(nil, now))
	require.Zero(t, waited(make([]byte, 7), now))
	require.Zero(t, waited(make([]byte, controlRoom), now), "of no length")
}
