package udp

import (
	"bytes"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// sourceTwins are the implementations; they pass the same tests.
var sourceTwins = map[string]func(*net.UDPConn) (source, error){
	"system": systemSource,
	"single": func(conn *net.UDPConn) (source, error) { return newSingle(conn, &counters{}), nil },
}

func TestAReaderReadsUntilItIsEnough(t *testing.T) {
	for name, open := range sourceTwins {
		t.Run(name, func(t *testing.T) {
			from, to := plain(t, "127.0.0.1:0"), plain(t, "127.0.0.1:0")
			s, err := open(to)
			require.NoError(t, err)
			reader := &Reader{s}
			const count = 3*32 + 1 // some batches
			sent := time.Now()
			for i := range count {
				_, err := from.WriteToUDPAddrPort(payload(i, 100), addressOf(to))
				require.NoError(t, err)
			}
			var came [][]byte
			read := func(until int) {
				require.NoError(t, reader.Read(func(batch []Arrival) bool {
					for _, each := range batch {
						require.Equal(t, addressOf(from), each.Peer)
						require.WithinRange(t, each.At, sent.Add(-time.Millisecond), time.Now())
						came = append(came, append([]byte(nil), each.Payload...))
					}
					return len(came) < until
				}))
			}
			read(1)
			require.NotEmpty(t, came)
			read(count)
			require.Len(t, came, count, "what waited when it was enough is there later")
			for i, each := range came {
				require.Equal(t, payload(i, 100), each)
			}
		})
	}
}

// TestAReaderOfAConnIsGivenEachDatagram also has it read what was coalesced on the way.
func TestAReaderOfAConnIsGivenEachDatagram(t *testing.T) {
	eachTwin(t, func(t *testing.T, open opener) {
		t.Helper()
		c, from := openConn(t, "127.0.0.1:0", Config{}, open), openConn(t, "127.0.0.1:0", Config{}, systemSocket)
		const count = 100
		batch, wanted := from.NewBatch(), make([][]byte, count)
		for i := range wanted {
			wanted[i] = payload(i, 1000)
			require.NoError(t, batch.Add(wanted[i], c.LocalAddr(), Video))
		}
		batch.Flush()
		var came [][]byte
		reader := c.Shards()[0]
		require.NoError(t, reader.Read(func(received []Arrival) bool {
			for _, each := range received {
				require.Equal(t, from.LocalAddr(), each.Peer)
				came = append(came, bytes.Clone(each.Payload))
			}
			return len(came) < count
		}))
		require.Equal(t, wanted, came)
		require.Equal(t, uint64(count), c.Stats().Received)
		require.Equal(t, uint64(count*1000), c.Stats().ReceivedBytes)
		require.NoError(t, errors.Join(c.Close(), from.Close()))
		require.ErrorIs(t, reader.Read(func([]Arrival) bool { return true }), net.ErrClosed)
	})
}

func TestAReaderOfAClosedSocket(t *testing.T) {
	for name, open := range sourceTwins {
		t.Run(name, func(t *testing.T) {
			conn := plain(t, "127.0.0.1:0")
			s, err := open(conn)
			require.NoError(t, err)
			done := make(chan error, 1)
			go func() { done <- s.read(func([]Arrival) bool { return true }) }()
			require.NoError(t, conn.Close())
			require.ErrorIs(t, <-done, net.ErrClosed)
		})
	}
}

func TestAReaderKeepsToADeadline(t *testing.T) {
	for name, open := range sourceTwins {
		t.Run(name, func(t *testing.T) {
			conn := plain(t, "127.0.0.1:0")
			s, err := open(conn)
			require.NoError(t, err)
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Millisecond)))
			require.ErrorIs(t, s.read(func([]Arrival) bool { return true }), os.ErrDeadlineExceeded)
		})
	}
}
