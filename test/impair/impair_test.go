package impair

import (
	"encoding/binary"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var begin = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func conditions(r *rapid.T) Conditions {
	return Conditions{
		Loss: rapid.Float64Range(0, 0.5).Draw(r, "loss"), Reorder: rapid.Float64Range(0, 0.2).Draw(r, "reorder"),
		Delay:  Milliseconds(rapid.IntRange(0, 300).Draw(r, "delay")),
		Jitter: Milliseconds(rapid.IntRange(0, 100).Draw(r, "jitter")),
		Rate:   float64(rapid.SampledFrom([]int{0, 100, 400, 2000}).Draw(r, "rate")),
	}
}

// TestALinkKeepsItsConditions is what holds for any conditions and any traffic.
func TestALinkKeepsItsConditions(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		c := conditions(r)
		require.NoError(r, c.Validate())
		seed := rapid.Uint64().Draw(r, "seed")
		link, twin := NewLink(seed), NewLink(seed)
		link.Set(c)
		twin.Set(c)
		size := rapid.IntRange(20, 1400).Draw(r, "size")
		every := time.Duration(rapid.IntRange(1, 30).Draw(r, "every")) * time.Millisecond
		const packets = 1500
		passed, late, bytes := 0, 0, 0
		var latest, end time.Time
		for n := range packets {
			now := begin.Add(time.Duration(n) * every)
			arrival, passes := link.Admit(now, size)
			again, also := twin.Admit(now, size)
			if !arrival.Equal(again) || passes != also {
				r.Fatalf("packet %d: chance does not follow from the seed", n)
			}
			if !passes {
				continue
			}
			passed++
			bytes += size
			took := arrival.Sub(now)
			if took < c.Delay.Duration() || c.Rate == 0 && c.Reorder == 0 && took > (c.Delay+c.Jitter).Duration() {
				r.Fatalf("packet %d took %s", n, took)
			}
			if arrival.Before(latest) {
				late++
			} else {
				latest = arrival
			}
			if arrival.After(end) {
				end = arrival
			}
		}
		if c.Reorder == 0 {
			require.Zero(r, late, "in order")
		}
		if c.Rate == 0 {
			require.InDelta(r, 1-c.Loss, float64(passed)/packets, 0.05)
		} else {
			took := end.Sub(begin) - c.Delay.Duration()
			require.LessOrEqual(r, float64(bytes)*8, c.Rate*float64(took.Milliseconds()+1)+float64(size*8), "no faster than its rate")
		}
	})
}

func TestAFullQueueDrops(t *testing.T) {
	link := NewLink(1)
	link.Set(Conditions{Rate: 80, Queue: 100}) // 10 bytes a millisecond
	passed := 0
	for range 100 {
		if _, passes := link.Admit(begin, 100); passes {
			passed++
		}
	}
	require.Equal(t, 11, passed, "one that leaves, and 100 ms of those that wait")
	link.Set(Conditions{Outage: true})
	_, passes := link.Admit(begin.Add(time.Hour), 100)
	require.False(t, passes)
}

func TestConditionsThatAreNotAllowed(t *testing.T) {
	for says, c := range map[string]Conditions{
		"loss 1.5: must be 0 to 1": {Loss: 1.5}, "delay_ms -1": {Delay: -1}, "rate_kbps -1": {Rate: -1}, "reorder 2": {Reorder: 2},
	} {
		require.ErrorContains(t, c.Validate(), says)
	}
}

// echo is a server that sends everything back, and where from it saw it.
func echo(t *testing.T) string {
	t.Helper()
	server, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 2000)
		for {
			n, from, err := server.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			_, _ = server.WriteToUDPAddrPort(binary.BigEndian.AppendUint16(buffer[:n], from.Port()), from)
		}
	}()
	t.Cleanup(func() { server.Close(); <-done })
	return server.LocalAddr().String()
}

func TestAProxyForwardsImpairsAndRebinds(t *testing.T) {
	p, err := Listen("127.0.0.1:0", echo(t), 1)
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	client, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(p.Addr()))
	require.NoError(t, err)
	defer client.Close()
	require.Empty(t, p.Flows())
	exchange := func(n byte, patience time.Duration) (answer []byte, took time.Duration) {
		begun := time.Now()
		_, err := client.Write([]byte{n})
		require.NoError(t, err)
		require.NoError(t, client.SetReadDeadline(time.Now().Add(patience)))
		buffer := make([]byte, 100)
		got, err := client.Read(buffer)
		if err != nil {
			return nil, time.Since(begun)
		}
		return buffer[:got], time.Since(begun)
	}
	answer, _ := exchange(1, 10*time.Second)
	require.Len(t, answer, 3)
	require.Len(t, p.Flows(), 1)
	flow := p.Flows()[0]
	seenAt := binary.BigEndian.Uint16(answer[1:])

	flow.Set(Conditions{Delay: 60}, Conditions{Delay: 40})
	answer, took := exchange(2, 10*time.Second)
	require.Equal(t, byte(2), answer[0])
	require.GreaterOrEqual(t, took, 100*time.Millisecond)

	require.NoError(t, flow.Rebind())
	answer, _ = exchange(3, 10*time.Second)
	require.NotEqual(t, seenAt, binary.BigEndian.Uint16(answer[1:]), "the server sees another address")

	p.Set(Conditions{}, Conditions{Outage: true})
	answer, _ = exchange(4, 50*time.Millisecond)
	require.Nil(t, answer)
	p.Set(Conditions{}, Conditions{})
	answer, _ = exchange(5, 10*time.Second)
	require.Equal(t, byte(5), answer[0])
	up, down := flow.Counters()
	require.Equal(t, [2]Counters{{5, 0}, {4, 1}}, [2]Counters{up, down})
}

func TestReorderedPacketsAreOvertaken(t *testing.T) {
	p, err := Listen("127.0.0.1:0", echo(t), 1)
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	p.Set(Conditions{Reorder: 0.3}, Conditions{})
	client, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(p.Addr()))
	require.NoError(t, err)
	defer client.Close()
	const count = 40
	for n := range byte(count) {
		_, err := client.Write([]byte{n})
		require.NoError(t, err)
	}
	var order []int
	buffer := make([]byte, 100)
	require.NoError(t, client.SetReadDeadline(time.Now().Add(10*time.Second)))
	for range count {
		_, err := client.Read(buffer)
		require.NoError(t, err)
		order = append(order, int(buffer[0]))
	}
	require.False(t, slices.IsSorted(order))
	slices.Sort(order)
	require.Equal(t, count-1, order[count-1], "none is lost")
}

func TestAddressesThatAreNotAllowed(t *testing.T) {
	_, err := Listen("127.0.0.1", "127.0.0.1:1", 1)
	require.ErrorContains(t, err, `address "127.0.0.1"`)
	_, err = Listen("127.0.0.1:0", "nowhere", 1)
	require.ErrorContains(t, err, `server "nowhere"`)
}
