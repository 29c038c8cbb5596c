package udp

import (
	"bytes"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatIsAddedToABatchLeavesWhenTheHandlerReturns(t *testing.T) {
	eachTwin(t, func(t *testing.T, open opener) {
		t.Helper()
		c := openConn(t, "127.0.0.1:0", Config{}, open)
		peer, other := plain(t, "127.0.0.1:0"), plain(t, "127.0.0.1:0")
		done := make(chan error, 1)
		go func() {
			done <- c.Receive(func(received []Datagram, out *Batch) {
				for _, d := range received {
					_ = out.Add(append(append(out.Room(), "built "...), d.Payload...), addressOf(other), Video)
					_ = out.Add(d.Payload, d.Peer, Audio)
				}
			})
		}()
		for i := range 50 {
			_, err := peer.WriteToUDPAddrPort(payload(i, 1000+i), c.LocalAddr())
			require.NoError(t, err)
		}
		echoed, built := read(t, peer, 50), read(t, other, 50)
		for i := range 50 {
			require.Equal(t, payload(i, 1000+i), echoed[i])
			require.Equal(t, "built "+string(payload(i, 1000+i)), string(built[i]))
		}
		require.Zero(t, c.Stats().Refused)
		require.NoError(t, c.Close())
		require.NoError(t, <-done)
	})
}

func TestABatchTakesLongAndManyDatagrams(t *testing.T) {
	eachTwin(t, func(t *testing.T, open opener) {
		t.Helper()
		c := openConn(t, "127.0.0.1:0", Config{}, open)
		defer func() { require.NoError(t, c.Close()) }()
		peer := plain(t, "127.0.0.1:0")
		b := c.NewBatch()
		for round := range 2 {
			require.NoError(t, b.Add(payload(round, 9000), addressOf(peer), Other))
			require.NoError(t, b.Add(nil, addressOf(peer), Other))
			require.ErrorIs(t, b.Add(make([]byte, MaxPayload+1), addressOf(peer), Other), ErrPayload)
			b.Flush()
			b.Flush()
			got := read(t, peer, 2)
			require.Equal(t, payload(round, 9000), got[0])
			require.Empty(t, got[1])
		}
		for i := range maxBatch {
			require.NoError(t, b.Add(payload(i, 20), addressOf(peer), Other))
		}
		require.Len(t, read(t, peer, maxBatch), maxBatch, "sent without Flush")
	})
}

// slow is a socket with room for one packet at a time.
type slow struct {
	portable
	mu    sync.Mutex
	sent  [][]byte
	waits chan struct{} // each value lets one waiting send go on
}

// open is an opener.
func (s *slow) open(*net.UDPConn, Config, *counters) (socket, error) { return s, nil }

func (s *slow) send(packets []*packet, wait bool) []*packet {
	if !wait {
		s.take(packets[0])
		return packets[1:]
	}
	for _, p := range packets {
		<-s.waits
		s.take(p)
	}
	return nil
}

func (s *slow) take(p *packet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, bytes.Clone(p.data))
}

func TestABatchOvertakesNothing(t *testing.T) {
	socket := &slow{waits: make(chan struct{})}
	c := openConn(t, "127.0.0.1:0", Config{}, socket.open)
	to := c.LocalAddr()
	b := c.NewBatch()
	next := byte(0)
	add := func(count int) {
		for range count {
			require.NoError(t, b.Add([]byte{next}, to, Audio))
			next++
		}
		b.Flush()
	}
	add(3) // one leaves at once, the others wait
	add(2) // these behind them
	require.NoError(t, c.Send([]byte{next}, to, Audio))
	next++
	add(1)
	go func() {
		for range int(next) - 1 {
			socket.waits <- struct{}{}
		}
	}()
	require.NoError(t, c.Close(), "sends what waits")
	require.Len(t, socket.sent, int(next))
	for i, data := range socket.sent {
		require.Equal(t, []byte{byte(i)}, data)
	}
	b.Flush()
	add(1)
	require.Len(t, socket.sent, int(next)-1, "nothing more")
}

func TestAFullQueueDropsTheVideoOfABatch(t *testing.T) {
	socket := &slow{waits: make(chan struct{})}
	c := openConn(t, "127.0.0.1:0", Config{Queue: 16}, socket.open)
	b := c.NewBatch()
	for i := range 60 {
		class := Video
		if i%2 == 0 {
			class = Audio
		}
		require.NoError(t, b.Add([]byte{byte(i)}, c.LocalAddr(), class))
	}
	b.Flush()
	dropped := c.Stats().Dropped
	require.Positive(t, dropped[Video])
	require.Greater(t, dropped[Video], dropped[Audio])
	close(socket.waits)
	require.NoError(t, c.Close())
}
