package udp

import (
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// sourceTwins are the implementations; they pass the same tests.
var sourceTwins = map[string]func(*net.UDPConn) (source, error){"system": systemSource, "single": newSingle}

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
