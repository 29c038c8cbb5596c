package udp

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// scripted is a socket that receives what it is told to, and notes what is sent together.
type scripted struct {
	script func(deliver func([]Datagram) time.Duration)
	calls  [][]string
}

// open is an opener.
func (s *scripted) open(*net.UDPConn, Config, *counters) (socket, error) { return s, nil }

func (s *scripted) source() source { return nil }

func (s *scripted) receive(deliver func([]Datagram) time.Duration) error {
	s.script(deliver)
	return nil
}

func (s *scripted) send(packets []*packet, _ bool) []*packet {
	var call []string
	for _, p := range packets {
		call = append(call, string(p.data))
	}
	s.calls = append(s.calls, call)
	return nil
}

// echo answers, and holds answers to what ends with a dash.
func echo(received []Datagram, out *Batch) {
	for _, d := range received {
		_ = out.Add(d.Payload, d.Peer, Video)
		if d.Payload[len(d.Payload)-1] == '-' {
			out.Hold()
		}
	}
}

func TestAHeldBatchLeavesWithWhatFollows(t *testing.T) {
	s := &scripted{}
	c := openConn(t, "127.0.0.1:0", Config{}, s.open)
	datagrams := func(payloads ...string) (of []Datagram) {
		for _, each := range payloads {
			of = append(of, Datagram{Payload: []byte(each), Peer: c.LocalAddr()})
		}
		return of
	}
	s.script = func(deliver func([]Datagram) time.Duration) {
		require.Zero(t, deliver(datagrams("alone")))
		more := deliver(datagrams("a-"))
		require.Positive(t, more)
		require.LessOrEqual(t, more, MaxHold)
		require.Zero(t, deliver(datagrams("b")), "the end of what was held for")
		require.Positive(t, deliver(datagrams("c-")))
		require.Zero(t, deliver(nil), "nothing followed in time")
		rounds := 0
		for deliver(datagrams("d-")) > 0 {
			rounds++ // until MaxHold is over
		}
		require.Positive(t, rounds)
		require.Positive(t, deliver(datagrams("e-")), "the next may be held as long")
		require.Zero(t, deliver(datagrams("f")))
		last := s.calls[3]
		require.Len(t, last, rounds+1, "all of it at once")
		s.calls[3] = nil
	}
	require.NoError(t, c.Receive(echo))
	require.Equal(t, [][]string{{"alone"}, {"a-", "b"}, {"c-"}, nil, {"e-", "f"}}, s.calls)
	require.NoError(t, c.Close())
}

func TestHoldingNothingWaitsForNothing(t *testing.T) {
	s := &scripted{}
	c := openConn(t, "127.0.0.1:0", Config{}, s.open)
	s.script = func(deliver func([]Datagram) time.Duration) {
		require.Zero(t, deliver([]Datagram{{Payload: []byte("-"), Peer: c.LocalAddr()}}))
	}
	require.NoError(t, c.Receive(func(_ []Datagram, out *Batch) { out.Hold() }))
	require.Empty(t, s.calls)
	require.NoError(t, c.Close())
}

func TestWhatIsHeldLeavesThoughNothingFollows(t *testing.T) {
	eachTwin(t, func(t *testing.T, open opener) {
		t.Helper()
		c := openConn(t, "127.0.0.1:0", Config{}, open)
		peer := plain(t, "127.0.0.1:0")
		done := make(chan error, 1)
		go func() { done <- c.Receive(echo) }()
		for range 20 {
			for _, each := range []string{"first-", "and-", "last"} {
				_, err := peer.WriteToUDPAddrPort([]byte(each), c.LocalAddr())
				require.NoError(t, err)
			}
			require.Equal(t, [][]byte{[]byte("first-"), []byte("and-"), []byte("last")}, read(t, peer, 3))
			_, err := peer.WriteToUDPAddrPort([]byte("alone-"), c.LocalAddr())
			require.NoError(t, err)
			require.Equal(t, [][]byte{[]byte("alone-")}, read(t, peer, 1))
		}
		require.NoError(t, c.Close())
		require.NoError(t, <-done)
	})
}

func TestABatchSaysWhenItIsAmple(t *testing.T) {
	s := &scripted{}
	c := openConn(t, "127.0.0.1:0", Config{}, s.open)
	b := c.NewBatch()
	for range ample {
		require.False(t, b.Ample())
		require.NoError(t, b.Add([]byte("x"), c.LocalAddr(), Video))
	}
	require.True(t, b.Ample())
	b.Flush()
	require.False(t, b.Ample())
	require.NoError(t, c.Close())
}
